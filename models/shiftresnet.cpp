// SPDX-License-Identifier: Apache-2.0
#include <optional>
#include <string>
#include <vector>

#include "models/blocks.h"
#include "models/shiftnet.h"

namespace lockstep {
namespace {

constexpr int kBaseWidth = 16, kStages = 3, kExpansion = 6, kShift = 3;

// y = relu(branch(x) + shortcut(x))
struct Block {
  ConvNorm expand, project;
  std::string shift;
  std::optional<ConvNorm> downsample;  // the short cut where it is not the identity
};

class ShiftResNet final : public NetworkModel<ShiftResNet> {
 public:
  ShiftResNet(const ModelOptions& options, int blocks_per_stage) : NetworkModel(options) {
    const int width = proportional(kBaseWidth, kBaseWidth, options);
    stem_ = make("conv1", "bn1", same_conv(options.channels, width, 3));
    int channels = width;
    for (int stage = 0; stage < kStages; ++stage) {
      for (int i = 0; i < blocks_per_stage; ++i) {
        const std::string name = "layer" + std::to_string(stage + 1) + "." + std::to_string(i);
        blocks_.push_back(make_block(name, channels, width << stage, stage > 0 && i == 0 ? 2 : 1));
        channels = width << stage;
      }
    }
    fc_ = make_linear(store(), "fc", channels, options.classes);
  }

  template <class Pass>
  typename Pass::Value run(Pass& pass, const typename Pass::Value& images) const {
    auto x = pass.norm_relu(stem_.norm, pass.conv(stem_.conv, images));
    for (const Block& block : blocks_) x = run_block(pass, block, x);
    return pass.linear(fc_, pass.global_avg_pool(avgpool_, x));
  }

 private:
  ConvNorm make(const std::string& conv, const std::string& norm, const ConvSpec& spec) {
    return make_conv_norm(store(), conv, norm, spec, norm_spec());
  }

  Block make_block(const std::string& name, int in, int out, int stride) {
    Block block;
    block.expand = make(name + ".conv1", name + ".bn1", same_conv(in, kExpansion * out, 1));
    block.project = make(name + ".conv2", name + ".bn2", same_conv(kExpansion * out, out, 1, stride));
    block.shift = name + ".shift";
    if (stride != 1 || in != out) block.downsample = make(name + ".downsample.0", name + ".downsample.1", same_conv(in, out, 1, stride));
    return block;
  }

  template <class Pass>
  static typename Pass::Value run_block(Pass& pass, const Block& block, const typename Pass::Value& x) {
    auto y = pass.norm_relu(block.expand.norm, pass.conv(block.expand.conv, x));
    y = pass.conv(block.project.conv, pass.shift_channels(block.shift, kShift, y));
    if (!block.downsample) return pass.norm_add_relu(block.project.norm, y, x);
    const auto shortcut = pass.norm(block.downsample->norm, pass.conv(block.downsample->conv, x));
    return pass.norm_add_relu(block.project.norm, y, shortcut);
  }

  ConvNorm stem_;
  std::vector<Block> blocks_;
  const std::string avgpool_ = "avgpool";
  LinearLayer fc_;
};

}  // namespace

std::unique_ptr<Model> make_shiftresnet(const ModelOptions& options, int blocks_per_stage) {
  return std::make_unique<ShiftResNet>(options, blocks_per_stage);
}

}  // namespace lockstep
