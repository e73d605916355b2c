// conv2d: two-dimensional cross-correlation with stride, padding, dilation and groups; bias optional.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "ops/context.h"
#include "ops/work.h"

namespace lockstep {

struct OpSpec;

// x (N, C, H, W), w (K, C / groups, R, S) -> (N, K, P, Q) with P = floor((H + 2 pad - dilation (R - 1) - 1) / stride) + 1.
// Throws UserError on a misfit.
Shape conv2d_shape(const Shape& x, const Shape& w, const Conv2dParams& params);
Work conv2d_work(const Shape& x, const Shape& w, const Conv2dParams& params, bool bias = false);

// bias (K), of the statistics' dtype (kernels.h). Keeps x only if w needs a gradient, and w only if x does.
Var conv2d(Context& ctx, const Var& x, const Var& w, const Conv2dParams& params = {}, const Var* bias = nullptr);

OpSpec conv2d_spec();

// Where a convolution puts its output's moments (Var::moments); false: the backend doesn't give them here at no cost, or
// nobody asks (evaluation).
class ConvolutionMoments {
 public:
  ConvolutionMoments(const Context& ctx, const Tensor& x, const Tensor& w, const Conv2dParams& params, const Tensor& y, bool normalised);
  explicit operator bool() const { return static_cast<bool>(both_); }
  View mean() { return mean_; }
  View m2() { return m2_; }
  Tensor take() { return std::move(both_); }

 private:
  Tensor both_, mean_, m2_;
};

}  // namespace lockstep
