// NormSync: how batch norm meets the other shards of its group, without knowing ranks or transports.
//
// Both calls block until every shard of the group has made the same call, in the same order. Results are bit-identical
// on all shards and do not depend on which rank runs which shard: shards are merged along a fixed binary tree.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/tensor.h"

namespace lockstep {

class NormSync {
 public:
  virtual ~NormSync() = default;

  // In: this shard's element count per channel and, per channel, mean (C) and m2 (C) = sum of (x - mean)^2; dtype f32
  // or f64. Out: the group's mean and m2 in place; returns the group's count. Merging by Chan, Golub, LeVeque (1979),
  // eq. 2.1: d = mean_b - mean_a, mean = mean_a + d * n_b / n, m2 = m2_a + m2_b + d^2 * n_a * n_b / n. Counts may differ.
  virtual double merge_moments(double count, Tensor& mean, Tensor& m2) = 0;

  // Elementwise sum over the group's shards, in place; dtype f32 or f64.
  virtual void sum(Tensor& values) = 0;
};

}  // namespace lockstep
