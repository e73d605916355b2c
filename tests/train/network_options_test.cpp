// What a config's group `model` becomes.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "train/config/config.h"
#include "train/network.h"

namespace lockstep {
namespace {

LoadedConfig with_model(const std::string& fields) {
  return parse_config("model { " + fields + " } data { source: SYNTHETIC } schedule { lr: 1 }", "test.pbtxt", {});
}

TEST(NetworkOptions, ImageFilesBecomeAsLargeAsTheNetworkWasPublishedWithButNotSmallerThanUsual) {
  const std::pair<const char*, int> sides[] = {{"resnet50", 224}, {"resnet20", 224}, {"alexnet_grouped", 227}, {"inception_v3", 299}};
  for (const auto& [name, side] : sides) EXPECT_EQ(default_side(with_model(std::string("name: '") + name + "'").config()), side) << name;
}

TEST(NetworkOptions, TheDefaultEpsIsTheNetworksOwn) {
  const auto eps = [](const std::string& fields) { return model_options(with_model(fields).config(), {224, 224, 3}, 10).bn_eps; };
  EXPECT_FALSE(eps("name: 'googlenet'").has_value());
  EXPECT_FALSE(eps("name: 'googlenet' batch_norm { eps: 1e-5 }").has_value()) << "as a saved config has it";
  EXPECT_EQ(eps("name: 'googlenet' batch_norm { eps: 2e-5 }"), 2e-5);
}

TEST(NetworkOptions, DropoutAndWidthArriveAtTheNetwork) {
  const ModelOptions silent = model_options(with_model("name: 'mobilenet_v2'").config(), {224, 224, 3}, 10);
  EXPECT_LT(silent.dropout, 0);
  EXPECT_EQ(silent.width_multiplier, 1);
  const ModelOptions given = model_options(with_model("name: 'mobilenet_v2' dropout: 0.1 width_multiplier: 0.5").config(), {224, 224, 3}, 10);
  EXPECT_EQ(given.dropout, 0.1);
  EXPECT_EQ(given.width_multiplier, 0.5);
}

}  // namespace
}  // namespace lockstep
