// SPDX-License-Identifier: Apache-2.0
#include "models/zoo.h"

#include <array>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/suggest.h"
#include "models/resnet.h"

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

constexpr std::array<ZooEntry, 12> kZoo{{
    {"resnet18", "four stages of basic blocks, 11.7 M parameters", [](const Options& o) { return basic(o, {2, 2, 2, 2}); }},
    {"resnet34", "four stages of basic blocks, 21.8 M parameters", [](const Options& o) { return basic(o, {3, 4, 6, 3}); }},
    {"resnet50", "four stages of bottleneck blocks, 25.6 M parameters",
     [](const Options& o) { return bottleneck(o, {3, 4, 6, 3}); }},
    {"resnet101", "four stages of bottleneck blocks, 44.5 M parameters",
     [](const Options& o) { return bottleneck(o, {3, 4, 23, 3}); }},
    {"resnet152", "four stages of bottleneck blocks, 60.2 M parameters",
     [](const Options& o) { return bottleneck(o, {3, 8, 36, 3}); }},
    {"resnet8", "three stages of one basic block, for small images", [](const Options& o) { return small(o, 1); }},
    {"resnet14", "three stages of 2 basic blocks, for small images", [](const Options& o) { return small(o, 2); }},
    {"resnet20", "three stages of 3 basic blocks, for small images", [](const Options& o) { return small(o, 3); }},
    {"resnet32", "three stages of 5 basic blocks, for small images", [](const Options& o) { return small(o, 5); }},
    {"resnet44", "three stages of 7 basic blocks, for small images", [](const Options& o) { return small(o, 7); }},
    {"resnet56", "three stages of 9 basic blocks, for small images", [](const Options& o) { return small(o, 9); }},
    {"resnet110", "three stages of 18 basic blocks, for small images", [](const Options& o) { return small(o, 18); }},
}};

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

}  // namespace

std::span<const ZooEntry> zoo() { return kZoo; }

std::unique_ptr<Model> make_model(const ModelOptions& options) {
  for (const ZooEntry& entry : kZoo) {
    if (entry.name != options.name) continue;
    std::unique_ptr<Model> model = entry.build(options);
    model->check_input({1, options.channels, options.height, options.width});
    return model;
  }
  unknown_model(options.name);
}

}  // namespace lockstep
