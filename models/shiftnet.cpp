// SPDX-License-Identifier: Apache-2.0
#include "models/shiftnet.h"

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "models/blocks.h"

namespace lockstep {
namespace {

struct GroupSpec {
  int width;   // times the base width
  int blocks, shift;
  int first_expansion, expansion;  // of the block that halves the image, of the others
};

// The paper's table of ShiftNet-A.
constexpr std::array<GroupSpec, 4> kGroups{{{2, 5, 5, 4, 4}, {4, 6, 5, 4, 3}, {8, 7, 3, 3, 2}, {16, 3, 3, 2, 1}}};

// Conv-shift-conv: 1x1 to more channels, shift, 1x1 to fewer, batch norm and ReLU before each convolution. Stride 1: x is added.
// Stride 2: the averages of x are further channels of the output.
struct Block {
  NormLayer norm1, norm2;
  ConvLayer conv1, conv2;
  std::string shift_name, join;
  int shift = 3;
  std::optional<PoolLayer> pool;  // with stride 2
};

class ShiftNet final : public NetworkModel<ShiftNet> {
 public:
  ShiftNet(const ModelOptions& options, int base_width) : NetworkModel(options) {
    const int width = options.base_width > 0 ? options.base_width : base_width;
    stem_ = make_conv(store(), "conv1", same_conv(options.channels, width, 7, 2));
    int channels = width;
    for (std::size_t group = 0; group < kGroups.size(); ++group) {
      for (int i = 0; i < kGroups[group].blocks; ++i) {
        const std::string name = "layer" + std::to_string(group + 1) + "." + std::to_string(i);
        blocks_.push_back(make_block(name, channels, width, kGroups[group], i == 0));
        channels = width * kGroups[group].width;
      }
    }
    last_ = make_norm(store(), "bn", channels, norm_spec());
    fc_ = make_linear(store(), "fc", channels, options.classes);
  }

  template <class Pass>
  typename Pass::Value run(Pass& pass, const typename Pass::Value& images) const {
    auto x = pass.conv(stem_, images);
    for (const Block& block : blocks_) x = run_block(pass, block, x);
    return pass.linear(fc_, pass.global_avg_pool(avgpool_, pass.norm_relu(last_, x)));
  }

 private:
  Block make_block(const std::string& name, int in, int base_width, const GroupSpec& group, bool halves) {
    const int out = base_width * group.width - (halves ? in : 0);
    const int inner = out * (halves ? group.first_expansion : group.expansion);
    Block block;
    block.norm1 = make_norm(store(), name + ".bn1", in, norm_spec());
    block.conv1 = make_conv(store(), name + ".conv1", same_conv(in, inner, 1));
    block.norm2 = make_norm(store(), name + ".bn2", inner, norm_spec());
    block.conv2 = make_conv(store(), name + ".conv2", same_conv(inner, out, 1, halves ? 2 : 1));
    block.shift_name = name + ".shift";
    block.join = name + (halves ? ".concat" : ".add");
    block.shift = group.shift;
    if (halves) block.pool = PoolLayer{name + ".avgpool", {.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}}};
    return block;
  }

  template <class Pass>
  static typename Pass::Value run_block(Pass& pass, const Block& block, const typename Pass::Value& x) {
    auto y = pass.norm_conv(block.norm1, block.conv1, x);
    y = pass.shift_channels(block.shift_name, block.shift, y);
    y = pass.norm_conv(block.norm2, block.conv2, y);
    if (!block.pool) return pass.add(block.join, x, y);
    const std::array both{pass.avg_pool(*block.pool, x), y};
    return pass.concat(block.join, both);
  }

  ConvLayer stem_;
  std::vector<Block> blocks_;
  NormLayer last_;
  const std::string avgpool_ = "avgpool";
  LinearLayer fc_;
};

}  // namespace

std::unique_ptr<Model> make_shiftnet(const ModelOptions& options, int base_width) {
  return std::make_unique<ShiftNet>(options, base_width);
}

}  // namespace lockstep
