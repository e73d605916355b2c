// SPDX-License-Identifier: Apache-2.0
#include "train/trace_kernels.h"

#include <initializer_list>
#include <optional>

#include "core/trace.h"
#include "train/device_timer.h"

namespace lockstep {
namespace {

double bytes_of(std::initializer_list<ConstView> views) {
  double total = 0;
  for (const ConstView& view : views)
    if (view) total += static_cast<double>(view.numel()) * static_cast<double>(dtype_size(view.dtype));
  return total;
}

// What a call that writes `y` moves: accumulating reads it too.
double written(ConstView y, GradMode mode) { return bytes_of({y}) * (mode == GradMode::kAccumulate ? 2 : 1); }
const char* variant_of(GradMode mode) { return mode == GradMode::kAccumulate ? "accumulate" : ""; }

OpCall elementwise(const char* name, OpClass op_class, ConstView main, double bytes, const char* variant = "") {
  OpCall call;
  call.name = name;
  call.op_class = op_class;
  call.dtype = main.dtype;
  call.shapes[0] = main.shape;
  call.shape_count = 1;
  call.variant = variant;
  call.bytes = bytes;
  return call;
}

OpCall product(const char* name, OpClass op_class, const Shape& x, const Shape& w, const Shape& y, DType dtype, double flops, double bytes,
               const char* variant) {
  OpCall call;
  call.name = name;
  call.op_class = op_class;
  call.dtype = dtype;
  call.shapes = {x, w, y};
  call.shape_count = 3;
  call.variant = variant;
  call.flops = flops;
  call.bytes = bytes;
  return call;
}

OpCall convolution(const char* name, OpClass op_class, ConstView x, ConstView w, ConstView y, const Conv2dParams& params, double bytes,
                   GradMode mode) {
  OpCall call = product(name, op_class, x.shape, w.shape, y.shape, x.dtype, conv_flops(w.shape, y.shape), bytes, variant_of(mode));
  call.conv = params;
  return call;
}

// x (N, IN), w (OUT, IN), y (N, OUT).
OpCall matmul(const char* name, ConstView x, ConstView w, ConstView y, double bytes, GradMode mode) {
  const double flops = 2.0 * static_cast<double>(x.numel()) * static_cast<double>(w.shape[0]);
  return product(name, OpClass::kMatmul, x.shape, w.shape, y.shape, x.dtype, flops, bytes, variant_of(mode));
}

OpCall optimizer(const char* name, double bytes) {
  OpCall call;
  call.name = name;
  call.op_class = OpClass::kOptimizer;
  call.bytes = bytes;
  return call;
}

double update_bytes(std::span<const SgdTensor> tensors) {
  double bytes = 0;
  for (const SgdTensor& each : tensors) bytes += 2 * bytes_of({each.value, each.momentum}) + bytes_of({each.grad, each.compute});
  return bytes;
}

class TracingKernels final : public Kernels {
 public:
  TracingKernels(Kernels& inner, OpLog& log) : inner_(inner), log_(log) {
    if (inner.device().kind != DeviceKind::kCpu) timer_.emplace(accelerator_of(inner.device()));
  }
  std::string_view name() const override { return inner_.name(); }
  Device device() const override { return inner_.device(); }

  void conv2d_forward(Stream s, ConstView x, ConstView w, ConstView bias, const Conv2dParams& params, View y) override {
    timed(s, convolution("conv2d_forward", OpClass::kConvolution, x, w, y, params, bytes_of({x, w, bias, y}), GradMode::kOverwrite),
          [&] { inner_.conv2d_forward(s, x, w, bias, params, y); });
  }
  void conv2d_backward_data(Stream s, ConstView dy, ConstView w, const Conv2dParams& params, View dx, GradMode mode) override {
    timed(s, convolution("conv2d_backward_data", OpClass::kConvolution, dx, w, dy, params, bytes_of({dy, w}) + written(dx, mode), mode),
          [&] { inner_.conv2d_backward_data(s, dy, w, params, dx, mode); });
  }
  void conv2d_backward_filter(Stream s, ConstView x, ConstView dy, const Conv2dParams& params, View dw, GradMode mode) override {
    timed(s, convolution("conv2d_backward_filter", OpClass::kConvolution, x, dw, dy, params, bytes_of({x, dy}) + written(dw, mode), mode),
          [&] { inner_.conv2d_backward_filter(s, x, dy, params, dw, mode); });
  }
  void norm_conv2d_forward(Stream s, ConstView x, const NormVectors& norm, ConstView w, const Conv2dParams& params, View y) override {
    timed(s, convolution("norm_conv2d_forward", OpClass::kNormConvolution, x, w, y, params, bytes_of({x, w, y}), GradMode::kOverwrite),
          [&] { inner_.norm_conv2d_forward(s, x, norm, w, params, y); });
  }
  void norm_conv2d_backward_filter(Stream s, ConstView x, const NormVectors& norm, ConstView dy, const Conv2dParams& params, View dw,
                                   GradMode mode) override {
    timed(s, convolution("norm_conv2d_backward_filter", OpClass::kNormConvolution, x, dw, dy, params, bytes_of({x, dy}) + written(dw, mode), mode),
          [&] { inner_.norm_conv2d_backward_filter(s, x, norm, dy, params, dw, mode); });
  }
  void norm_conv2d_backward_data(Stream s, ConstView dy, ConstView w, const Conv2dParams& params, ConstView x, const NormVectors& norm, View dz,
                                 View sum_g, View sum_g_xhat) override {
    timed(s, convolution("norm_conv2d_backward_data", OpClass::kNormConvolution, dz, w, dy, params, bytes_of({dy, w, x, dz}), GradMode::kOverwrite),
          [&] { inner_.norm_conv2d_backward_data(s, dy, w, params, x, norm, dz, sum_g, sum_g_xhat); });
  }
  bool gives_moments(ConstView x, ConstView w, const Conv2dParams& params, bool normalised) const override {
    return inner_.gives_moments(x, w, params, normalised);
  }
  void conv2d_forward_moments(Stream s, ConstView x, ConstView w, const Conv2dParams& params, View y, View mean, View m2) override {
    timed(s, convolution("conv2d_forward_moments", OpClass::kConvolution, x, w, y, params, bytes_of({x, w, y, mean, m2}), GradMode::kOverwrite),
          [&] { inner_.conv2d_forward_moments(s, x, w, params, y, mean, m2); });
  }
  void norm_conv2d_forward_moments(Stream s, ConstView x, const NormVectors& norm, ConstView w, const Conv2dParams& params, View y, View mean,
                                   View m2) override {
    timed(s, convolution("norm_conv2d_forward_moments", OpClass::kNormConvolution, x, w, y, params, bytes_of({x, w, y, mean, m2}),
                         GradMode::kOverwrite),
          [&] { inner_.norm_conv2d_forward_moments(s, x, norm, w, params, y, mean, m2); });
  }
  void bias_backward(Stream s, ConstView dy, View db, GradMode mode) override {
    timed(s, elementwise("bias_backward", OpClass::kElementwise, dy, bytes_of({dy}) + written(db, mode)),
          [&] { inner_.bias_backward(s, dy, db, mode); });
  }

  void batch_norm_moments(Stream s, ConstView x, View mean, View m2) override {
    timed(s, elementwise("batch_norm_moments", OpClass::kNorm, x, bytes_of({x, mean, m2})), [&] { inner_.batch_norm_moments(s, x, mean, m2); });
  }
  void batch_norm_inv_std(Stream s, ConstView m2, double count, double eps, View inv_std, View unbiased) override {
    timed(s, elementwise("batch_norm_inv_std", OpClass::kNorm, m2, bytes_of({m2, inv_std, unbiased})),
          [&] { inner_.batch_norm_inv_std(s, m2, count, eps, inv_std, unbiased); });
  }
  void batch_norm_apply(Stream s, ConstView x, const NormVectors& norm, ConstView residual, bool relu, View y, View mask) override {
    timed(s, elementwise("batch_norm_apply", OpClass::kNorm, x, bytes_of({x, residual, y, mask}), residual ? "residual" : relu ? "relu" : ""),
          [&] { inner_.batch_norm_apply(s, x, norm, residual, relu, y, mask); });
  }
  void batch_norm_backward_sums(Stream s, ConstView dy, const ReluGate& gate, ConstView x, const NormVectors& norm, View sum_g,
                                View sum_g_xhat) override {
    timed(s, elementwise("batch_norm_backward_sums", OpClass::kNorm, x, bytes_of({dy, gate.bits, x}), gate.bits ? "bits" : ""),
          [&] { inner_.batch_norm_backward_sums(s, dy, gate, x, norm, sum_g, sum_g_xhat); });
  }
  void batch_norm_backward_apply(Stream s, ConstView dy, const ReluGate& gate, ConstView x, const NormVectors& norm, ConstView sum_g,
                                 ConstView sum_g_xhat, double count, View dx, GradMode dx_mode, View dresidual,
                                 GradMode dresidual_mode) override {
    const double bytes = bytes_of({dy, gate.bits, x}) + written(dx, dx_mode) + written(dresidual, dresidual_mode);
    timed(s, elementwise("batch_norm_backward_apply", OpClass::kNorm, x, bytes, dresidual ? "residual" : variant_of(dx_mode)), [&] {
      inner_.batch_norm_backward_apply(s, dy, gate, x, norm, sum_g, sum_g_xhat, count, dx, dx_mode, dresidual, dresidual_mode);
    });
  }

  void relu_forward(Stream s, ConstView x, View y) override {
    timed(s, elementwise("relu_forward", OpClass::kElementwise, x, bytes_of({x, y})), [&] { inner_.relu_forward(s, x, y); });
  }
  void relu_backward(Stream s, ConstView dy, ConstView y, View dx, GradMode mode) override {
    timed(s, elementwise("relu_backward", OpClass::kElementwise, dy, bytes_of({dy, y}) + written(dx, mode)),
          [&] { inner_.relu_backward(s, dy, y, dx, mode); });
  }
  void add(Stream s, ConstView a, ConstView b, View y) override {
    timed(s, elementwise("add", OpClass::kElementwise, a, bytes_of({a, b, y})), [&] { inner_.add(s, a, b, y); });
  }
  void accumulate(Stream s, ConstView src, View dst, GradMode mode) override {
    timed(s, elementwise("accumulate", OpClass::kElementwise, src, bytes_of({src}) + written(dst, mode), variant_of(mode)),
          [&] { inner_.accumulate(s, src, dst, mode); });
  }
  void dropout(Stream s, ConstView x, double p, const RandomKey& key, View y, GradMode mode) override {
    timed(s, elementwise("dropout", OpClass::kElementwise, x, bytes_of({x}) + written(y, mode)), [&] { inner_.dropout(s, x, p, key, y, mode); });
  }
  void activation_forward(Stream s, ConstView x, const Activation& function, View y) override {
    timed(s, elementwise("activation_forward", OpClass::kElementwise, x, bytes_of({x, y})), [&] { inner_.activation_forward(s, x, function, y); });
  }
  void activation_backward(Stream s, ConstView dy, ConstView kept, const Activation& function, View dx, GradMode mode) override {
    timed(s, elementwise("activation_backward", OpClass::kElementwise, dy, bytes_of({dy, kept}) + written(dx, mode)),
          [&] { inner_.activation_backward(s, dy, kept, function, dx, mode); });
  }
  void response_norm_forward(Stream s, ConstView x, const ResponseNorm& params, View y) override {
    timed(s, elementwise("response_norm_forward", OpClass::kNorm, x, bytes_of({x, y})), [&] { inner_.response_norm_forward(s, x, params, y); });
  }
  void response_norm_backward(Stream s, ConstView dy, ConstView x, const ResponseNorm& params, View dx, GradMode mode) override {
    timed(s, elementwise("response_norm_backward", OpClass::kNorm, dy, bytes_of({dy, x}) + written(dx, mode)),
          [&] { inner_.response_norm_backward(s, dy, x, params, dx, mode); });
  }
  void shuffle_channels(Stream s, ConstView src, int groups, View dst, GradMode mode) override {
    timed(s, elementwise("shuffle_channels", OpClass::kElementwise, src, bytes_of({src}) + written(dst, mode)),
          [&] { inner_.shuffle_channels(s, src, groups, dst, mode); });
  }
  void shift_channels(Stream s, ConstView src, const ChannelShift& shift, View dst, GradMode mode) override {
    timed(s, elementwise("shift_channels", OpClass::kElementwise, src, bytes_of({src}) + written(dst, mode)),
          [&] { inner_.shift_channels(s, src, shift, dst, mode); });
  }
  void convert(Stream s, ConstView src, View dst) override {
    timed(s, elementwise("convert", OpClass::kElementwise, src, bytes_of({src, dst})), [&] { inner_.convert(s, src, dst); });
  }
  void copy_channels(Stream s, ConstView src, std::int64_t src_begin, View dst, std::int64_t dst_begin, std::int64_t count,
                     GradMode mode) override {
    const double pixels = static_cast<double>(src.numel()) / static_cast<double>(src.shape[1]);
    const double moved = pixels * static_cast<double>(count) * static_cast<double>(dtype_size(src.dtype));
    timed(s, elementwise("copy_channels", OpClass::kElementwise, src, moved * (mode == GradMode::kAccumulate ? 3 : 2)),
          [&] { inner_.copy_channels(s, src, src_begin, dst, dst_begin, count, mode); });
  }

  void max_pool_forward(Stream s, ConstView x, const Pool2dParams& params, View y, View indices) override {
    timed(s, elementwise("max_pool_forward", OpClass::kPooling, x, bytes_of({x, y, indices})),
          [&] { inner_.max_pool_forward(s, x, params, y, indices); });
  }
  void max_pool_backward(Stream s, ConstView dy, ConstView indices, const Pool2dParams& params, View dx, GradMode mode) override {
    timed(s, elementwise("max_pool_backward", OpClass::kPooling, dx, bytes_of({dy, indices}) + written(dx, mode)),
          [&] { inner_.max_pool_backward(s, dy, indices, params, dx, mode); });
  }
  void avg_pool_forward(Stream s, ConstView x, const Pool2dParams& params, View y) override {
    timed(s, elementwise("avg_pool_forward", OpClass::kPooling, x, bytes_of({x, y})), [&] { inner_.avg_pool_forward(s, x, params, y); });
  }
  void avg_pool_backward(Stream s, ConstView dy, const Pool2dParams& params, View dx, GradMode mode) override {
    timed(s, elementwise("avg_pool_backward", OpClass::kPooling, dx, bytes_of({dy}) + written(dx, mode)),
          [&] { inner_.avg_pool_backward(s, dy, params, dx, mode); });
  }
  void adaptive_avg_pool_forward(Stream s, ConstView x, View y) override {
    timed(s, elementwise("adaptive_avg_pool_forward", OpClass::kPooling, x, bytes_of({x, y})), [&] { inner_.adaptive_avg_pool_forward(s, x, y); });
  }
  void adaptive_avg_pool_backward(Stream s, ConstView dy, View dx, GradMode mode) override {
    timed(s, elementwise("adaptive_avg_pool_backward", OpClass::kPooling, dx, bytes_of({dy}) + written(dx, mode)),
          [&] { inner_.adaptive_avg_pool_backward(s, dy, dx, mode); });
  }
  void global_avg_pool_forward(Stream s, ConstView x, View y) override {
    timed(s, elementwise("global_avg_pool_forward", OpClass::kPooling, x, bytes_of({x, y})), [&] { inner_.global_avg_pool_forward(s, x, y); });
  }
  void global_avg_pool_backward(Stream s, ConstView dy, View dx, GradMode mode) override {
    timed(s, elementwise("global_avg_pool_backward", OpClass::kPooling, dx, bytes_of({dy}) + written(dx, mode)),
          [&] { inner_.global_avg_pool_backward(s, dy, dx, mode); });
  }

  void linear_forward(Stream s, ConstView x, ConstView w, ConstView bias, View y) override {
    timed(s, matmul("linear_forward", x, w, y, bytes_of({x, w, bias, y}), GradMode::kOverwrite), [&] { inner_.linear_forward(s, x, w, bias, y); });
  }
  void linear_backward_data(Stream s, ConstView dy, ConstView w, View dx, GradMode mode) override {
    timed(s, matmul("linear_backward_data", dx, w, dy, bytes_of({dy, w}) + written(dx, mode), mode),
          [&] { inner_.linear_backward_data(s, dy, w, dx, mode); });
  }
  void linear_backward_weight(Stream s, ConstView x, ConstView dy, View dw, GradMode mode) override {
    timed(s, matmul("linear_backward_weight", x, dw, dy, bytes_of({x, dy}) + written(dw, mode), mode),
          [&] { inner_.linear_backward_weight(s, x, dy, dw, mode); });
  }

  void softmax_cross_entropy(Stream s, ConstView logits, ConstView labels, ConstView mix, double smoothing, View loss, View dlogits,
                             View sums) override {
    timed(s, elementwise("softmax_cross_entropy", OpClass::kLoss, logits, bytes_of({logits, labels, mix, dlogits})),
          [&] { inner_.softmax_cross_entropy(s, logits, labels, mix, smoothing, loss, dlogits, sums); });
  }
  void scale(Stream s, ConstView x, ConstView factor, View y, GradMode mode) override {
    timed(s, elementwise("scale", OpClass::kLoss, x, bytes_of({x}) + written(y, mode)), [&] { inner_.scale(s, x, factor, y, mode); });
  }
  void normalise_image(Stream s, ConstView x, std::span<const float> mean, std::span<const float> inv_std, View y) override {
    timed(s, elementwise("normalise_image", OpClass::kInput, x, bytes_of({x, y})), [&] { inner_.normalise_image(s, x, mean, inv_std, y); });
  }
  void mix_images(Stream s, ConstView x, ConstView mix, View y) override {  // an image and its partner are read, one is written
    timed(s, elementwise("mix_images", OpClass::kInput, x, 2 * bytes_of({x}) + bytes_of({y})), [&] { inner_.mix_images(s, x, mix, y); });
  }

  void sgd_step(Stream s, std::span<const SgdTensor> tensors, const SgdParams& params) override {
    timed(s, optimizer("sgd_step", update_bytes(tensors)), [&] { inner_.sgd_step(s, tensors, params); });
  }
  void squared_norm(Stream s, std::span<const ConstView> tensors, View result) override {
    double bytes = 0;
    for (const ConstView& each : tensors) bytes += bytes_of({each});
    timed(s, optimizer("squared_norm", bytes), [&] { inner_.squared_norm(s, tensors, result); });
  }
  void moving_average(Stream s, ConstView observed, double momentum, View value) override {
    timed(s, elementwise("moving_average", OpClass::kOptimizer, observed, bytes_of({observed}) + 2 * bytes_of({value})),
          [&] { inner_.moving_average(s, observed, momentum, value); });
  }
  void moving_averages(Stream s, std::span<const AverageTensor> tensors, double momentum, ConstView control) override {
    double bytes = 0;
    for (const AverageTensor& each : tensors) bytes += bytes_of({each.observed}) + 2 * bytes_of({each.value});
    timed(s, optimizer("moving_averages", bytes), [&] { inner_.moving_averages(s, tensors, momentum, control); });
  }
  // The gradients are read twice: their norm decides whether and how far the update goes.
  void finish_step(Stream s, std::span<const SgdTensor> tensors, std::span<const AverageTensor> averages, ConstView totals, const UpdateRule& rule,
                   View control) override {
    double bytes = update_bytes(tensors);
    for (const SgdTensor& each : tensors) bytes += bytes_of({each.grad});
    for (const AverageTensor& each : averages) bytes += bytes_of({each.observed}) + 2 * bytes_of({each.value});
    timed(s, optimizer("finish_step", bytes), [&] { inner_.finish_step(s, tensors, averages, totals, rule, control); });
  }
  void attach_control(View control) override { inner_.attach_control(control); }
  std::map<std::string, std::string> choices() const override { return inner_.choices(); }
  void use_choices(const std::map<std::string, std::string>& choices) override { inner_.use_choices(choices); }

 private:
  template <class Work>
  void timed(Stream s, OpCall call, const Work& work) {
    if (timer_) {
      const auto taken = static_cast<std::int64_t>(timer_->ms(s, work) * 1e6);
      call.end_ns = trace_clock_ns();
      call.begin_ns = call.end_ns - taken;
    } else {
      call.begin_ns = trace_clock_ns();
      work();
      call.end_ns = trace_clock_ns();
    }
    const std::int64_t index = log_.add(call);
    if (trace_enabled()) record_span({call.name, SpanKind::kOp, call.begin_ns, call.end_ns, index});
  }

  Kernels& inner_;
  OpLog& log_;
  std::optional<DeviceTimer> timer_;  // for backends that return before the work is done
};

}  // namespace

std::unique_ptr<Kernels> make_tracing_kernels(Kernels& inner, OpLog& log) { return std::make_unique<TracingKernels>(inner, log); }

}  // namespace lockstep
