// The networks by name: sizes, torchvision's names and shapes, options, and errors that a user can act on.
// SPDX-License-Identifier: Apache-2.0
#include "models/zoo.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <sstream>

#include "core/error.h"
#include "tests/models/support.h"

namespace lockstep::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

struct Entry {
  std::string name;
  std::vector<std::int64_t> shape;
  bool operator==(const Entry&) const = default;
};

std::map<std::string, std::vector<Entry>> torchvision_entries() {
  std::ifstream file(golden_path("torchvision_resnet_names.txt"));
  EXPECT_TRUE(file) << golden_path("torchvision_resnet_names.txt");
  std::map<std::string, std::vector<Entry>> models;
  std::vector<Entry>* current = nullptr;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string first;
    if (line.empty() || line[0] == '#' || !(words >> first)) continue;
    if (first == "model") {
      words >> first;
      current = &models[first];
      continue;
    }
    current->push_back({first, {}});
    for (std::int64_t extent; words >> extent;) current->back().shape.push_back(extent);
  }
  return models;
}

template <class T>
Entry entry_of(const T& source) {
  Entry entry{source.name, {}};
  for (int axis = 0; axis < source.value.shape().rank(); ++axis) entry.shape.push_back(source.value.shape()[axis]);
  return entry;
}

bool is_buffer(const std::string& name) { return name.find(".running_") != std::string::npos; }
bool is_counter(const std::string& name) { return name.find(".num_batches_tracked") != std::string::npos; }

std::string error_of(const ModelOptions& options) {
  try {
    make_model(options);
  } catch (const UserError& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
  return "no error";
}

TEST(Zoo, ParameterCountsAreThePublishedOnes) {
  const std::map<std::string, std::int64_t> imagenet{{"resnet18", 11'689'512}, {"resnet34", 21'797'672}, {"resnet50", 25'557'032},
                                                     {"resnet101", 44'549'160}, {"resnet152", 60'192'808}};
  for (const auto& [name, count] : imagenet) EXPECT_EQ(make_model({.name = name})->parameter_count(), count) << name;
  // Option B: the paper's 269,722 and 853,018 (option A) and two projections with their norms, 2,752 parameters.
  const std::map<std::string, std::int64_t> small{{"resnet20", 269'722 + 2'752}, {"resnet56", 853'018 + 2'752}};
  for (const auto& [name, count] : small)
    EXPECT_EQ(make_model({.name = name, .classes = 10, .height = 32, .width = 32})->parameter_count(), count) << name;
}

TEST(Zoo, NamesShapesAndOrderAreTorchvisions) {
  const auto models = torchvision_entries();
  ASSERT_EQ(models.at("resnet50").size(), 320u);
  for (const auto& [name, entries] : models) {
    const auto model = make_model({.name = name});
    std::vector<Entry> want_parameters, want_buffers, parameters, buffers;
    std::size_t counters = 0;
    for (const Entry& entry : entries) {
      counters += is_counter(entry.name);
      if (!is_counter(entry.name)) (is_buffer(entry.name) ? want_buffers : want_parameters).push_back(entry);
    }
    for (const Parameter* parameter : model->parameters()) parameters.push_back(entry_of(*parameter));
    for (const Buffer* buffer : model->buffers()) buffers.push_back(entry_of(*buffer));
    EXPECT_EQ(parameters, want_parameters) << name;
    EXPECT_EQ(buffers, want_buffers) << name;
    EXPECT_EQ(counters * 2, buffers.size()) << name;
  }
}

TEST(Zoo, IdsCountUpAndKindsFollowTheRole) {
  const auto model = make_model({.name = "resnet50"});
  std::map<ParameterKind, int> kinds;
  for (std::size_t i = 0; i < model->parameters().size(); ++i) {
    EXPECT_EQ(model->parameters()[i]->id, static_cast<int>(i));
    ++kinds[model->parameters()[i]->kind];
  }
  for (std::size_t i = 0; i < model->buffers().size(); ++i) EXPECT_EQ(model->buffers()[i]->id, static_cast<int>(i));
  EXPECT_EQ(kinds, (std::map<ParameterKind, int>{{ParameterKind::kWeight, 54}, {ParameterKind::kBias, 1},
                                                 {ParameterKind::kNormScale, 53}, {ParameterKind::kNormBias, 53}}));
}

std::int64_t multiply_adds(const Model& model, const Shape& images) {
  std::int64_t sum = 0;
  for (const LayerInfo& layer : model.layers(images)) sum += layer.multiply_adds;
  return sum;
}

TEST(Zoo, LayerTableCountsParametersAndWork) {
  const auto model = make_model({.name = "resnet50"});
  std::int64_t parameters = 0;
  for (const LayerInfo& layer : model->layers({1, 3, 224, 224})) parameters += layer.parameters;
  EXPECT_EQ(parameters, model->parameter_count());
  EXPECT_EQ(multiply_adds(*model, {1, 3, 224, 224}), 4'089'184'256);  // published: 4.09 G
  EXPECT_EQ(multiply_adds(*model, {2, 3, 224, 224}), 2 * 4'089'184'256);
  EXPECT_EQ(model->layers({2, 3, 224, 224}).back().output, Shape({2, 1000}));
}

Shape output_of(const Model& model, const Shape& images, const std::string& layer) {
  for (const LayerInfo& info : model.layers(images))
    if (info.name == layer) return info.output;
  ADD_FAILURE() << "no layer " << layer;
  return {};
}

TEST(Zoo, VariantPlacesTheStride) {
  const Shape images{1, 3, 224, 224};
  const auto v1 = make_model({.name = "resnet50", .v1 = true}), v1_5 = make_model({.name = "resnet50"});
  EXPECT_EQ(output_of(*v1, images, "layer2.0.conv1"), Shape({1, 128, 28, 28}));
  EXPECT_EQ(output_of(*v1_5, images, "layer2.0.conv1"), Shape({1, 128, 56, 56}));
  EXPECT_EQ(output_of(*v1, images, "layer4.2.conv3"), output_of(*v1_5, images, "layer4.2.conv3"));
  EXPECT_LT(multiply_adds(*v1, images), multiply_adds(*v1_5, images));
}

TEST(Zoo, StemFollowsTheNetworkUnlessGiven) {
  const auto first_block_input = [](const ModelOptions& options) {
    const auto model = make_model(options);
    return output_of(*model, {1, 3, 32, 32}, "layer1.0.conv1");
  };
  EXPECT_EQ(first_block_input({.name = "resnet18"}), Shape({1, 64, 8, 8}));
  EXPECT_EQ(first_block_input({.name = "resnet18", .stem = Stem::kSmall}), Shape({1, 64, 32, 32}));
  EXPECT_EQ(first_block_input({.name = "resnet20"}), Shape({1, 16, 32, 32}));
  EXPECT_EQ(first_block_input({.name = "resnet20", .stem = Stem::kImagenet}), Shape({1, 16, 8, 8}));
  EXPECT_EQ(first_block_input({.name = "resnet20", .base_width = 5}), Shape({1, 5, 32, 32}));
}

TEST(Zoo, EveryNetworkIsBuiltAndDescribed) {
  std::set<std::string_view> names;
  for (const ZooEntry& entry : zoo()) {
    EXPECT_TRUE(names.insert(entry.name).second) << entry.name;
    EXPECT_FALSE(entry.about.empty());
    ModelOptions options{.name = std::string(entry.name), .classes = 7, .channels = 1, .height = entry.side, .width = entry.side};
    if ((entry.choices & kChoiceBaseWidth) != 0) options.base_width = 6;  // not every network's channels divide well
    if ((entry.choices & kChoiceWidthMultiplier) != 0) options.width_multiplier = 0.3;
    const auto model = make_model(options);
    EXPECT_EQ(model->layers({2, 1, entry.side, entry.side}).back().output, Shape({2, 7})) << entry.name;
  }
}

TEST(Zoo, UnknownNameSuggestsAndLists) {
  EXPECT_THAT(error_of({.name = "resnt50"}),
              AllOf(HasSubstr("model.name"), HasSubstr("\"resnt50\""), HasSubstr("did you mean \"resnet50\""),
                    HasSubstr("resnet18, resnet34"), HasSubstr("resnet110")));
  EXPECT_THAT(error_of({.name = "transformer"}), AllOf(HasSubstr("resnet50"), Not(HasSubstr("did you mean"))));
}

// One option for each choice.
ModelOptions asking(NetworkChoice choice) {
  switch (choice) {
    case kChoiceVariant: return {.v1 = true};
    case kChoiceStem: return {.stem = Stem::kSmall};
    case kChoiceZeroGamma: return {.zero_gamma = true};
    case kChoiceBaseWidth: return {.base_width = 8};
    case kChoiceDropout: return {.dropout = 0.1};
    case kChoiceWidthMultiplier: return {.width_multiplier = 0.5};
  }
  return {};
}

TEST(Zoo, ChoicesThatANetworkDoesNotHaveAreRefusedAndOthersChangeIt) {
  const std::map<NetworkChoice, std::string> fields{{kChoiceVariant, "model.variant"},     {kChoiceStem, "model.stem"},
                                                  {kChoiceZeroGamma, "model.zero_gamma"}, {kChoiceBaseWidth, "model.base_width"},
                                                  {kChoiceDropout, "model.dropout"},      {kChoiceWidthMultiplier, "model.width_multiplier"}};
  for (const ZooEntry& entry : zoo())
    for (const auto& [choice, field] : fields) {
      ModelOptions options = asking(choice);
      options.name = entry.name;
      options.height = options.width = entry.side;
      if ((entry.choices & choice) != 0)
        EXPECT_NO_THROW(make_model(options)) << entry.name << " " << field;
      else
        EXPECT_THAT(error_of(options), AllOf(HasSubstr(field + ": "), HasSubstr(std::string(entry.name) + " has no such choice")));
    }
  EXPECT_THAT(error_of({.name = "vgg16", .zero_gamma = true}), HasSubstr("networks that have it: resnet18, resnet34"));
}

TEST(Zoo, SmallStemsKeepASmallImageLarge) {
  const std::map<std::string, std::string> last{{"googlenet", "inception5b"},
                                                {"densenet121", "features.norm5"},
                                                {"mobilenet_v1", "features.13.conv.1.0"},
                                                {"mobilenet_v2", "features.18.0"},
                                                {"shufflenet_v1_g3", "stage4.3.conv3"}};
  for (const auto& [name, layer] : last) {
    const auto model = make_model({.name = name, .stem = Stem::kSmall});
    const Shape end = output_of(*model, {1, 3, 32, 32}, layer);
    EXPECT_EQ(end[2], name == "googlenet" ? 8 : 4) << name;
  }
}

TEST(Zoo, ImagesTooSmallForANetworkAreSaidWithWhatItWasPublishedFor) {
  EXPECT_THAT(error_of({.name = "alexnet", .height = 32, .width = 32}),
              AllOf(HasSubstr("layer features."), HasSubstr("alexnet on images of 32x32"), HasSubstr("224x224")));
  EXPECT_THAT(error_of({.name = "inception_v3", .height = 74, .width = 80}), AllOf(HasSubstr("images of 74x80"), HasSubstr("299x299")));
  EXPECT_EQ(error_of({.name = "inception_v3", .height = 75, .width = 75}), "no error");
  EXPECT_EQ(error_of({.name = "vgg16", .height = 32, .width = 40}), "no error");
}

// As docs/networks.md says.
TEST(Zoo, TheSmallestImagesAreAsDocumented) {
  const std::map<std::string, int> smallest{{"alexnet", 63},      {"alexnet_grouped", 67}, {"vgg11", 32},         {"vgg19_bn", 32},     {"googlenet", 15},
                                            {"inception_v3", 75}, {"squeezenet1_0", 21},   {"squeezenet1_1", 17}, {"densenet121", 29}};
  for (const ZooEntry& entry : zoo()) {
    const std::string name(entry.name);
    const auto found = smallest.find(name);
    const int side = found != smallest.end() ? found->second : name.starts_with("vgg") ? 32 : 1;
    EXPECT_EQ(error_of({.name = name, .height = side, .width = side}), "no error") << name;
    if (side == 1) continue;
    EXPECT_NE(error_of({.name = name, .height = side - 1, .width = side}), "no error") << name;
  }
}

TEST(Zoo, BatchNormsEpsIsTheNetworksUnlessGiven) {
  const auto images = formula_images(0, {2, 3, 16, 16});
  const auto logits = [&](std::optional<double> eps) {
    const auto model =
        make_model({.name = "googlenet", .classes = 3, .height = 16, .width = 16, .base_width = 8, .bn_eps = eps, .dtype = DType::kF64});
    set_fan_in_weights(*model);
    const Tensor y = Shard(*model).logits(images, false);
    return std::vector<double>(y.host<double>().begin(), y.host<double>().end());
  };
  EXPECT_EQ(logits({}), logits(1e-3));
  EXPECT_NE(logits({}), logits(1e-5));
}

TEST(Zoo, OptionsOutOfRangeAreNamed) {
  EXPECT_THAT(error_of({.classes = 0}), HasSubstr("model.classes: got 0"));
  EXPECT_THAT(error_of({.channels = 0}), HasSubstr("input channels: got 0"));
  EXPECT_THAT(error_of({.height = -1}), HasSubstr("input height: got -1"));
  EXPECT_THAT(error_of({.base_width = -4}), HasSubstr("model.base_width: got -4"));
  EXPECT_THAT(error_of({.bn_eps = 0}), HasSubstr("model.batch_norm.eps"));
  EXPECT_THAT(error_of({.bn_momentum = 1.5}), HasSubstr("model.batch_norm.momentum"));
  EXPECT_THAT(error_of({.name = "vgg16", .dropout = 1}), HasSubstr("model.dropout: got 1"));
  EXPECT_THAT(error_of({.name = "vgg16", .dropout = NAN}), HasSubstr("model.dropout: got nan"));
  EXPECT_THAT(error_of({.name = "mobilenet_v2", .width_multiplier = 0}), HasSubstr("model.width_multiplier: got 0"));
  EXPECT_THAT(error_of({.name = "mobilenet_v2", .width_multiplier = 17}), HasSubstr("model.width_multiplier: got 17"));
  EXPECT_THAT(error_of({.name = "shufflenet_v1_g3", .width_multiplier = 0.01}), HasSubstr("model.width_multiplier: got 0.01"));
  EXPECT_EQ(error_of({.name = "mobilenet_v1", .width_multiplier = 0.001}), "no error");
  EXPECT_THAT(error_of({.dtype = DType::kBF16}), HasSubstr("got bf16, want f32 or f64"));
}

std::string input_error(const Model& model, const Shape& images, std::int64_t norm_images) {
  try {
    model.check_input(images, norm_images);
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Zoo, MisfitsAreFoundByTheShapeRulesAlone) {
  const auto model = make_model({.name = "resnet50"});
  EXPECT_THAT(input_error(*model, {1, 1, 224, 224}, 0), AllOf(HasSubstr("(1, 1, 224, 224)"), HasSubstr("(N, 3, H, W)")));
  EXPECT_THAT(input_error(*model, {3, 224, 224}, 0), HasSubstr("(3, 224, 224)"));
  EXPECT_EQ(input_error(*model, {1, 3, 32, 32}, 0), "no error");
  // 32x32 is 1x1 in the last stage: one image there leaves batch norm nothing to average over, two are enough.
  EXPECT_THAT(input_error(*model, {1, 3, 32, 32}, 1), AllOf(HasSubstr("layer layer4.0.bn2"), HasSubstr("shard_batch")));
  EXPECT_EQ(input_error(*model, {1, 3, 32, 32}, 2), "no error");
  EXPECT_EQ(input_error(*model, {1, 3, 64, 64}, 1), "no error");
}

}  // namespace
}  // namespace lockstep::test
