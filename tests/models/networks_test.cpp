// Every network beside the ResNets against PyTorch, in f64, from the same weights and images: tests/golden/networks/networks.py.
//
// Narrow networks on small images, whole: logits in evaluation, then loss and gradient in training. Names and shapes are compared at
// full width, by a hash.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "models/zoo.h"
#include "tests/models/support.h"

namespace lockstep::test {
namespace {

constexpr int kClasses = 10;

struct Case {
  const char* key;
  const char* network;
  std::int64_t images;
  int side;
  int base_width = 0;
  double width_multiplier = 1;
  Stem stem = Stem::kAuto;
};

// As in networks.py.
const Case kCases[] = {
    {"alexnet", "alexnet", 2, 71, 16},
    {"alexnet_grouped", "alexnet_grouped", 2, 99, 24},
    {"vgg11", "vgg11", 2, 40, 8},
    {"vgg16", "vgg16", 2, 40, 8},
    {"vgg19", "vgg19", 2, 40, 8},
    {"vgg11_bn", "vgg11_bn", 3, 40, 8},
    {"vgg16_bn", "vgg16_bn", 3, 40, 8},
    {"vgg19_bn", "vgg19_bn", 3, 40, 8},
    {"googlenet", "googlenet", 3, 64, 16},
    {"googlenet_small", "googlenet", 3, 12, 16, 1, Stem::kSmall},
    {"inception_v3", "inception_v3", 3, 107, 8},
    {"squeezenet1_0", "squeezenet1_0", 2, 66, 24},
    {"squeezenet1_1", "squeezenet1_1", 2, 66, 16},
    {"densenet121", "densenet121", 3, 64, 16},
    {"densenet121_small", "densenet121", 3, 16, 16, 1, Stem::kSmall},
    {"mobilenet_v2", "mobilenet_v2", 3, 64, 0, 0.35},
    {"mobilenet_v2_small", "mobilenet_v2", 3, 16, 0, 0.35, Stem::kSmall},
    {"mobilenet_v1", "mobilenet_v1", 3, 64, 0, 0.25},
    {"mobilenet_v1_small", "mobilenet_v1", 3, 16, 0, 0.25, Stem::kSmall},
    {"shufflenet_v1_g1", "shufflenet_v1_g1", 3, 64, 0, 0.5},
    {"shufflenet_v1_g2", "shufflenet_v1_g2", 3, 64},
    {"shufflenet_v1_g3", "shufflenet_v1_g3", 3, 64, 0, 0.5},
    {"shufflenet_v1_g4", "shufflenet_v1_g4", 3, 64},
    {"shufflenet_v1_g8", "shufflenet_v1_g8", 3, 64, 0, 0.5},
    {"shufflenet_v1_small", "shufflenet_v1_g3", 3, 16, 0, 0.5, Stem::kSmall},
    {"shiftresnet20", "shiftresnet20", 3, 16, 4},
    {"shiftnet_a", "shiftnet_a", 3, 64, 8},
};

bool has_dropout(std::string_view network) {
  const auto entry = std::ranges::find(zoo(), network, &ZooEntry::name);
  return (entry->choices & kChoiceDropout) != 0;
}

std::unique_ptr<Model> make_case(const Case& c) {
  return make_model({.name = c.network, .classes = kClasses, .height = c.side, .width = c.side, .stem = c.stem, .base_width = c.base_width,
                     .dropout = has_dropout(c.network) ? 0.0 : -1.0, .width_multiplier = c.width_multiplier, .dtype = DType::kF64});
}

class Networks : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(, Networks, ::testing::ValuesIn(kCases), [](const auto& tested) { return std::string(tested.param.key); });

// Random relative changes of 1e-15 of the weights move a network's logits by at most 6e-14 of the largest, its loss by 9e-14 and its
// gradient by 5e-13 of its norm (measured in PyTorch; inception_v3 and mobilenet_v2 are the most sensitive). The bounds are 64 times that:
// sums in another order err by some such changes, a wrong kernel or layer by 1e-4 and more.
constexpr double kChanges = 64, kLogits = kChanges * 6e-14, kLoss = kChanges * 9e-14, kGradient = kChanges * 5e-13;

TEST_P(Networks, LogitsLossAndGradientEqualPyTorch) {
  static const Golden golden = read_golden("networks/networks.txt");
  const Case& c = GetParam();
  const auto model = make_case(c);
  set_fan_in_weights(*model);
  Shard shard(*model);
  const Tensor images = formula_images(0, {c.images, 3, c.side, c.side});

  const std::vector<double>& logits = golden.at(std::string(c.key) + ".logits");
  const Tensor got = shard.logits(images, false);
  ASSERT_EQ(static_cast<std::size_t>(got.numel()), logits.size());
  double largest = 0;
  for (const double value : logits) largest = std::max(largest, std::abs(value));
  for (std::size_t i = 0; i < logits.size(); ++i) EXPECT_NEAR(got.host<double>()[i], logits[i], kLogits * largest) << "logit " << i;

  const std::vector<double>& training = golden.at(std::string(c.key) + ".training");
  const double loss = shard.backward(images, formula_labels(0, c.images, kClasses));
  double square = 0, projection = 0;
  for (const Parameter* parameter : model->parameters()) {
    const Tensor& gradient = shard.gradient_of(*parameter);
    const Tensor direction = formula_tensor(kDirections + static_cast<std::uint64_t>(parameter->id), gradient.shape());
    for (std::size_t i = 0; i < gradient.host<double>().size(); ++i) {
      square += std::pow(gradient.host<double>()[i], 2);
      projection += gradient.host<double>()[i] * direction.host<double>()[i];
    }
  }
  EXPECT_NEAR(loss, training[0], kLoss * training[0]);
  EXPECT_NEAR(std::sqrt(square), training[1], kGradient * training[1]);
  EXPECT_NEAR(projection, training[2], kGradient * training[1]);
}

TEST_P(Networks, TheirLayerTableHoldsEveryParameter) {
  const auto model = make_case(GetParam());
  std::int64_t parameters = 0;
  const Shape images{2, 3, GetParam().side, GetParam().side};
  const auto layers = model->layers(images);
  for (const LayerInfo& layer : layers) parameters += layer.parameters;
  EXPECT_EQ(parameters, model->parameter_count());
  EXPECT_EQ(layers.back().output, Shape({2, kClasses}));
}

std::uint64_t fnv1a(std::string_view text, std::uint64_t hash) {
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
  return hash;
}

template <class T>
std::string line_of(const T& entry) {
  std::string line = entry.name;
  for (int axis = 0; axis < entry.value.shape().rank(); ++axis) {
    line += ' ';
    line += std::to_string(entry.value.shape()[axis]);
  }
  line += '\n';
  return line;
}

TEST(NetworksOfTorchvision, HaveItsNamesShapesAndNumbersOfParameters) {
  int compared = 0;
  for (const auto& [key, numbers] : read_golden("networks/networks.txt")) {
    if (!key.ends_with(".entries")) continue;
    const std::string name = key.substr(0, key.rfind('.'));
    const auto model = make_model({.name = name, .height = published_side(name), .width = published_side(name)});
    EXPECT_EQ(static_cast<double>(model->parameters().size() + model->buffers().size()), numbers[0]) << name;
    EXPECT_EQ(static_cast<double>(model->parameter_count()), numbers[1]) << name;
    std::uint64_t hash = 0xCBF29CE484222325U;
    for (const Parameter* parameter : model->parameters()) hash = fnv1a(line_of(*parameter), hash);
    for (const Buffer* buffer : model->buffers()) hash = fnv1a(line_of(*buffer), hash);
    EXPECT_EQ(hash, static_cast<std::uint64_t>(numbers[2]) << 32 | static_cast<std::uint64_t>(numbers[3]))
        << name << ": other names or shapes; tests/golden/networks/networks.py " << name << " lists torchvision's";
    ++compared;
  }
  EXPECT_EQ(compared, 13);
}

std::int64_t multiply_adds(const Model& model) {
  std::int64_t sum = 0;
  for (const LayerInfo& layer : model.layers({1, 3, model.options().height, model.options().width})) sum += layer.multiply_adds;
  return sum;
}

// Where torchvision has no network: the papers' figures, as they print them.
TEST(NetworksOfPapers, HaveTheirPublishedSizes) {
  const auto millions = [](std::int64_t count) { return static_cast<double>(count) / 1e6; };
  const auto with = [](const char* name, double multiplier = 1) {
    return make_model({.name = name, .height = published_side(name), .width = published_side(name), .width_multiplier = multiplier});
  };
  // 1707.01083, table 1, without the classifier.
  const std::pair<const char*, double> shuffle[] = {{"shufflenet_v1_g1", 143}, {"shufflenet_v1_g2", 140}, {"shufflenet_v1_g3", 137},
                                                    {"shufflenet_v1_g4", 133}, {"shufflenet_v1_g8", 137}};
  for (const auto& [name, cost] : shuffle) {
    const auto model = with(name);
    const std::int64_t classifier = model->layers({1, 3, 224, 224}).back().multiply_adds;
    EXPECT_EQ(std::round(millions(multiply_adds(*model) - classifier)), cost) << name;
  }
  // 1704.04861, tables 4 and 6: 569 M, 325, 149 and 41; 4.2 M parameters, 2.6, 1.3 and 0.5.
  const double multipliers[] = {1, 0.75, 0.5, 0.25}, costs[] = {569, 325, 149, 41}, sizes[] = {4.2, 2.6, 1.3, 0.5};
  for (std::size_t i = 0; i < 4; ++i) {
    const auto model = with("mobilenet_v1", multipliers[i]);
    EXPECT_EQ(std::round(millions(multiply_adds(*model))), costs[i]) << multipliers[i];
    EXPECT_EQ(std::round(10 * millions(model->parameter_count())) / 10, sizes[i]) << multipliers[i];
  }
  // 1711.08141: ShiftNet-A 1.4 G and 4.1 M (cut off), ShiftNet-B 371 M and 1.1 M; ShiftResNet with expansion 6.
  EXPECT_EQ(std::round(millions(multiply_adds(*with("shiftnet_a"))) / 100), 14);
  EXPECT_EQ(std::floor(10 * millions(with("shiftnet_a")->parameter_count())) / 10, 4.1);
  EXPECT_EQ(std::round(millions(multiply_adds(*with("shiftnet_b")))), 371);
  EXPECT_EQ(std::floor(10 * millions(with("shiftnet_b")->parameter_count())) / 10, 1.1);
  const std::pair<const char*, double> shift[] = {{"shiftresnet20", 0.19}, {"shiftresnet56", 0.58}, {"shiftresnet110", 1.18}};
  for (const auto& [name, size] : shift) {
    const auto model = make_model({.name = name, .classes = 10, .height = 32, .width = 32});
    EXPECT_EQ(std::round(100 * millions(model->parameter_count())) / 100, size) << name;
  }
  // Caffe's bvlc_reference_caffenet and bvlc_alexnet have this number, too.
  EXPECT_EQ(with("alexnet_grouped")->parameter_count(), 60'965'224);
}

}  // namespace
}  // namespace lockstep::test
