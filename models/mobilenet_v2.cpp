// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "models/blocks.h"
#include "models/mobilenet.h"

namespace lockstep {
namespace {

constexpr int kFirst = 32, kLast = 1280, kRounding = 8;
constexpr double kOwnDropout = 0.2;
constexpr Activation kRelu6{.kind = Activation::Kind::kClamp, .a = 0, .b = 6};

struct StageSpec {
  int expansion, channels, blocks, stride;  // the stride of the first block
};

// Table 2 of the paper.
constexpr std::array<StageSpec, 7> kStages{
    {{1, 16, 1, 1}, {6, 24, 2, 2}, {6, 32, 3, 2}, {6, 64, 4, 2}, {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}}};

struct ClampedConv {
  ConvNorm layers;
  std::string relu6;
};

// Pointwise to more channels, depthwise, pointwise to few; the last without ReLU. x is added where the shape stays.
struct InvertedResidual {
  std::optional<ClampedConv> expand;
  ClampedConv depthwise;
  ConvNorm project;
  std::string add;  // empty: nothing is added
};

class MobileNetV2 final : public NetworkModel<MobileNetV2> {
 public:
  explicit MobileNetV2(const ModelOptions& options) : NetworkModel(options), dropout_(dropout_of(options, kOwnDropout)) {
    const bool small = options.stem == Stem::kSmall;
    int channels = multiplied(kFirst, options.width_multiplier, kRounding);
    stem_ = make_clamped("features.0", same_conv(options.channels, channels, 3, small ? 1 : 2));
    int index = 1;
    for (std::size_t stage = 0; stage < kStages.size(); ++stage) {
      const StageSpec& spec = kStages[stage];
      const int out = multiplied(spec.channels, options.width_multiplier, kRounding);
      for (int i = 0; i < spec.blocks; ++i) {
        const int stride = i == 0 && !(small && stage == 1) ? spec.stride : 1;
        blocks_.push_back(make_block("features." + std::to_string(index++), channels, out, spec.expansion, stride));
        channels = out;
      }
    }
    const int last = multiplied(kLast, std::max(1.0, options.width_multiplier), kRounding);
    last_ = make_clamped("features." + std::to_string(index), same_conv(channels, last, 1));
    classifier_ = make_linear(store(), "classifier.1", last, options.classes, {Init::normal(0.01), Init::constant(0)});
  }

  template <class Pass>
  typename Pass::Value run(Pass& pass, const typename Pass::Value& images) const {
    auto x = apply(pass, stem_, images);
    for (const InvertedResidual& block : blocks_) x = apply(pass, block, x);
    x = apply(pass, last_, x);
    x = pass.global_avg_pool(avgpool_, x);
    x = pass.dropout(dropout_name_, dropout_, x);
    return pass.linear(classifier_, x);
  }

 private:
  ClampedConv make_clamped(const std::string& name, const ConvSpec& spec) {
    return {make_conv_norm(store(), name + ".0", name + ".1", spec, norm_spec()), name + ".2"};
  }

  InvertedResidual make_block(const std::string& name, int in, int out, int expansion, int stride) {
    const int hidden = in * expansion;
    int next = 0;
    const auto part = [&] { return name + ".conv." + std::to_string(next++); };
    InvertedResidual block;
    if (expansion != 1) block.expand = make_clamped(part(), same_conv(in, hidden, 1));
    block.depthwise = make_clamped(part(), same_conv(hidden, hidden, 3, stride, hidden));
    const std::string conv = part(), norm = part();
    block.project = make_conv_norm(store(), conv, norm, same_conv(hidden, out, 1), norm_spec());
    if (stride == 1 && in == out) block.add = name + ".add";
    return block;
  }

  template <class Pass>
  static typename Pass::Value apply(Pass& pass, const ClampedConv& layer, const typename Pass::Value& x) {
    return pass.activation(layer.relu6, kRelu6, pass.norm(layer.layers.norm, pass.conv(layer.layers.conv, x)));
  }
  template <class Pass>
  static typename Pass::Value apply(Pass& pass, const InvertedResidual& block, const typename Pass::Value& x) {
    auto y = block.expand ? apply(pass, *block.expand, x) : x;
    y = apply(pass, block.depthwise, y);
    y = pass.norm(block.project.norm, pass.conv(block.project.conv, y));
    return block.add.empty() ? y : pass.add(block.add, x, y);
  }

  const std::string avgpool_ = "avgpool", dropout_name_ = "classifier.0";
  double dropout_;
  ClampedConv stem_, last_;
  std::vector<InvertedResidual> blocks_;
  LinearLayer classifier_;
};

}  // namespace

std::unique_ptr<Model> make_mobilenet_v2(const ModelOptions& options) { return std::make_unique<MobileNetV2>(options); }

}  // namespace lockstep
