// SPDX-License-Identifier: Apache-2.0
#include "models/squeezenet.h"

#include <array>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "models/blocks.h"

namespace lockstep {
namespace {

constexpr double kOwnDropout = 0.5;

// Squeeze to few channels by 1x1 filters, then expand by 1x1 and 3x3 filters side by side; ReLU after each.
struct Fire {
  ConvLayer squeeze, expand1x1, expand3x3;
  std::string squeeze_relu, expand_relu, concat;
  std::optional<PoolLayer> pool;  // before the module
};

struct FireSpec {
  int squeeze, expand;  // expand: of each kind
  bool pooled;          // before the module
};

struct SqueezeSpec {
  int width, kernel;  // of the first convolution
  std::array<FireSpec, 8> fires;
};

constexpr SqueezeSpec kVersion1_0{96, 7, {{{16, 64, true}, {16, 64, false}, {32, 128, false}, {32, 128, true},
                                           {48, 192, false}, {48, 192, false}, {64, 256, false}, {64, 256, true}}}};
constexpr SqueezeSpec kVersion1_1{64, 3, {{{16, 64, true}, {16, 64, false}, {32, 128, true}, {32, 128, false},
                                           {48, 192, true}, {48, 192, false}, {64, 256, false}, {64, 256, false}}}};

// He et al. 2015 over fan-in, drawn uniformly.
Init he_uniform(const ConvSpec& spec) {
  return Init::uniform(std::sqrt(6.0 / (static_cast<double>(spec.in_channels) * spec.kernel.h * spec.kernel.w)));
}

class SqueezeNet final : public NetworkModel<SqueezeNet> {
 public:
  SqueezeNet(const ModelOptions& options, const SqueezeSpec& spec) : NetworkModel(options), dropout_(dropout_of(options, kOwnDropout)) {
    const auto width = [&](int channels) { return proportional(channels, spec.width, options); };
    ConvSpec first{options.channels, width(spec.width), {spec.kernel, spec.kernel}, {.stride = {2, 2}}};
    stem_ = add_conv("features.0", first);
    features_ = 2;
    int channels = width(spec.width);
    for (const FireSpec& fire : spec.fires) {
      fires_.push_back(make_fire(channels, width(fire.squeeze), width(fire.expand), fire.pooled));
      channels = 2 * width(fire.expand);
    }
    ConvSpec last = same_conv(channels, options.classes, 1);
    last.weight_init = Init::normal(0.01);
    classifier_ = add_conv("classifier.1", last);
  }

  template <class Pass>
  typename Pass::Value run(Pass& pass, const typename Pass::Value& images) const;

 private:
  ConvLayer add_conv(const std::string& name, ConvSpec spec) {
    spec.bias = true;
    spec.bias_init = Init::constant(0);
    if (!spec.weight_init) spec.weight_init = he_uniform(spec);
    return make_conv(store(), name, spec);
  }

  Fire make_fire(int in, int squeeze, int expand, bool pooled) {
    Fire fire;
    if (pooled) fire.pool = PoolLayer{next(), {.kernel = {3, 3}, .stride = {2, 2}, .ceil = true}};
    const std::string name = next();
    fire.squeeze = add_conv(name + ".squeeze", same_conv(in, squeeze, 1));
    fire.expand1x1 = add_conv(name + ".expand1x1", same_conv(squeeze, expand, 1));
    fire.expand3x3 = add_conv(name + ".expand3x3", same_conv(squeeze, expand, 3));
    fire.squeeze_relu = name + ".squeeze_activation";
    fire.expand_relu = name + ".expand_activation";
    fire.concat = name + ".concat";
    return fire;
  }
  std::string next() { return "features." + std::to_string(features_++); }

  // The two halves are joined before the ReLU, not after: the same values, and one copy of them less is kept.
  template <class Pass>
  static typename Pass::Value run_fire(Pass& pass, const Fire& fire, const typename Pass::Value& x) {
    const auto squeezed = pass.relu(fire.squeeze_relu, pass.conv(fire.squeeze, x));
    const std::array halves{pass.conv(fire.expand1x1, squeezed), pass.conv(fire.expand3x3, squeezed)};
    return pass.relu(fire.expand_relu, pass.concat(fire.concat, halves));
  }

  const std::string stem_relu_ = "features.1", dropout_name_ = "classifier.0", last_relu_ = "classifier.2", avgpool_ = "classifier.3",
                    logits_ = "logits";
  double dropout_;
  int features_ = 0;
  ConvLayer stem_, classifier_;
  std::vector<Fire> fires_;
};

template <class Pass>
typename Pass::Value SqueezeNet::run(Pass& pass, const typename Pass::Value& images) const {
  auto x = pass.relu(stem_relu_, pass.conv(stem_, images));
  for (const Fire& fire : fires_) {
    if (fire.pool) x = pass.max_pool(*fire.pool, x);
    x = run_fire(pass, fire, x);
  }
  x = pass.dropout(dropout_name_, dropout_, x);
  x = pass.relu(last_relu_, pass.conv(classifier_, x));
  return pass.logits(logits_, pass.global_avg_pool(avgpool_, x));
}

}  // namespace

std::unique_ptr<Model> make_squeezenet1_0(const ModelOptions& options) { return std::make_unique<SqueezeNet>(options, kVersion1_0); }

std::unique_ptr<Model> make_squeezenet1_1(const ModelOptions& options) { return std::make_unique<SqueezeNet>(options, kVersion1_1); }

}  // namespace lockstep
