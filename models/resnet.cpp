// SPDX-License-Identifier: Apache-2.0
#include "models/resnet.h"

#include <optional>
#include <string>

#include "models/blocks.h"

namespace lockstep {
namespace {

// y = relu(branch(x) + shortcut(x)). ReLU follows every layer of the branch; after the last it follows the sum.
struct Block {
  std::vector<ConvNorm> branch;        // two layers (basic) or three (bottleneck)
  std::optional<ConvNorm> downsample;  // the short cut where it is not the identity
};

struct BlockSpec {
  ResNetBlock kind;
  int in_channels, width, stride;
};

constexpr int kBottleneckExpansion = 4;
int out_channels(const BlockSpec& spec) {
  return spec.kind == ResNetBlock::kBottleneck ? kBottleneckExpansion * spec.width : spec.width;
}

class ResNet : public NetworkModel<ResNet> {
 public:
  ResNet(const ModelOptions& options, const ResNetSpec& spec);

  template <class Pass>
  typename Pass::Value run(Pass& pass, const typename Pass::Value& images) const;

 private:
  void make_stem(int width, Stem stem);
  Block make_block(const std::string& name, const BlockSpec& spec);
  ConvNorm make(const std::string& conv, const std::string& norm, const ConvSpec& spec, bool zero_gamma = false) {
    return make_conv_norm(store(), conv, norm, spec, norm_spec(zero_gamma));
  }
  template <class Pass>
  static typename Pass::Value run_block(Pass& pass, const Block& block, const typename Pass::Value& x);

  ConvNorm stem_;
  std::optional<PoolLayer> stem_pool_;
  std::vector<Block> blocks_;
  LinearLayer fc_;
};

ResNet::ResNet(const ModelOptions& options, const ResNetSpec& spec) : NetworkModel(options) {
  const int base_width = options.base_width > 0 ? options.base_width : spec.base_width;
  make_stem(base_width, options.stem == Stem::kAuto ? spec.stem : options.stem);
  int channels = base_width;
  for (std::size_t stage = 0; stage < spec.blocks_per_stage.size(); ++stage) {
    for (int i = 0; i < spec.blocks_per_stage[stage]; ++i) {
      const BlockSpec block{spec.block, channels, base_width << stage, stage > 0 && i == 0 ? 2 : 1};
      blocks_.push_back(make_block("layer" + std::to_string(stage + 1) + "." + std::to_string(i), block));
      channels = out_channels(block);
    }
  }
  fc_ = make_linear(store(), "fc", channels, options.classes);
}

void ResNet::make_stem(int width, Stem stem) {
  const bool imagenet = stem == Stem::kImagenet;
  stem_ = make("conv1", "bn1", same_conv(options().channels, width, imagenet ? 7 : 3, imagenet ? 2 : 1));
  if (imagenet) stem_pool_ = PoolLayer{"maxpool", {.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}}};
}

Block ResNet::make_block(const std::string& name, const BlockSpec& spec) {
  const auto [kind, in, width, stride] = spec;
  const int out = out_channels(spec);
  std::vector<ConvSpec> convs;
  if (kind == ResNetBlock::kBasic)
    convs = {same_conv(in, out, 3, stride), same_conv(out, out, 3, 1)};
  else if (options().v1)
    convs = {same_conv(in, width, 1, stride), same_conv(width, width, 3, 1), same_conv(width, out, 1, 1)};
  else
    convs = {same_conv(in, width, 1, 1), same_conv(width, width, 3, stride), same_conv(width, out, 1, 1)};

  Block block;
  for (std::size_t i = 0; i < convs.size(); ++i) {
    const std::string number = std::to_string(i + 1);
    const bool last = i + 1 == convs.size();
    block.branch.push_back(
        make(name + ".conv" + number, name + ".bn" + number, convs[i], last && options().zero_gamma));
  }
  if (stride != 1 || in != out)
    block.downsample = make(name + ".downsample.0", name + ".downsample.1", same_conv(in, out, 1, stride));
  return block;
}

template <class Pass>
typename Pass::Value ResNet::run_block(Pass& pass, const Block& block, const typename Pass::Value& x) {
  auto y = pass.conv(block.branch.front().conv, x);
  for (std::size_t i = 1; i < block.branch.size(); ++i) y = pass.norm_conv(block.branch[i - 1].norm, block.branch[i].conv, y);
  const NormLayer& last = block.branch.back().norm;
  if (!block.downsample) return pass.norm_add_relu(last, y, x);
  auto shortcut = pass.conv(block.downsample->conv, x);
  shortcut = pass.norm(block.downsample->norm, shortcut);
  return pass.norm_add_relu(last, y, shortcut);
}

template <class Pass>
typename Pass::Value ResNet::run(Pass& pass, const typename Pass::Value& images) const {
  auto x = pass.conv(stem_.conv, images);
  x = pass.norm_relu(stem_.norm, x);
  if (stem_pool_) x = pass.max_pool(*stem_pool_, x);
  for (const Block& block : blocks_) x = run_block(pass, block, x);
  x = pass.global_avg_pool("avgpool", x);
  return pass.linear(fc_, x);
}

}  // namespace

std::unique_ptr<Model> make_resnet(const ModelOptions& options, const ResNetSpec& spec) {
  return std::make_unique<ResNet>(options, spec);
}

}  // namespace lockstep
