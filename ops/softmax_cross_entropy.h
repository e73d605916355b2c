// softmax_cross_entropy: the classification loss, with label smoothing, and the counts of top-1 and top-5 hits.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/context.h"
#include "ops/work.h"

namespace lockstep {

struct OpSpec;

struct LossResult {
  Var loss;     // scalar: the mean over the counted samples, of the statistics' dtype (kernels.h)
  Tensor sums;  // f64 (4): sum of losses, top-1 hits, top-5 hits, counted samples
};

// logits (N, K), labels (N) -> scalar. Throws UserError on a misfit.
Shape softmax_cross_entropy_shape(const Shape& logits, const Shape& labels);
// The maximum, a subtraction, an exponential and a sum for each logit.
Work softmax_cross_entropy_work(const Shape& logits);

// labels i32 in [0, K), or -1: not counted (other values are undefined here; the loader checks them). The target is
// (1 - label_smoothing) onehot + label_smoothing / K, 0 <= label_smoothing < 1. With `mix`, i32 (N, 8), a MixRow (core/mix_row.h) per
// sample, it is the mean of the two labels' targets by the row's weight; hits count the sample's own label. Keeps the gradient, which is
// computed with the loss in one pass.
LossResult softmax_cross_entropy(Context& ctx, const Var& logits, const Tensor& labels, double label_smoothing = 0, const Tensor& mix = {});

OpSpec softmax_cross_entropy_spec();

}  // namespace lockstep
