// SPDX-License-Identifier: Apache-2.0
#include "models/densenet.h"

#include <array>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "models/blocks.h"

namespace lockstep {
namespace {

constexpr std::array<int, 4> kLayersPerBlock{6, 12, 24, 16};
constexpr int kFirst = 64, kGrowth = 32;
constexpr int kBottleneck = 4;  // channels between a layer's two convolutions, in growths

// Batch norm, ReLU, convolution.
struct NormConv {
  NormLayer norm;
  ConvLayer conv;
};

struct DenseLayer {
  NormConv reduce, grow;
  std::string concat;
};

struct DenseBlock {
  std::vector<DenseLayer> layers;
  std::optional<NormConv> transition;  // then average pooling; not after the last block
  PoolLayer pool;
};

class DenseNet final : public NetworkModel<DenseNet> {
 public:
  explicit DenseNet(const ModelOptions& options) : NetworkModel(options) {
    int channels = proportional(kFirst, kFirst, options);
    const int growth = proportional(kGrowth, kFirst, options);
    make_stem(channels);
    for (std::size_t i = 0; i < kLayersPerBlock.size(); ++i) {
      const std::string number = std::to_string(i + 1);
      DenseBlock block;
      for (int layer = 1; layer <= kLayersPerBlock[i]; ++layer) {
        block.layers.push_back(make_layer("features.denseblock" + number + ".denselayer" + std::to_string(layer), channels, growth));
        channels += growth;
      }
      if (i + 1 < kLayersPerBlock.size()) {
        const std::string name = "features.transition" + number;
        block.transition = make_norm_conv(name + ".norm", name + ".conv", channels, channels / 2, 1);
        block.pool = {name + ".pool", {.kernel = {2, 2}, .stride = {2, 2}}};
        channels /= 2;
      }
      blocks_.push_back(std::move(block));
    }
    last_ = make_norm(store(), "features.norm5", channels, norm_spec());
    classifier_ = make_linear(store(), "classifier", channels, options.classes, {.bias = Init::constant(0)});
  }

  template <class Pass>
  typename Pass::Value run(Pass& pass, const typename Pass::Value& images) const;

 private:
  // He et al. 2015 over fan-in.
  static ConvSpec with_init(ConvSpec spec) {
    spec.weight_init = Init::normal(std::sqrt(2.0 / (static_cast<double>(spec.in_channels) * spec.kernel.h * spec.kernel.w)));
    return spec;
  }

  void make_stem(int channels) {
    const bool small = options().stem == Stem::kSmall;
    const ConvSpec conv = same_conv(options().channels, channels, small ? 3 : 7, small ? 1 : 2);
    stem_ = make_conv_norm(store(), "features.conv0", "features.norm0", with_init(conv), norm_spec());
    if (!small) stem_pool_ = PoolLayer{"features.pool0", {.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}}};
  }

  NormConv make_norm_conv(const std::string& norm, const std::string& conv, int in, int out, int kernel) {
    NormConv layer{.norm = make_norm(store(), norm, in, norm_spec()), .conv = {}};
    layer.conv = make_conv(store(), conv, with_init(same_conv(in, out, kernel)));
    return layer;
  }

  DenseLayer make_layer(const std::string& name, int channels, int growth) {
    DenseLayer layer;
    layer.reduce = make_norm_conv(name + ".norm1", name + ".conv1", channels, kBottleneck * growth, 1);
    layer.grow = make_norm_conv(name + ".norm2", name + ".conv2", kBottleneck * growth, growth, 3);
    layer.concat = name + ".concat";
    return layer;
  }

  ConvNorm stem_;
  std::optional<PoolLayer> stem_pool_;
  std::vector<DenseBlock> blocks_;
  NormLayer last_;
  const std::string avgpool_ = "avgpool";
  LinearLayer classifier_;
};

// Each layer joins its channels to all before it at once, so that its own output is not kept beside the joined image; the
// activations of batch norm are not kept either (ops/norm_conv2d.h).
template <class Pass>
typename Pass::Value DenseNet::run(Pass& pass, const typename Pass::Value& images) const {
  auto x = pass.norm_relu(stem_.norm, pass.conv(stem_.conv, images));
  if (stem_pool_) x = pass.max_pool(*stem_pool_, x);
  for (const DenseBlock& block : blocks_) {
    for (const DenseLayer& layer : block.layers) {
      const auto reduced = pass.norm_conv(layer.reduce.norm, layer.reduce.conv, x);
      const std::array both{x, pass.norm_conv(layer.grow.norm, layer.grow.conv, reduced)};
      x = pass.concat(layer.concat, both);
    }
    if (block.transition) x = pass.avg_pool(block.pool, pass.norm_conv(block.transition->norm, block.transition->conv, x));
  }
  return pass.linear(classifier_, pass.global_avg_pool(avgpool_, pass.norm_relu(last_, x)));
}

}  // namespace

std::unique_ptr<Model> make_densenet121(const ModelOptions& options) { return std::make_unique<DenseNet>(options); }

}  // namespace lockstep
