// SPDX-License-Identifier: Apache-2.0
#include "tests/cudnn_offline/recorded_problems.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "core/tape.h"

namespace lockstep::cuda {
namespace {

// Computes nothing. Any small batch will do, because only N depends on it.
constexpr std::int64_t kRecordedBatch = 2;

class RecordingKernels final : public Kernels {
 public:
  std::string_view name() const override { return "recording"; }
  Device device() const override { return {}; }

  void conv2d_forward(Stream, ConstView x, ConstView w, ConstView, const Conv2dParams& p, View) override {
    find(x.shape, w.shape, p).plain = true;
  }
  void conv2d_backward_data(Stream, ConstView, ConstView w, const Conv2dParams& p, View dx, GradMode) override {
    find(dx.shape, w.shape, p).data = true;
  }
  void conv2d_backward_filter(Stream, ConstView, ConstView, const Conv2dParams&, View, GradMode) override {}
  void norm_conv2d_forward(Stream, ConstView x, const NormVectors&, ConstView w, const Conv2dParams& p, View) override {
    find(x.shape, w.shape, p).normalised = true;
  }
  void norm_conv2d_backward_filter(Stream, ConstView, const NormVectors&, ConstView, const Conv2dParams&, View, GradMode) override {}
  void norm_conv2d_backward_data(Stream, ConstView, ConstView w, const Conv2dParams& p, ConstView x, const NormVectors&, View, View, View) override {
    find(x.shape, w.shape, p).data = true;
  }

  void bias_backward(Stream, ConstView, View, GradMode) override {}
  void batch_norm_moments(Stream, ConstView, View, View) override {}
  void batch_norm_inv_std(Stream, ConstView, double, double, View, View) override {}
  void batch_norm_apply(Stream, ConstView, const NormVectors&, ConstView, bool, View, View) override {}
  void batch_norm_backward_sums(Stream, ConstView, const ReluGate&, ConstView, const NormVectors&, View, View) override {}
  void batch_norm_backward_apply(Stream, ConstView, const ReluGate&, ConstView, const NormVectors&, ConstView, ConstView, double, View,
                                 GradMode, View, GradMode) override {}
  void relu_forward(Stream, ConstView, View) override {}
  void relu_backward(Stream, ConstView, ConstView, View, GradMode) override {}
  void add(Stream, ConstView, ConstView, View) override {}
  void accumulate(Stream, ConstView, View, GradMode) override {}
  void dropout(Stream, ConstView, double, const RandomKey&, View, GradMode) override {}
  void activation_forward(Stream, ConstView, const Activation&, View) override {}
  void activation_backward(Stream, ConstView, ConstView, const Activation&, View, GradMode) override {}
  void response_norm_forward(Stream, ConstView, const ResponseNorm&, View) override {}
  void response_norm_backward(Stream, ConstView, ConstView, const ResponseNorm&, View, GradMode) override {}
  void shuffle_channels(Stream, ConstView, int, View, GradMode) override {}
  void shift_channels(Stream, ConstView, const ChannelShift&, View, GradMode) override {}
  void adaptive_avg_pool_forward(Stream, ConstView, View) override {}
  void adaptive_avg_pool_backward(Stream, ConstView, View, GradMode) override {}
  void max_pool_forward(Stream, ConstView, const Pool2dParams&, View, View) override {}
  void max_pool_backward(Stream, ConstView, ConstView, const Pool2dParams&, View, GradMode) override {}
  void avg_pool_forward(Stream, ConstView, const Pool2dParams&, View) override {}
  void avg_pool_backward(Stream, ConstView, const Pool2dParams&, View, GradMode) override {}
  void global_avg_pool_forward(Stream, ConstView, View) override {}
  void global_avg_pool_backward(Stream, ConstView, View, GradMode) override {}
  void convert(Stream, ConstView, View) override {}
  void linear_forward(Stream, ConstView, ConstView, ConstView, View) override {}
  void linear_backward_data(Stream, ConstView, ConstView, View, GradMode) override {}
  void linear_backward_weight(Stream, ConstView, ConstView, View, GradMode) override {}
  void copy_channels(Stream, ConstView, std::int64_t, View, std::int64_t, std::int64_t, GradMode) override {}
  void softmax_cross_entropy(Stream, ConstView, ConstView, ConstView, double, View, View, View) override {}
  void scale(Stream, ConstView, ConstView, View, GradMode) override {}
  void normalise_image(Stream, ConstView, std::span<const float>, std::span<const float>, View) override {}
  void mix_images(Stream, ConstView, ConstView, View) override {}
  void sgd_step(Stream, std::span<const SgdTensor>, const SgdParams&) override {}
  void squared_norm(Stream, std::span<const ConstView>, View) override {}
  void moving_average(Stream, ConstView, double, View) override {}

  std::vector<NetworkConvolution> found;

 private:
  NetworkConvolution& find(const Shape& x, const Shape& w, const Conv2dParams& params) {
    const auto same = [&](const NetworkConvolution& each) { return each.x == x && each.w == w && each.params == params; };
    const auto known = std::find_if(found.begin(), found.end(), same);
    return known != found.end() ? *known : found.emplace_back(NetworkConvolution{.x = x, .w = w, .params = params});
  }
};

class ForgottenGradients final : public GradSink {
 public:
  Tensor gradient(const Parameter& parameter) override {
    return gradients_.try_emplace(parameter.id, Tensor::empty(parameter.value.shape(), parameter.value.dtype())).first->second;
  }
  void mark_ready(const Parameter&) override {}

 private:
  std::map<int, Tensor> gradients_;
};

}  // namespace

std::vector<NetworkConvolution> convolutions_of(const ModelOptions& options, std::int64_t batch) {
  const std::unique_ptr<Model> model = make_model(options);
  RecordingKernels kernels;
  Tape tape;
  Context context{.kernels = kernels, .tape = &tape, .training = true};
  const Var images{Tensor::empty({kRecordedBatch, options.channels, options.height, options.width}, DType::kF32), -1};
  const Var logits = model->forward(context, images);
  ForgottenGradients gradients;
  tape.backward(logits, Tensor::empty(logits.value.shape(), DType::kF32), &gradients);
  for (NetworkConvolution& each : kernels.found) each.x.set(0, batch);
  return kernels.found;
}

std::vector<ConvProblem> problems_of(const NetworkConvolution& c, DType dtype, bool tf32) {
  std::vector<ConvPattern> patterns{ConvPattern::kForward, ConvPattern::kBackwardFilter};  // also what the fused ones fall back to
  if (c.data) patterns.push_back(ConvPattern::kBackwardData);
  if (c.data && c.plain) patterns.push_back(ConvPattern::kBackwardDataAdd);  // where branches meet
  if (c.plain) patterns.push_back(ConvPattern::kForwardSums);
  if (c.normalised)
    patterns.insert(patterns.end(), {ConvPattern::kNormForwardSums, ConvPattern::kNormBackwardData, ConvPattern::kNormBackwardFilter});
  std::vector<ConvProblem> problems;
  for (const ConvPattern pattern : patterns)
    problems.push_back(with_padded_channels(
        {.pattern = pattern, .dtype = dtype, .x = c.x, .w = c.w, .params = c.params, .tf32 = dtype == DType::kF32 && tf32}));
  return problems;
}

}  // namespace lockstep::cuda
