// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <string>
#include <vector>

#include "models/blocks.h"
#include "models/mobilenet.h"

namespace lockstep {
namespace {

constexpr int kFirst = 32, kRounding = 8;
constexpr double kOwnDropout = 0;  // the paper has none

struct PairSpec {
  int channels, stride;
};

// A depthwise 3x3 convolution with this stride, then a pointwise one to so many channels.
constexpr std::array<PairSpec, 13> kPairs{{{64, 1}, {128, 2}, {128, 1}, {256, 2}, {256, 1}, {512, 2}, {512, 1},
                                           {512, 1}, {512, 1}, {512, 1}, {512, 1}, {1024, 2}, {1024, 1}}};

class MobileNetV1 final : public NetworkModel<MobileNetV1> {
 public:
  explicit MobileNetV1(const ModelOptions& options) : NetworkModel(options), dropout_(dropout_of(options, kOwnDropout)) {
    const auto width = [&](int channels) { return multiplied(channels, options.width_multiplier, kRounding); };
    const bool small = options.stem == Stem::kSmall;
    bool kept = small;  // the first stride of 2 among the pairs becomes 1
    int channels = width(kFirst);
    add("features.0", same_conv(options.channels, channels, 3, small ? 1 : 2));
    for (std::size_t i = 0; i < kPairs.size(); ++i) {
      const std::string name = "features." + std::to_string(i + 1) + ".conv.";
      const bool keep = kept && kPairs[i].stride == 2;
      kept = kept && !keep;
      add(name + "0", same_conv(channels, channels, 3, keep ? 1 : kPairs[i].stride, channels));
      add(name + "1", same_conv(channels, width(kPairs[i].channels), 1));
      channels = width(kPairs[i].channels);
    }
    classifier_ = make_linear(store(), "classifier.1", channels, options.classes, {Init::normal(0.01), Init::constant(0)});
  }

  template <class Pass>
  typename Pass::Value run(Pass& pass, const typename Pass::Value& images) const {
    auto x = run_chain<Pass>(pass, layers_, images);
    x = pass.global_avg_pool(avgpool_, x);
    x = pass.dropout(dropout_name_, dropout_, x);
    return pass.linear(classifier_, x);
  }

 private:
  void add(const std::string& name, const ConvSpec& spec) {
    layers_.push_back(make_conv_norm(store(), name + ".0", name + ".1", spec, norm_spec()));
  }

  const std::string avgpool_ = "avgpool", dropout_name_ = "classifier.0";
  double dropout_;
  std::vector<ConvNorm> layers_;
  LinearLayer classifier_;
};

}  // namespace

std::unique_ptr<Model> make_mobilenet_v1(const ModelOptions& options) { return std::make_unique<MobileNetV1>(options); }

}  // namespace lockstep
