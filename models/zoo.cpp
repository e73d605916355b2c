// SPDX-License-Identifier: Apache-2.0
#include "models/zoo.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/suggest.h"
#include "models/alexnet.h"
#include "models/densenet.h"
#include "models/googlenet.h"
#include "models/inception_v3.h"
#include "models/mobilenet.h"
#include "models/resnet.h"
#include "models/shiftnet.h"
#include "models/shufflenet.h"
#include "models/squeezenet.h"
#include "models/vgg.h"

namespace lockstep {
namespace {

using Options = ModelOptions;
using Network = std::unique_ptr<Model>;

Network basic(const Options& options, std::vector<int> blocks) {
  return make_resnet(options, {.block = ResNetBlock::kBasic, .blocks_per_stage = std::move(blocks)});
}

Network bottleneck(const Options& options, std::vector<int> blocks) {
  return make_resnet(options, {.block = ResNetBlock::kBottleneck, .blocks_per_stage = std::move(blocks)});
}

// 6n + 2 layers: three stages of n blocks of two convolutions, the stem and the last layer.
Network small(const Options& options, int n) {
  return make_resnet(options, {.blocks_per_stage = {n, n, n}, .base_width = 16, .stem = Stem::kSmall});
}

constexpr int kImagenet = 224, kCifar = 32;
constexpr std::uint8_t kResidual = kChoiceVariant | kChoiceStem | kChoiceZeroGamma | kChoiceBaseWidth;
constexpr std::uint8_t kPlain = kChoiceBaseWidth | kChoiceDropout;
constexpr std::uint8_t kMobile = kChoiceStem | kChoiceDropout | kChoiceWidthMultiplier;
constexpr std::uint8_t kShuffle = kChoiceStem | kChoiceWidthMultiplier;

constexpr std::array kZoo{
    ZooEntry{"resnet18", "four stages of basic blocks", kImagenet, kResidual, [](const Options& o) { return basic(o, {2, 2, 2, 2}); }},
    ZooEntry{"resnet34", "four stages of basic blocks", kImagenet, kResidual, [](const Options& o) { return basic(o, {3, 4, 6, 3}); }},
    ZooEntry{"resnet50", "four stages of bottleneck blocks", kImagenet, kResidual,
             [](const Options& o) { return bottleneck(o, {3, 4, 6, 3}); }},
    ZooEntry{"resnet101", "four stages of bottleneck blocks", kImagenet, kResidual,
             [](const Options& o) { return bottleneck(o, {3, 4, 23, 3}); }},
    ZooEntry{"resnet152", "four stages of bottleneck blocks", kImagenet, kResidual,
             [](const Options& o) { return bottleneck(o, {3, 8, 36, 3}); }},
    ZooEntry{"resnet8", "three stages of one basic block", kCifar, kResidual, [](const Options& o) { return small(o, 1); }},
    ZooEntry{"resnet14", "three stages of 2 basic blocks", kCifar, kResidual, [](const Options& o) { return small(o, 2); }},
    ZooEntry{"resnet20", "three stages of 3 basic blocks", kCifar, kResidual, [](const Options& o) { return small(o, 3); }},
    ZooEntry{"resnet32", "three stages of 5 basic blocks", kCifar, kResidual, [](const Options& o) { return small(o, 5); }},
    ZooEntry{"resnet44", "three stages of 7 basic blocks", kCifar, kResidual, [](const Options& o) { return small(o, 7); }},
    ZooEntry{"resnet56", "three stages of 9 basic blocks", kCifar, kResidual, [](const Options& o) { return small(o, 9); }},
    ZooEntry{"resnet110", "three stages of 18 basic blocks", kCifar, kResidual, [](const Options& o) { return small(o, 18); }},
    ZooEntry{"alexnet", "one column, as torchvision's", kImagenet, kPlain, make_alexnet},
    ZooEntry{"alexnet_grouped", "the paper's two columns and response norm", 227, kPlain, make_alexnet_grouped},
    ZooEntry{"vgg11", "configuration A", kImagenet, kPlain, [](const Options& o) { return make_vgg(o, {{1, 1, 2, 2, 2}, false}); }},
    ZooEntry{"vgg16", "configuration D", kImagenet, kPlain, [](const Options& o) { return make_vgg(o, {{2, 2, 3, 3, 3}, false}); }},
    ZooEntry{"vgg19", "configuration E", kImagenet, kPlain, [](const Options& o) { return make_vgg(o, {{2, 2, 4, 4, 4}, false}); }},
    ZooEntry{"vgg11_bn", "configuration A with batch norm", kImagenet, kPlain,
             [](const Options& o) { return make_vgg(o, {{1, 1, 2, 2, 2}, true}); }},
    ZooEntry{"vgg16_bn", "configuration D with batch norm", kImagenet, kPlain,
             [](const Options& o) { return make_vgg(o, {{2, 2, 3, 3, 3}, true}); }},
    ZooEntry{"vgg19_bn", "configuration E with batch norm", kImagenet, kPlain,
             [](const Options& o) { return make_vgg(o, {{2, 2, 4, 4, 4}, true}); }},
    ZooEntry{"googlenet", "inception blocks with batch norm, no auxiliary classifiers", kImagenet, kPlain | kChoiceStem, make_googlenet},
    ZooEntry{"inception_v3", "factorised inception blocks, no auxiliary classifier", 299, kPlain, make_inception_v3},
    ZooEntry{"squeezenet1_0", "fire modules", kImagenet, kPlain, make_squeezenet1_0},
    ZooEntry{"squeezenet1_1", "fire modules, 2.4 times fewer operations", kImagenet, kPlain, make_squeezenet1_1},
    ZooEntry{"shufflenet_v1_g1", "shuffled channels, 1 group", kImagenet, kShuffle, [](const Options& o) { return make_shufflenet_v1(o, 1); }},
    ZooEntry{"shufflenet_v1_g2", "shuffled channels, 2 groups", kImagenet, kShuffle, [](const Options& o) { return make_shufflenet_v1(o, 2); }},
    ZooEntry{"shufflenet_v1_g3", "shuffled channels, 3 groups", kImagenet, kShuffle, [](const Options& o) { return make_shufflenet_v1(o, 3); }},
    ZooEntry{"shufflenet_v1_g4", "shuffled channels, 4 groups", kImagenet, kShuffle, [](const Options& o) { return make_shufflenet_v1(o, 4); }},
    ZooEntry{"shufflenet_v1_g8", "shuffled channels, 8 groups", kImagenet, kShuffle, [](const Options& o) { return make_shufflenet_v1(o, 8); }},
    ZooEntry{"mobilenet_v1", "depthwise separable convolutions", kImagenet, kMobile, make_mobilenet_v1},
    ZooEntry{"mobilenet_v2", "inverted residuals", kImagenet, kMobile, make_mobilenet_v2},
    ZooEntry{"shiftresnet20", "three stages of 3 shift blocks, expansion 6", kCifar, kChoiceBaseWidth,
             [](const Options& o) { return make_shiftresnet(o, 3); }},
    ZooEntry{"shiftresnet56", "three stages of 9 shift blocks, expansion 6", kCifar, kChoiceBaseWidth,
             [](const Options& o) { return make_shiftresnet(o, 9); }},
    ZooEntry{"shiftresnet110", "three stages of 18 shift blocks, expansion 6", kCifar, kChoiceBaseWidth,
             [](const Options& o) { return make_shiftresnet(o, 18); }},
    ZooEntry{"shiftnet_a", "shifts in place of spatial convolutions", kImagenet, kChoiceBaseWidth,
             [](const Options& o) { return make_shiftnet(o, 32); }},
    ZooEntry{"shiftnet_b", "shiftnet_a with half the channels", kImagenet, kChoiceBaseWidth, [](const Options& o) { return make_shiftnet(o, 16); }},
    ZooEntry{"densenet121", "densely connected layers", kImagenet, kChoiceStem | kChoiceBaseWidth, make_densenet121},
};

[[noreturn]] void unknown_model(const std::string& name) {
  std::vector<std::string> names;
  std::string list;
  for (const ZooEntry& entry : kZoo) {
    names.emplace_back(entry.name);
    list += (list.empty() ? "" : ", ") + names.back();
  }
  const std::string near = nearest(name, names);
  throw UserError("model.name: there is no network \"" + name + "\"" +
                  (near.empty() ? "" : "\n  did you mean \"" + near + "\"?") + "\n  networks: " + list);
}

constexpr std::array kChoiceFields{
    ChoiceField{kChoiceVariant, "variant", "V1_5"},      ChoiceField{kChoiceStem, "stem", "AUTO"},
    ChoiceField{kChoiceZeroGamma, "zero_gamma", "false"}, ChoiceField{kChoiceBaseWidth, "base_width", "0"},
    ChoiceField{kChoiceDropout, "dropout", "below 0"},    ChoiceField{kChoiceWidthMultiplier, "width_multiplier", "1"},
};

bool asks_for(const Options& o, NetworkChoice choice) {
  switch (choice) {
    case kChoiceVariant: return o.v1;
    case kChoiceStem: return o.stem != Stem::kAuto;
    case kChoiceZeroGamma: return o.zero_gamma;
    case kChoiceBaseWidth: return o.base_width != 0;
    case kChoiceDropout: return o.dropout >= 0;
    case kChoiceWidthMultiplier: return o.width_multiplier != 1;
  }
  return false;
}

// An option that would change nothing is a misunderstanding, not a wish.
void check_choices(const ZooEntry& entry, const Options& options) {
  for (const auto& [choice, field, unset] : kChoiceFields) {
    if ((entry.choices & choice) != 0 || !asks_for(options, choice)) continue;
    std::string others;
    for (const ZooEntry& other : kZoo)
      if ((other.choices & choice) != 0) others.append(others.empty() ? "" : ", ").append(other.name);
    throw UserError("model." + std::string(field) + ": " + std::string(entry.name) + " has no such choice\n  leave it " + std::string(unset) +
                    "; networks that have it: " + others);
  }
}

void check_image_size(const ZooEntry& entry, const Model& model) {
  const Options& o = model.options();
  try {
    model.check_input({1, o.channels, o.height, o.width});
  } catch (const UserError& error) {
    const std::string side = std::to_string(entry.side);
    throw UserError(std::string(error.what()) + "\n  in " + std::string(entry.name) + " on images of " + std::to_string(o.height) + "x" +
                        std::to_string(o.width) + "; it was published for " + side + "x" + side + " (data.height, data.width)",
                    error.code());
  }
}

}  // namespace

std::span<const ZooEntry> zoo() { return kZoo; }

std::span<const ChoiceField> choice_fields() { return kChoiceFields; }

int published_side(std::string_view name) {
  const auto found = std::ranges::find(kZoo, name, &ZooEntry::name);
  return found == kZoo.end() ? kImagenet : found->side;
}

std::unique_ptr<Model> make_model(const ModelOptions& options) {
  const auto entry = std::ranges::find(kZoo, options.name, &ZooEntry::name);
  if (entry == kZoo.end()) unknown_model(options.name);
  check_choices(*entry, options);
  std::unique_ptr<Model> model = entry->build(options);
  check_image_size(*entry, *model);
  return model;
}

}  // namespace lockstep
