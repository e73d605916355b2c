// SPDX-License-Identifier: Apache-2.0
#include "models/googlenet.h"

#include <array>

#include "models/inception_network.h"

namespace lockstep {
namespace {

constexpr int kBaseWidth = 64;
constexpr std::array<std::string_view, 2> kAuxiliary{"aux1.", "aux2."};

// Channels of a block's branches: 1x1; 1x1 then 3x3; 1x1 then the second 3x3; pooling then 1x1. (Table 1 of the paper.)
struct BlockSpec {
  const char* name;
  int direct, reduce3, conv3, reduce5, conv5, pooled;
};

constexpr std::array<BlockSpec, 2> kBlocks3{{{"inception3a", 64, 96, 128, 16, 32, 32}, {"inception3b", 128, 128, 192, 32, 96, 64}}};
constexpr std::array<BlockSpec, 5> kBlocks4{{{"inception4a", 192, 96, 208, 16, 48, 64},
                                             {"inception4b", 160, 112, 224, 24, 64, 64},
                                             {"inception4c", 128, 128, 256, 24, 64, 64},
                                             {"inception4d", 112, 144, 288, 32, 64, 64},
                                             {"inception4e", 256, 160, 320, 32, 128, 128}}};
constexpr std::array<BlockSpec, 2> kBlocks5{{{"inception5a", 256, 160, 320, 32, 128, 128}, {"inception5b", 384, 192, 384, 48, 128, 128}}};

class GoogLeNet final : public InceptionNetwork {
 public:
  explicit GoogLeNet(const ModelOptions& options) : InceptionNetwork(options, Init::normal(0.01), kAuxiliary) {
    const bool small = options.stem == Stem::kSmall;
    const int first = width(64);
    const Pool2dParams halve{.kernel = {3, 3}, .stride = {2, 2}, .ceil = true};
    Basic conv1 = square("conv1", options.channels, first, small ? 3 : 7);
    conv1.stride = small ? 1 : 2;
    add_convolutions({conv1});
    if (!small) add_max_pool("maxpool1", halve);
    add_convolutions({square("conv2", first, first, 1), square("conv3", first, width(192), 3)});
    if (!small) add_max_pool("maxpool2", halve);
    channels_ = width(192);
    for (const BlockSpec& block : kBlocks3) add(block);
    add_max_pool("maxpool3", halve);
    for (const BlockSpec& block : kBlocks4) add(block);
    add_max_pool("maxpool4", {.kernel = {2, 2}, .stride = {2, 2}, .ceil = true});
    for (const BlockSpec& block : kBlocks5) add(block);
    constexpr double kOwnDropout = 0.2;
    make_head(channels_, kOwnDropout);
  }

 private:
  int width(int channels) const { return proportional(channels, kBaseWidth, options()); }

  void add(const BlockSpec& spec) {
    const std::string name = spec.name;
    const int in = channels_, direct = width(spec.direct), conv3 = width(spec.conv3), conv5 = width(spec.conv5), pooled = width(spec.pooled);
    const int reduce3 = width(spec.reduce3), reduce5 = width(spec.reduce5);
    std::vector<Branch> branches(4);
    branches[0].chain = chain({square(name + ".branch1", in, direct, 1)});
    branches[1].chain = chain({square(name + ".branch2.0", in, reduce3, 1), square(name + ".branch2.1", reduce3, conv3, 3)});
    branches[2].chain = chain({square(name + ".branch3.0", in, reduce5, 1), square(name + ".branch3.1", reduce5, conv5, 3)});
    branches[3].pool = Pooling{{name + ".branch4.0", {.kernel = {3, 3}, .stride = {1, 1}, .pad = {1, 1}, .ceil = true}}};
    branches[3].chain = chain({square(name + ".branch4.1", in, pooled, 1)});
    add_block(name, std::move(branches));
    channels_ = direct + conv3 + conv5 + pooled;
  }

  int channels_ = 0;  // of what was built last
};

}  // namespace

std::unique_ptr<Model> make_googlenet(const ModelOptions& options) { return std::make_unique<GoogLeNet>(options); }

}  // namespace lockstep
