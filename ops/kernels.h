// Kernels: the whole contract between the ops and a backend. A backend implements all of it.
//
// Rules for every function, unless its comment says otherwise:
// - Outputs are allocated by the caller, with the shape that the op's shape rule gives. Inputs and outputs must not
//   overlap. Everything lies on one device; images are (N, C, H, W) in channels-last memory (core/tensor.h).
// - Work is queued on `stream` and may be unfinished on return; no function waits for the device or the host.
// - Dtypes: activations and filters in one of the backend's dtypes (f64/f32 reference, f32/bf16 fast CPU, f32/bf16/f16
//   CUDA); all activations and filters of a call have the same. "Statistics" (means, variances, batch-norm parameters and
//   their gradients, biases, filter gradients, logits, losses) are stats_dtype(x): f64 for f64, otherwise f32. 16-bit
//   kernels compute in f32 and round each output once, to nearest even. Sums are accumulated in at least f32; reductions
//   have a fixed order: the same call on the same device gives the same bits (a kernel that can't promise that throws by name).
// - Scratch comes from the device's pool (Tensor::empty) and returns to it; the pool is stream-ordered, so a warm step
//   asks the system for nothing. Comments state the bytes where they matter.
// - GradMode: kOverwrite sets, kAccumulate adds to what is there, kSkip is never passed.
// - What a backend can't do throws EnvironmentError naming the call and what to use instead. No silent fall-back.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "core/device.h"
#include "core/philox.h"
#include "core/tape.h"
#include "core/tensor.h"
#include "ops/step_control.h"

namespace lockstep {

constexpr DType stats_dtype(DType dtype) { return dtype == DType::kF64 ? DType::kF64 : DType::kF32; }

struct Pair {
  int h = 0, w = 0;
  bool operator==(const Pair&) const = default;
};

struct Conv2dParams {
  Pair stride{1, 1}, pad{0, 0}, dilation{1, 1};
  int groups = 1;
  bool operator==(const Conv2dParams&) const = default;
};

// Windows that reach into the padding ignore it (max) or count it as zeros (avg, if count_include_pad).
struct Pool2dParams {
  Pair kernel{2, 2}, stride{2, 2}, pad{0, 0};
  bool count_include_pad = true;  // avg only; torch's default
  // Round the output's size up: a last window that begins inside the image or its leading padding counts, though it reaches
  // beyond (torch's ceil_mode). Positions beyond the padding are never chosen and never counted.
  bool ceil = false;
};

// Elementwise functions beside ReLU. kLeakyRelu: x > 0 ? x : a x (a > 0). kTanh. kSigmoid. kThreshold: x > a ? x : b (torch).
// kClamp: min(max(x, a), b), e.g. ReLU6 with (0, 6); its gradient is 0 at and outside the limits, as torch's hardtanh.
// The limits and the value of kThreshold and kClamp are rounded to the elements' dtype first.
struct Activation {
  enum class Kind : std::uint8_t { kLeakyRelu, kTanh, kSigmoid, kThreshold, kClamp };
  Kind kind = Kind::kLeakyRelu;
  double a = 0, b = 0;
  // What backward reads: x, or y.
  bool keeps_input() const { return kind == Kind::kLeakyRelu || kind == Kind::kThreshold; }
};

// Local response norm (Krizhevsky et al. 2012, section 3.3): y_c = x_c * s_c^-beta, s_c = k + alpha / size * sum of x^2 over the
// channels c - size/2 ... c + (size-1)/2 that exist (torch's form: alpha is divided by size).
struct ResponseNorm {
  int size = 5;
  double alpha = 1e-4, beta = 0.75, k = 1;
};

// Shift (Wu et al. 2017, arXiv 1711.08141): the C channels are split, in order, into kernel^2 groups of C / kernel^2 (what is left over
// joins the centre's group, which is moved to the end); group (i, j) reads the image moved by (i - kernel/2, j - kernel/2) pixels, zeros
// from outside. `inverse`: the opposite way, which is the gradient.
struct ChannelShift {
  int kernel = 3;  // odd
  bool inverse = false;
};

// What batch norm does to one channel: y = (x - mean) * inv_std * gamma + beta. All (C), statistics.
struct NormVectors {
  ConstView mean, inv_std, gamma, beta;
};

// Which elements a ReLU let through, for batch norm's backward pass. kBits: bit i%8 of byte i/8 is element i's. kRecompute:
// those with (x - mean) * inv_std * gamma + beta > 0, from the x that backward reads anyway (no residual was added).
struct ReluGate {
  enum class Kind : std::uint8_t { kNone, kBits, kRecompute };
  Kind kind = Kind::kNone;
  ConstView bits{};
  static ReluGate none() { return {}; }
  static ReluGate from_bits(ConstView bits) { return {Kind::kBits, bits}; }
  static ReluGate recompute() { return {Kind::kRecompute, {}}; }
};

// One parameter's share of an optimizer step. All views have the same numel; value, grad and momentum are f32 or f64.
struct SgdTensor {
  View value, momentum;
  View compute;  // empty, or the 16-bit copy that the next step computes with: set to the new value, rounded
  ConstView grad;
  double weight_decay = 0;  // added to the gradient (coupled)
  double lr = 0;            // schedule times the group's multiplier
  double ratio = 1;         // of LARS: what gradient and weight decay are multiplied by
};

struct SgdParams {
  double momentum = 0.9;
  bool nesterov = false;
  double grad_scale = 1;  // clipping and unscaling: grad * grad_scale is what the update sees
};

// One running statistic's share: value = (1 - momentum) * value + momentum * observed.
struct AverageTensor {
  View value;
  ConstView observed;
  double momentum = 0.1;
};

// LARS (You, Gitman, Ginsburg 2017, arXiv 1708.03888): what enters the momentum of a tensor with weight decay is multiplied by
// eta * |value| / (|g| + weight_decay * |value| + eps), g the gradient after unscaling and clipping; by 1 where either norm is 0. Tensors
// without decay are plain SGD. As the ratio lies inside and the learning rate outside, the momentum follows a changing rate: "scaled
// momentum" in NVIDIA's MLPerf code, which keeps lr * momentum and rescales it by lr_t / lr_(t-1).
struct Lars {
  bool enabled = false;
  double eta = 0.001, eps = 0;
  double ratio(double value_norm, double grad_norm, double weight_decay) const {
    if (!enabled || weight_decay == 0 || value_norm == 0 || grad_norm == 0) return 1;
    return eta * value_norm / (grad_norm + weight_decay * value_norm + eps);
  }
};

// How a training step on a device updates everything, apart from what changes from step to step (ops/step_control.h).
struct UpdateRule {
  double momentum = 0.9;
  bool nesterov = false;
  double clip_norm = 0;  // > 0: gradients are scaled down to this norm
  Lars lars;
  LossScaling scaling;
};

class Kernels {
 public:
  virtual ~Kernels() = default;
  virtual std::string_view name() const = 0;  // "cpu reference", "cpu fast", "cuda"
  virtual Device device() const = 0;

  // --- convolution: cross-correlation; x (N,C,H,W), w (K,C/groups,R,S), y (N,K,P,Q), bias (K) or empty ---
  virtual void conv2d_forward(Stream, ConstView x, ConstView w, ConstView bias, const Conv2dParams&, View y) = 0;
  virtual void conv2d_backward_data(Stream, ConstView dy, ConstView w, const Conv2dParams&, View dx, GradMode) = 0;
  // dw is a statistic: f32 for 16-bit x and dy.
  virtual void conv2d_backward_filter(Stream, ConstView x, ConstView dy, const Conv2dParams&, View dw, GradMode) = 0;
  // The same on relu(norm(x)) rounded to x's dtype, which is never kept: a backend may normalise while it reads x. Here:
  // batch_norm_apply into scratch of x's size, then the plain convolution.
  virtual void norm_conv2d_forward(Stream, ConstView x, const NormVectors&, ConstView w, const Conv2dParams&, View y);
  virtual void norm_conv2d_backward_filter(Stream, ConstView x, const NormVectors&, ConstView dy, const Conv2dParams&,
                                           View dw, GradMode);
  // dz = the data gradient at relu(norm(x)) of norm_conv2d_forward; where the ReLU is closed a backend may leave 0. sum_g and
  // sum_g_xhat as batch_norm_backward_sums of dz, gate kRecompute. Here: those two calls.
  virtual void norm_conv2d_backward_data(Stream, ConstView dy, ConstView w, const Conv2dParams&, ConstView x, const NormVectors&,
                                         View dz, View sum_g, View sum_g_xhat);
  // Does a convolution of this shape give its output's moments at no cost (`normalised`: norm_conv2d)? Then the ops call the
  // two functions below in training, which are the forward ones followed by batch_norm_moments(y).
  virtual bool gives_moments(ConstView x, ConstView w, const Conv2dParams&, bool normalised) const;
  virtual void conv2d_forward_moments(Stream, ConstView x, ConstView w, const Conv2dParams&, View y, View mean, View m2);
  virtual void norm_conv2d_forward_moments(Stream, ConstView x, const NormVectors&, ConstView w, const Conv2dParams&, View y,
                                           View mean, View m2);
  // db (C) = sum of dy over all but axis 1; dy is (N,C,H,W) or (N,C).
  virtual void bias_backward(Stream, ConstView dy, View db, GradMode) = 0;

  // --- batch norm: channels are axis 1 of x (N,C,H,W); per-channel vectors are (C), statistics ---
  // mean and m2 = sum over N,H,W of (x - mean)^2. Stable for a large mean (shifted or two-pass, never E[x^2]-E[x]^2).
  virtual void batch_norm_moments(Stream, ConstView x, View mean, View m2) = 0;
  // inv_std = 1 / sqrt(m2 / count + eps); unbiased, if given, = m2 / (count - 1): what running variances observe. With
  // count = 1 and a running variance as m2: the evaluation-mode inv_std. All (C).
  virtual void batch_norm_inv_std(Stream, ConstView m2, double count, double eps, View inv_std, View unbiased) = 0;
  // y = norm(x) [+ residual], then ReLU if `relu`. If `mask` is given (relu only), bit i%8 of byte i/8 is set where output
  // element i (memory order) is positive; mask is u8 of ceil(numel/8) bytes. y may alias x or residual.
  virtual void batch_norm_apply(Stream, ConstView x, const NormVectors&, ConstView residual, bool relu, View y, View mask) = 0;
  // g = dy where the gate is open. sum_g (C) = sum g; sum_g_xhat (C) = sum g * (x - mean) * inv_std.
  virtual void batch_norm_backward_sums(Stream, ConstView dy, const ReluGate&, ConstView x, const NormVectors&, View sum_g,
                                        View sum_g_xhat) = 0;
  // dx = gamma * inv_std * (g - sum_g / count - xhat * sum_g_xhat / count) (Ioffe & Szegedy 2015, section 3, simplified);
  // sums and count are the group's. dresidual, if given, gets g. With count = infinity: the evaluation-mode gradient.
  // dx may alias dy when dx_mode is kOverwrite.
  virtual void batch_norm_backward_apply(Stream, ConstView dy, const ReluGate&, ConstView x, const NormVectors&,
                                         ConstView sum_g, ConstView sum_g_xhat, double count, View dx, GradMode dx_mode,
                                         View dresidual, GradMode dresidual_mode) = 0;

  // --- elementwise; any shape ---
  virtual void relu_forward(Stream, ConstView x, View y) = 0;  // y may alias x; NaN stays NaN
  virtual void relu_backward(Stream, ConstView dy, ConstView y, View dx, GradMode) = 0;  // dx may alias dy
  virtual void add(Stream, ConstView a, ConstView b, View y) = 0;                        // y may alias a or b
  virtual void accumulate(Stream, ConstView src, View dst, GradMode) = 0;                // dst = src, or dst += src
  // y = x * keep / (1 - p), keep by Philox: element i (memory order) is kept when word i%4 of key.block(i/4) as uniform
  // [0,1) is >= p. Its own backward, with the same key.
  virtual void dropout(Stream, ConstView x, double p, const RandomKey& key, View y, GradMode) = 0;

  virtual void activation_forward(Stream, ConstView x, const Activation&, View y) = 0;  // y may alias x; NaN stays NaN
  // kept: x if keeps_input(), else y. dx may alias dy.
  virtual void activation_backward(Stream, ConstView dy, ConstView kept, const Activation&, View dx, GradMode) = 0;

  // --- whole channels of images (N,C,H,W) ---
  virtual void response_norm_forward(Stream, ConstView x, const ResponseNorm&, View y) = 0;
  virtual void response_norm_backward(Stream, ConstView dy, ConstView x, const ResponseNorm&, View dx, GradMode) = 0;
  // Channel c = g * (C / groups) + j of src becomes channel j * groups + g of dst (Zhang et al. 2017, arXiv 1707.01083). Its
  // gradient: groups' = C / groups.
  virtual void shuffle_channels(Stream, ConstView src, int groups, View dst, GradMode) = 0;
  virtual void shift_channels(Stream, ConstView src, const ChannelShift&, View dst, GradMode) = 0;  // kernel^2 <= C

  // --- pooling: x (N,C,H,W) -> y (N,C,P,Q) ---
  // indices: u8, y's shape: position r * kernel.w + s of the first maximum in its window (kernel.h * kernel.w <= 256).
  // Empty view: not wanted. NaN wins.
  virtual void max_pool_forward(Stream, ConstView x, const Pool2dParams&, View y, View indices) = 0;
  virtual void max_pool_backward(Stream, ConstView dy, ConstView indices, const Pool2dParams&, View dx, GradMode) = 0;
  virtual void avg_pool_forward(Stream, ConstView x, const Pool2dParams&, View y) = 0;
  virtual void avg_pool_backward(Stream, ConstView dy, const Pool2dParams&, View dx, GradMode) = 0;
  // Window p of P output rows: rows floor(p H / P) to ceil((p + 1) H / P) - 1, columns alike (torch's adaptive_avg_pool2d).
  virtual void adaptive_avg_pool_forward(Stream, ConstView x, View y) = 0;
  virtual void adaptive_avg_pool_backward(Stream, ConstView dy, View dx, GradMode) = 0;
  virtual void global_avg_pool_forward(Stream, ConstView x, View y) = 0;  // y (N,C)
  virtual void global_avg_pool_backward(Stream, ConstView dy, View dx, GradMode) = 0;

  // dst = src in dst's dtype (f64, f32, bf16, f16), rounded to nearest even.
  virtual void convert(Stream, ConstView src, View dst) = 0;

  // --- linear: x (N,IN), w (OUT,IN), bias (OUT) or empty, y (N,OUT) = x w^T + bias. y and dy are x's dtype or, for 16-bit
  // x, f32 (a classifier's logits); dw is a statistic ---
  virtual void linear_forward(Stream, ConstView x, ConstView w, ConstView bias, View y) = 0;
  virtual void linear_backward_data(Stream, ConstView dy, ConstView w, View dx, GradMode) = 0;
  virtual void linear_backward_weight(Stream, ConstView x, ConstView dy, View dw, GradMode) = 0;

  // --- channels: src channels [src_begin, src_begin + count) into dst from dst_begin; both (N,*,H,W) ---
  virtual void copy_channels(Stream, ConstView src, std::int64_t src_begin, View dst, std::int64_t dst_begin,
                             std::int64_t count, GradMode) = 0;

  // --- loss: logits (N,K), a statistic (f32 or f64); labels i32 (N), -1 = not counted; mix i32 (N,8) or empty ---
  // With t(label) = (1 - smoothing) * onehot(label) + smoothing / K, the target t of sample n is t(labels[n]) or, with mix (rows of
  // core/mix_row.h; row r), r.weight * t(labels[n]) + (1 - r.weight) * t(r.label). loss (scalar, statistics) = mean over the counted
  // samples of -sum t log softmax(logits) (0 if none is counted); dlogits (if given) = d loss / d logits; sums f64 (4) = {sum of
  // losses, top-1 hits, top-5 hits, counted samples}. A hit in the top k: fewer than k classes with a larger logit than the
  // sample's own label's, ties broken in favour of the lower index; a NaN logit never hits. Labels outside [-1, K) and rows' labels
  // outside [0, K) are undefined here: the loader checks them. Rows of weight 1 give the bits of no rows.
  virtual void softmax_cross_entropy(Stream, ConstView logits, ConstView labels, ConstView mix, double smoothing, View loss,
                                     View dlogits, View sums) = 0;
  virtual void scale(Stream, ConstView x, ConstView factor, View y, GradMode) = 0;  // y = x * factor[0]; may alias

  // --- images: x u8 (N,C,H,W) -> y = (x / 255 - mean[c]) * inv_std[c] in y's dtype ---
  virtual void normalise_image(Stream, ConstView x, std::span<const float> mean, std::span<const float> inv_std, View y) = 0;
  // x, y (N,C,H,W); mix i32 (N,8): rows of core/mix_row.h. Row r of image i: y[i] = r.weight * x[i] + (1 - r.weight) * x[r.partner],
  // rounded once; or, with a box (r.height > 0), x[i] outside and x[r.partner] inside of it. Partners outside [0, N) and boxes outside of the
  // image are undefined here.
  virtual void mix_images(Stream, ConstView x, ConstView mix, View y) = 0;

  // --- optimizer: one pass over all parameters ---
  // g = ratio * (grad * grad_scale + weight_decay * value); buf = momentum * buf + g; value -= lr * (nesterov ? g + momentum * buf
  // : buf) (PyTorch's SGD: the learning rate is outside the momentum). First step: buf must be zero.
  virtual void sgd_step(Stream, std::span<const SgdTensor> tensors, const SgdParams&) = 0;
  // result f64 (1): sum over all tensors of squares, each tensor summed in fixed order, in double. Non-finite inputs show.
  virtual void squared_norm(Stream, std::span<const ConstView> tensors, View result) = 0;
  // value = (1 - momentum) * value + momentum * observed: running statistics.
  virtual void moving_average(Stream, ConstView observed, double momentum, View value) = 0;
  // The same for many tensors at one momentum (their own is not read). `control`: empty, or the StepControl of the step before:
  // where that was not finite, nothing changes. Here: one by one, for backends whose memory is the host's.
  virtual void moving_averages(Stream, std::span<const AverageTensor> tensors, double momentum, ConstView control);

  // --- a step's end on a device, without the host; `control` u8 (sizeof(StepControl)) on the device ---
  // With S = loss_scale and g = grad / S: grad_norm = |g| over all tensors; finite = grad_norm and the loss are finite. If finite and
  // not halted: sgd_step at rate control.lr * tensor.lr, clipped, with LARS's ratios, and the moving averages. Otherwise nothing is
  // updated, first_bad is set, and: with scaling S above the floor, S is halved and skipped counts; else halted = 1. Good
  // steps are counted, and S is doubled at growth_steps. `totals` f64 (5) is copied to control.totals; its first is the sum of
  // losses. Here: squared_norm, sgd_step and moving_average, for backends whose memory is the host's.
  virtual void finish_step(Stream, std::span<const SgdTensor> tensors, std::span<const AverageTensor> averages, ConstView totals,
                           const UpdateRule&, View control);
  // From now on dropout adds control's step to its key's `a`, so that recorded work draws anew at each replay. Empty: not.
  virtual void attach_control(View control);

  // What the backend chose, by measuring, among ways that give different bits (a convolution's engine): problem -> choice.
  // Given back before the first call, the same are used again. Unknown problems are left out; a choice that this machine
  // doesn't offer is an EnvironmentError.
  virtual std::map<std::string, std::string> choices() const { return {}; }
  virtual void use_choices(const std::map<std::string, std::string>&) {}
};

// LARS's ratio of a tensor for gradients times grad_scale, by two calls of squared_norm; for backends whose memory is the host's.
double lars_ratio(Kernels& kernels, Stream stream, const SgdTensor& tensor, const Lars& lars, double grad_scale);

}  // namespace lockstep
