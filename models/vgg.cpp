// SPDX-License-Identifier: Apache-2.0
#include "models/vgg.h"

#include <algorithm>
#include <string>

#include "models/plain_network.h"

namespace lockstep {
namespace {

constexpr int kBaseWidth = 64, kHidden = 4096, kGrid = 7;
constexpr double kOwnDropout = 0.5;

class Vgg final : public PlainNetwork {
 public:
  Vgg(const ModelOptions& options, const VggSpec& spec) : PlainNetwork(options) {
    const auto width = [&](int channels) { return proportional(channels, kBaseWidth, options); };
    int channels = options.channels;
    for (std::size_t stage = 0; stage < spec.convs_per_stage.size(); ++stage) {
      const int out = width(std::min(kBaseWidth << stage, 512));
      for (int i = 0; i < spec.convs_per_stage[stage]; ++i) {
        add_conv(channels, out, spec.batch_norm);
        channels = out;
      }
      stages_.back().pool = PoolLayer{next(), {.kernel = {2, 2}, .stride = {2, 2}}};
    }
    grid_ = {kGrid, kGrid};
    dropout_ = dropout_of(options, kOwnDropout);
    add_hidden(0, channels * kGrid * kGrid, width(kHidden));
    add_hidden(3, width(kHidden), width(kHidden));
    classifier_ = make_linear(store(), "classifier.6", width(kHidden), options.classes, kLinearInit);
  }

 private:
  static constexpr LinearInit kLinearInit{Init{Init::Rule::kNormal, 0.01}, Init{Init::Rule::kConstant, 0}};

  void add_conv(int in, int out, bool batch_norm) {
    ConvSpec spec = same_conv(in, out, 3);
    spec.bias = true;
    spec.bias_init = Init::constant(0);
    Stage stage;
    stage.conv = make_conv(store(), next(), spec);
    if (batch_norm) stage.norm = make_norm(store(), next(), out, norm_spec());
    stage.relu = next();
    stages_.push_back(std::move(stage));
  }
  std::string next() { return "features." + std::to_string(features_++); }

  void add_hidden(int index, int in, int out) {
    const auto name = [](int i) { return "classifier." + std::to_string(i); };
    hidden_.push_back({name(index + 2), name(index + 1), make_linear(store(), name(index), in, out, kLinearInit), false});
  }

  int features_ = 0;
};

}  // namespace

std::unique_ptr<Model> make_vgg(const ModelOptions& options, const VggSpec& spec) { return std::make_unique<Vgg>(options, spec); }

}  // namespace lockstep
