// SPDX-License-Identifier: Apache-2.0
#include "models/alexnet.h"

#include <string>

#include "models/plain_network.h"

namespace lockstep {
namespace {

constexpr double kOwnDropout = 0.5;
constexpr int kGrid = 6;  // rows and columns before the fully connected layers
const Pool2dParams kOverlapping{.kernel = {3, 3}, .stride = {2, 2}};

class AlexNet final : public PlainNetwork {
 public:
  explicit AlexNet(const ModelOptions& options) : PlainNetwork(options) {
    const auto width = [&](int channels) { return proportional(channels, 64, options); };
    add_stage({options.channels, width(64), {11, 11}, {.stride = {4, 4}, .pad = {2, 2}}}, true);
    add_stage(same_conv(width(64), width(192), 5), true);
    add_stage(same_conv(width(192), width(384), 3), false);
    add_stage(same_conv(width(384), width(256), 3), false);
    add_stage(same_conv(width(256), width(256), 3), true);
    grid_ = {kGrid, kGrid};
    dropout_ = dropout_of(options, kOwnDropout);
    add_hidden(0, width(256) * kGrid * kGrid, width(4096));
    add_hidden(3, width(4096), width(4096));
    classifier_ = make_linear(store(), "classifier.6", width(4096), options.classes);
  }

 private:
  // torchvision's default initialisation: uniform in +-1/sqrt(fan-in), weights and biases.
  void add_stage(ConvSpec spec, bool pooled) {
    spec.bias = true;
    spec.weight_init = Init::uniform_fan_in(std::int64_t{spec.in_channels} * spec.kernel.h * spec.kernel.w);
    Stage stage;
    stage.conv = make_conv(store(), next(), spec);
    stage.relu = next();
    if (pooled) stage.pool = PoolLayer{next(), kOverlapping};
    stages_.push_back(std::move(stage));
  }
  std::string next() { return "features." + std::to_string(features_++); }

  void add_hidden(int index, int in, int out) {
    const auto name = [](int i) { return "classifier." + std::to_string(i); };
    hidden_.push_back({name(index), name(index + 2), make_linear(store(), name(index + 1), in, out), true});
  }

  int features_ = 0;
};

class AlexNetGrouped final : public PlainNetwork {
 public:
  explicit AlexNetGrouped(const ModelOptions& options) : PlainNetwork(options) {
    const auto width = [&](int channels) { return proportional(channels, 96, options, 2); };
    add_stage({options.channels, width(96), {11, 11}, {.stride = {4, 4}}}, 0);
    add_stage(same_conv(width(96), width(256), 5, 1, 2), 1);
    add_stage(same_conv(width(256), width(384), 3), 0);
    add_stage(same_conv(width(384), width(384), 3, 1, 2), 1);
    add_stage(same_conv(width(384), width(256), 3, 1, 2), 1);
    for (const std::size_t i : {0U, 1U, 4U}) stages_[i].pool = PoolLayer{"pool" + std::to_string(i + 1), kOverlapping};
    // The paper's alpha stands before the sum, ours before the mean of 5.
    const ResponseNorm response{.size = 5, .alpha = 5 * 1e-4, .beta = 0.75, .k = 2};
    for (const std::size_t i : {0U, 1U}) stages_[i].response_norm = ResponseNormLayer{"norm" + std::to_string(i + 1), response};
    grid_ = {kGrid, kGrid};
    dropout_ = dropout_of(options, kOwnDropout);
    add_hidden(6, width(256) * kGrid * kGrid, width(4096));
    add_hidden(7, width(4096), width(4096));
    classifier_ = make_linear(store(), "fc8", width(4096), options.classes, {Init::normal(0.01), Init::constant(0)});
  }

 private:
  // Section 5: weights from a normal of deviation 0.01; biases 1 where that feeds the ReLUs with positive inputs, else 0.
  void add_stage(ConvSpec spec, double bias) {
    const std::string number = std::to_string(stages_.size() + 1);
    spec.bias = true;
    spec.weight_init = Init::normal(0.01);
    spec.bias_init = Init::constant(bias);
    Stage stage;
    stage.conv = make_conv(store(), "conv" + number, spec);
    stage.relu = "relu" + number;
    stages_.push_back(std::move(stage));
  }

  void add_hidden(int number, int in, int out) {
    const std::string n = std::to_string(number);
    hidden_.push_back({"drop" + n, "relu" + n, make_linear(store(), "fc" + n, in, out, {Init::normal(0.01), Init::constant(1)}), false});
  }
};

}  // namespace

std::unique_ptr<Model> make_alexnet(const ModelOptions& options) { return std::make_unique<AlexNet>(options); }

std::unique_ptr<Model> make_alexnet_grouped(const ModelOptions& options) { return std::make_unique<AlexNetGrouped>(options); }

}  // namespace lockstep
