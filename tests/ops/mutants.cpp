// SPDX-License-Identifier: Apache-2.0
#include "tests/ops/mutants.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace lockstep {
namespace {

// Changes of a result.
constexpr std::string_view kWrongSign = "wrong sign", kDropsElement = "drops its largest element",
                           kShifted = "shifted by one", kOverwrites = "overwrites instead of adding";

void spoil(Tensor& tensor, std::string_view change) {
  const auto values = tensor.host<double>();
  if (values.empty()) return;
  if (change == kWrongSign) {
    for (double& value : values) value = -value;
  } else if (change == kDropsElement) {
    *std::max_element(values.begin(), values.end(), [](double a, double b) { return std::fabs(a) < std::fabs(b); }) = 0;
  } else if (change == kShifted) {
    std::rotate(values.begin(), values.begin() + 1, values.end());
  } else {
    throw std::logic_error("unknown change: " + std::string(change));
  }
}

bool changes_result(std::string_view change) {
  return change == kWrongSign || change == kDropsElement || change == kShifted || change == kOverwrites;
}

class MutantKernels final : public Kernels {
 public:
  MutantKernels(Kernels& inner, Mutant mutant) : inner_(inner), mutant_(std::move(mutant)) {}
  std::string_view name() const override { return "mutant"; }
  Device device() const override { return inner_.device(); }

  void conv2d_forward(Stream s, ConstView x, ConstView w, ConstView bias, const Conv2dParams& p, View y) override {
    inner_.conv2d_forward(s, x, w, bias, p, y);
  }
  void conv2d_backward_data(Stream s, ConstView dy, ConstView w, const Conv2dParams& p, View dx, GradMode mode) override {
    const Conv2dParams q = conv_params("conv2d_backward_data", p);
    result("conv2d_backward_data", dx, mode, [&](View out, GradMode m) { inner_.conv2d_backward_data(s, dy, w, q, out, m); });
  }
  void conv2d_backward_filter(Stream s, ConstView x, ConstView dy, const Conv2dParams& p, View dw, GradMode mode) override {
    const Conv2dParams q = conv_params("conv2d_backward_filter", p);
    result("conv2d_backward_filter", dw, mode, [&](View out, GradMode m) { inner_.conv2d_backward_filter(s, x, dy, q, out, m); });
  }
  void norm_conv2d_backward_filter(Stream s, ConstView x, const NormVectors& norm, ConstView dy, const Conv2dParams& p, View dw,
                                   GradMode mode) override {
    result("norm_conv2d_backward_filter", dw, mode, [&](View out, GradMode m) {
      if (!hits("norm_conv2d_backward_filter", "input not normalised")) return inner_.norm_conv2d_backward_filter(s, x, norm, dy, p, out, m);
      inner_.conv2d_backward_filter(s, x, dy, p, out, m);
    });
  }
  // The composed form, so that a mutant of one of its parts shows here too.
  void norm_conv2d_backward_data(Stream s, ConstView dy, ConstView w, const Conv2dParams& p, ConstView x, const NormVectors& norm, View dz,
                                 View sum_g, View sum_g_xhat) override {
    const auto is = [&](std::string_view change) { return hits("norm_conv2d_backward_data", change); };
    result("norm_conv2d_backward_data", dz, GradMode::kOverwrite,
           [&](View out, GradMode) { Kernels::norm_conv2d_backward_data(s, dy, w, p, x, norm, out, sum_g, sum_g_xhat); });
    if (is("sum_g is zero")) std::fill_n(sum_g.data<double>(), sum_g.numel(), 0.0);
    if (is("sum_g_xhat is zero")) std::fill_n(sum_g_xhat.data<double>(), sum_g_xhat.numel(), 0.0);
    if (is("sums swapped")) std::swap_ranges(sum_g.data<double>(), sum_g.data<double>() + sum_g.numel(), sum_g_xhat.data<double>());
  }
  void bias_backward(Stream s, ConstView dy, View db, GradMode mode) override {
    result("bias_backward", db, mode, [&](View out, GradMode m) { inner_.bias_backward(s, dy, out, m); });
  }

  void batch_norm_moments(Stream s, ConstView x, View mean, View m2) override { inner_.batch_norm_moments(s, x, mean, m2); }
  void batch_norm_inv_std(Stream s, ConstView m2, double count, double eps, View inv_std, View unbiased) override {
    inner_.batch_norm_inv_std(s, m2, count, eps, inv_std, unbiased);
  }
  void batch_norm_apply(Stream s, ConstView x, const NormVectors& norm, ConstView residual, bool relu, View y, View mask) override {
    inner_.batch_norm_apply(s, x, norm, residual, relu, y, mask);
  }
  void batch_norm_backward_sums(Stream s, ConstView dy, const ReluGate& gate, ConstView x, const NormVectors& norm, View sum_g,
                                View sum_g_xhat) override {
    const auto is = [&](std::string_view change) { return hits("batch_norm_backward_sums", change); };
    inner_.batch_norm_backward_sums(s, dy, is("no gate") ? ReluGate::none() : gate, x, norm, sum_g, sum_g_xhat);
    if (is("sum_g is zero")) std::fill_n(sum_g.data<double>(), sum_g.numel(), 0.0);
    if (is("sum_g_xhat is zero")) std::fill_n(sum_g_xhat.data<double>(), sum_g_xhat.numel(), 0.0);
    if (is("results swapped")) std::swap_ranges(sum_g.data<double>(), sum_g.data<double>() + sum_g.numel(), sum_g_xhat.data<double>());
  }
  void batch_norm_backward_apply(Stream s, ConstView dy, const ReluGate& right_gate, ConstView x, const NormVectors& right_norm,
                                 ConstView sum_g, ConstView sum_g_xhat, double count, View dx, GradMode dx_mode,
                                 View dresidual, GradMode dresidual_mode) override {
    const auto is = [&](std::string_view change) { return hits("batch_norm_backward_apply", change); };
    Tensor zeros = Tensor::zeros(sum_g.shape, sum_g.dtype);
    const ReluGate gate = is("no gate") ? ReluGate::none() : right_gate;
    NormVectors norm = right_norm;
    if (is("term of sum_g dropped")) sum_g = zeros;
    if (is("term of sum_g_xhat dropped")) sum_g_xhat = zeros;
    if (is("inv_std instead of gamma")) norm.gamma = norm.inv_std;
    if (is("count off by one")) count += 1;
    if (is("count infinite")) count = std::numeric_limits<double>::infinity();
    const bool residual_sign = is("residual: wrong sign"), residual_overwrites = is("residual: overwrites instead of adding");
    if (residual_overwrites) dresidual_mode = GradMode::kOverwrite;
    Tensor before = residual_sign && dresidual ? copy(dresidual) : Tensor();
    result("batch_norm_backward_apply", dx, dx_mode, [&](View out, GradMode m) {
      inner_.batch_norm_backward_apply(s, dy, gate, x, norm, sum_g, sum_g_xhat, count, out, m, dresidual, dresidual_mode);
    });
    if (!before) return;
    for (std::int64_t i = 0; i < dresidual.numel(); ++i) {
      double& value = dresidual.data<double>()[i];
      value = dresidual_mode == GradMode::kAccumulate ? 2 * before.host<double>()[static_cast<std::size_t>(i)] - value : -value;
    }
  }

  void relu_forward(Stream s, ConstView x, View y) override { inner_.relu_forward(s, x, y); }
  void relu_backward(Stream s, ConstView dy, ConstView y, View dx, GradMode mode) override {
    if (hits("relu_backward", "no mask")) return inner_.accumulate(s, copy(dy), dx, mode);
    result("relu_backward", dx, mode, [&](View out, GradMode m) { inner_.relu_backward(s, dy, y, out, m); });
  }
  void add(Stream s, ConstView a, ConstView b, View y) override { inner_.add(s, a, b, y); }
  void accumulate(Stream s, ConstView src, View dst, GradMode mode) override {
    result("accumulate", dst, mode, [&](View out, GradMode m) { inner_.accumulate(s, src, out, m); });
  }
  void dropout(Stream s, ConstView x, double p, const RandomKey& key, View y, GradMode mode) override {
    RandomKey k = key;
    if (hits("dropout", "another mask")) ++k.b;
    if (hits("dropout", "no scaling")) return result("dropout", y, mode, [&](View out, GradMode m) {
      Tensor scaled = copy(x);
      for (double& value : scaled.host<double>()) value *= 1 - p;
      inner_.dropout(s, scaled, p, k, out, m);
    });
    result("dropout", y, mode, [&](View out, GradMode m) { inner_.dropout(s, x, p, k, out, m); });
  }

  void activation_forward(Stream s, ConstView x, const Activation& function, View y) override { inner_.activation_forward(s, x, function, y); }
  void activation_backward(Stream s, ConstView dy, ConstView kept, const Activation& function, View dx, GradMode mode) override {
    if (hits("activation_backward", "slope 1")) return inner_.accumulate(s, copy(dy), dx, mode);
    Activation f = function;
    if (hits("activation_backward", "one limit moved")) f.a += 0.2;
    if (hits("activation_backward", "other limit moved")) f.b -= 0.2;
    if (hits("activation_backward", "slope of tanh")) f.kind = Activation::Kind::kTanh;
    if (hits("activation_backward", "slope of sigmoid")) f.kind = Activation::Kind::kSigmoid;
    result("activation_backward", dx, mode, [&](View out, GradMode m) { inner_.activation_backward(s, dy, kept, f, out, m); });
  }
  void response_norm_forward(Stream s, ConstView x, const ResponseNorm& p, View y) override { inner_.response_norm_forward(s, x, p, y); }
  void response_norm_backward(Stream s, ConstView dy, ConstView x, const ResponseNorm& p, View dx, GradMode mode) override {
    ResponseNorm q = p;
    if (hits("response_norm_backward", "neighbours ignored")) q.size = 1;
    if (hits("response_norm_backward", "window of one more")) ++q.size;
    q.alpha = p.alpha / p.size * q.size;  // the same factor as before
    if (hits("response_norm_backward", "scale taken for constant")) q.alpha = 0;
    if (hits("response_norm_backward", "alpha not divided")) q.alpha = p.alpha * p.size;
    result("response_norm_backward", dx, mode, [&](View out, GradMode m) { inner_.response_norm_backward(s, dy, x, q, out, m); });
  }
  // Also spoils the forward pass, whose results no gradient depends on.
  void shuffle_channels(Stream s, ConstView src, int groups, View dst, GradMode mode) override {
    if (hits("shuffle_channels", "not the inverse")) groups = static_cast<int>(src.shape[1] / groups);
    result("shuffle_channels", dst, mode, [&](View out, GradMode m) { inner_.shuffle_channels(s, src, groups, out, m); });
  }
  void shift_channels(Stream s, ConstView src, const ChannelShift& shift, View dst, GradMode mode) override {
    if (!shift.inverse) return inner_.shift_channels(s, src, shift, dst, mode);
    const ChannelShift used{.kernel = shift.kernel, .inverse = !hits("shift_channels", "not the inverse")};
    result("shift_channels", dst, mode, [&](View out, GradMode m) { inner_.shift_channels(s, src, used, out, m); });
  }

  void max_pool_forward(Stream s, ConstView x, const Pool2dParams& p, View y, View indices) override {
    inner_.max_pool_forward(s, x, p, y, indices);
  }
  void max_pool_backward(Stream s, ConstView dy, ConstView indices, const Pool2dParams& p, View dx, GradMode mode) override {
    const Pool2dParams q = pool_params("max_pool_backward", p);
    result("max_pool_backward", dx, mode, [&](View out, GradMode m) { inner_.max_pool_backward(s, dy, indices, q, out, m); });
  }
  void avg_pool_forward(Stream s, ConstView x, const Pool2dParams& p, View y) override { inner_.avg_pool_forward(s, x, p, y); }
  void avg_pool_backward(Stream s, ConstView dy, const Pool2dParams& p, View dx, GradMode mode) override {
    const Pool2dParams q = pool_params("avg_pool_backward", p);
    result("avg_pool_backward", dx, mode, [&](View out, GradMode m) { inner_.avg_pool_backward(s, dy, q, out, m); });
  }
  void adaptive_avg_pool_forward(Stream s, ConstView x, View y) override { inner_.adaptive_avg_pool_forward(s, x, y); }
  void adaptive_avg_pool_backward(Stream s, ConstView dy, View dx, GradMode mode) override {
    result("adaptive_avg_pool_backward", dx, mode, [&](View out, GradMode m) { inner_.adaptive_avg_pool_backward(s, dy, out, m); });
  }
  void global_avg_pool_forward(Stream s, ConstView x, View y) override { inner_.global_avg_pool_forward(s, x, y); }
  void global_avg_pool_backward(Stream s, ConstView dy, View dx, GradMode mode) override {
    result("global_avg_pool_backward", dx, mode, [&](View out, GradMode m) { inner_.global_avg_pool_backward(s, dy, out, m); });
  }

  void linear_forward(Stream s, ConstView x, ConstView w, ConstView bias, View y) override { inner_.linear_forward(s, x, w, bias, y); }
  void linear_backward_data(Stream s, ConstView dy, ConstView w, View dx, GradMode mode) override {
    result("linear_backward_data", dx, mode, [&](View out, GradMode m) { inner_.linear_backward_data(s, dy, w, out, m); });
  }
  void linear_backward_weight(Stream s, ConstView x, ConstView dy, View dw, GradMode mode) override {
    result("linear_backward_weight", dw, mode, [&](View out, GradMode m) { inner_.linear_backward_weight(s, x, dy, out, m); });
  }
  void copy_channels(Stream s, ConstView src, std::int64_t src_begin, View dst, std::int64_t dst_begin, std::int64_t count,
                     GradMode mode) override {
    if (hits("copy_channels", "always from channel 0")) src_begin = 0;
    if (dst.shape[1] > count) return inner_.copy_channels(s, src, src_begin, dst, dst_begin, count, mode);  // forward
    result("copy_channels", dst, mode, [&](View out, GradMode m) { inner_.copy_channels(s, src, src_begin, out, dst_begin, count, m); });
  }
  void softmax_cross_entropy(Stream s, ConstView logits, ConstView labels, ConstView mix, double smoothing, View loss, View dlogits,
                             View sums) override {
    if (hits("softmax_cross_entropy", "no smoothing")) smoothing = 0;
    if (hits("softmax_cross_entropy", "labels not mixed")) mix = {};
    const auto call = [&](View out, GradMode) { inner_.softmax_cross_entropy(s, logits, labels, mix, smoothing, loss, out, sums); };
    if (!dlogits) return call(dlogits, GradMode::kOverwrite);
    result("softmax_cross_entropy", dlogits, GradMode::kOverwrite, call);
    if (!hits("softmax_cross_entropy", "sum instead of mean")) return;
    for (std::int64_t i = 0; i < dlogits.numel(); ++i) dlogits.data<double>()[i] *= sums.data<double>()[3];
  }
  void convert(Stream s, ConstView src, View dst) override { inner_.convert(s, src, dst); }
  void scale(Stream s, ConstView x, ConstView factor, View y, GradMode mode) override {
    if (hits("scale", "factor ignored")) return inner_.accumulate(s, copy(x), y, mode);
    result("scale", y, mode, [&](View out, GradMode m) { inner_.scale(s, x, factor, out, m); });
  }
  void normalise_image(Stream s, ConstView x, std::span<const float> mean, std::span<const float> inv_std, View y) override {
    inner_.normalise_image(s, x, mean, inv_std, y);
  }
  void mix_images(Stream s, ConstView x, ConstView mix, View y) override { inner_.mix_images(s, x, mix, y); }
  void sgd_step(Stream s, std::span<const SgdTensor> tensors, const SgdParams& p) override { inner_.sgd_step(s, tensors, p); }
  void squared_norm(Stream s, std::span<const ConstView> tensors, View out) override { inner_.squared_norm(s, tensors, out); }
  void moving_average(Stream s, ConstView observed, double momentum, View value) override {
    inner_.moving_average(s, observed, momentum, value);
  }

 private:
  bool hits(std::string_view kernel, std::string_view change) const { return mutant_.kernel == kernel && mutant_.change == change; }

  static Tensor copy(ConstView view) {
    Tensor tensor = Tensor::empty(view.shape, view.dtype);
    std::copy_n(view.data<double>(), view.numel(), tensor.host<double>().data());
    return tensor;
  }

  // call(out, mode) as it is, or with its contribution spoilt.
  template <class Call>
  void result(std::string_view kernel, View out, GradMode mode, Call call) {
    if (mutant_.kernel != kernel || !changes_result(mutant_.change)) return call(out, mode);
    if (mutant_.change == kOverwrites) return call(out, GradMode::kOverwrite);
    Tensor contribution = Tensor::empty(out.shape, out.dtype);
    call(contribution, GradMode::kOverwrite);
    spoil(contribution, mutant_.change);
    inner_.accumulate({}, contribution, out, mode);
  }

  Conv2dParams conv_params(std::string_view kernel, Conv2dParams p) const {
    if (hits(kernel, "pad height off by one")) ++p.pad.h;
    if (hits(kernel, "pad width off by one")) ++p.pad.w;
    if (hits(kernel, "stride 1")) p.stride = {1, 1};
    if (hits(kernel, "dilation 1")) p.dilation = {1, 1};
    return p;
  }
  Pool2dParams pool_params(std::string_view kernel, Pool2dParams p) const {
    if (hits(kernel, "pad height off by one")) ++p.pad.h;
    if (hits(kernel, "pad width off by one")) ++p.pad.w;
    if (hits(kernel, "stride 1")) p.stride = {1, 1};
    if (hits(kernel, "padding counted wrongly")) p.count_include_pad = !p.count_include_pad;
    return p;
  }

  Kernels& inner_;
  Mutant mutant_;
};

}  // namespace

std::vector<Mutant> all_mutants() {
  std::vector<Mutant> mutants;
  const auto add = [&](std::string op, std::string kernel, std::initializer_list<std::string_view> changes) {
    for (const std::string_view change : changes) mutants.push_back({op, kernel, std::string(change)});
  };
  const auto results = {kWrongSign, kDropsElement, kShifted, kOverwrites};
  for (const char* kernel : {"conv2d_backward_data", "conv2d_backward_filter"}) {
    add("conv2d", kernel, results);
    add("conv2d", kernel, {"pad height off by one", "pad width off by one", "stride 1", "dilation 1"});
  }
  add("conv2d", "bias_backward", results);
  add("batch_norm", "batch_norm_backward_sums", {"no gate", "sum_g is zero", "sum_g_xhat is zero", "results swapped"});
  add("batch_norm", "batch_norm_backward_apply", results);
  add("batch_norm", "batch_norm_backward_apply",
      {"no gate", "term of sum_g dropped", "term of sum_g_xhat dropped", "inv_std instead of gamma", "count off by one",
       "count infinite", "residual: wrong sign", "residual: overwrites instead of adding"});
  add("batch_norm", "accumulate", results);
  add("norm_conv2d", "norm_conv2d_backward_filter", results);
  add("norm_conv2d", "norm_conv2d_backward_filter", {"input not normalised"});
  add("norm_conv2d", "conv2d_backward_data", {kWrongSign, kDropsElement, kShifted, "pad height off by one", "stride 1"});
  add("norm_conv2d", "norm_conv2d_backward_data",
      {kWrongSign, kDropsElement, kShifted, "sum_g is zero", "sum_g_xhat is zero", "sums swapped"});
  add("norm_conv2d", "batch_norm_backward_sums", {"no gate", "sum_g is zero", "sum_g_xhat is zero", "results swapped"});
  add("norm_conv2d", "batch_norm_backward_apply",
      {kWrongSign, kDropsElement, kShifted, "no gate", "term of sum_g dropped", "term of sum_g_xhat dropped",
       "inv_std instead of gamma", "count off by one", "count infinite"});
  add("norm_conv2d", "accumulate", results);
  add("relu", "relu_backward", results);
  add("relu", "relu_backward", {"no mask"});
  for (const char* op : {"leaky_relu", "tanh", "sigmoid", "threshold", "clamp"}) {
    add(op, "activation_backward", results);
    add(op, "activation_backward", {"slope 1"});
  }
  for (const char* op : {"leaky_relu", "threshold", "clamp"}) add(op, "activation_backward", {"one limit moved"});
  add("clamp", "activation_backward", {"other limit moved"});
  add("sigmoid", "activation_backward", {"slope of tanh"});
  add("tanh", "activation_backward", {"slope of sigmoid"});
  add("response_norm", "response_norm_backward", results);
  add("response_norm", "response_norm_backward",
      {"neighbours ignored", "window of one more", "scale taken for constant", "alpha not divided"});
  for (const char* op : {"shuffle_channels", "shift_channels"}) {
    add(op, op, results);
    add(op, op, {"not the inverse"});
  }
  add("flatten_chw", "shuffle_channels", results);
  add("adaptive_avg_pool", "adaptive_avg_pool_backward", results);
  add("add", "accumulate", results);
  add("max_pool", "max_pool_backward", results);
  add("max_pool", "max_pool_backward", {"pad height off by one", "pad width off by one", "stride 1"});
  add("avg_pool", "avg_pool_backward", results);
  add("avg_pool", "avg_pool_backward", {"pad height off by one", "pad width off by one", "stride 1", "padding counted wrongly"});
  add("global_avg_pool", "global_avg_pool_backward", results);
  for (const char* kernel : {"linear_backward_data", "linear_backward_weight", "bias_backward"}) add("linear", kernel, results);
  add("flatten", "accumulate", results);
  add("concat", "copy_channels", results);
  add("concat", "copy_channels", {"always from channel 0"});
  add("dropout", "dropout", results);
  add("dropout", "dropout", {"another mask", "no scaling"});
  add("softmax_cross_entropy", "softmax_cross_entropy", {kWrongSign, kDropsElement, kShifted});
  add("softmax_cross_entropy", "softmax_cross_entropy", {"no smoothing", "labels not mixed", "sum instead of mean"});
  add("softmax_cross_entropy", "scale", results);
  add("softmax_cross_entropy", "scale", {"factor ignored"});
  for (const OpSpec& op : all_ops()) add(op.name, "", {kWrongSign, kDropsElement, kShifted});
  return mutants;
}

std::unique_ptr<Kernels> make_mutant_kernels(Kernels& inner, const Mutant& mutant) {
  return std::make_unique<MutantKernels>(inner, mutant);
}

Var spoilt_identity(Context& ctx, const Var& x, const std::string& change) {
  const Var* const inputs[] = {&x};
  return ctx.tape->record(x.value, inputs, [&kernels = ctx.kernels, change](BackwardPass& pass) {
    Tensor gradient = pass.grad_output().clone();
    spoil(gradient, change);
    GradTarget target = pass.target(0);
    kernels.accumulate({}, gradient, target.grad, target.mode);
  });
}

}  // namespace lockstep
