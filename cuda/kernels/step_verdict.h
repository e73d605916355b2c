// The verdict on a step: one block that adds the chunks' norms, judges, and writes the control, the tensors' rates and what the
// update reads. The meaning is Kernels::finish_step's (ops/kernels.h, composed in ops/kernels.cpp). Inside optimizer.cu only.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "cuda/kernels/optimizer_kernels.h"

namespace lockstep::cuda {

LS_DEVICE bool is_finite(double value) { return value - value == 0; }

LS_DEVICE void note_bad_step(StepControl& control, const LossScaling& scaling) {
  control.good_steps = 0;
  if (!scaling.enabled || control.loss_scale <= scaling.floor) {
    control.halted = 1;
    return;
  }
  const double half = control.loss_scale / 2;
  control.loss_scale = half > scaling.floor ? half : scaling.floor;
  ++control.skipped;
}

LS_DEVICE void note_good_step(StepControl& control, const LossScaling& scaling) {
  if (!scaling.enabled || static_cast<double>(++control.good_steps) < scaling.growth_steps) return;
  control.good_steps = 0;
  const double twice = control.loss_scale * 2;
  control.loss_scale = twice < scaling.ceiling ? twice : scaling.ceiling;
}

// The step's results and the scale of the next one, from the sum of all squared gradients; `update` and `grad_scale` for this one.
LS_DEVICE Verdict judge_step(StepControl& control, const double* totals, double squares, std::int64_t first_bad, const UpdateRule& rule) {
  for (int i = 0; i < 5; ++i) control.totals[i] = totals[i];
  control.done_step = control.step;
  control.finite = 0;
  if (control.halted != 0) return {};
  const double loss_scale = control.loss_scale;  // of these gradients; the next step's may be another
  control.first_bad = first_bad;
  control.grad_norm = std::sqrt(squares) / loss_scale;
  if (!is_finite(control.grad_norm) || !is_finite(totals[0])) {
    note_bad_step(control, rule.scaling);
    return {};
  }
  control.finite = 1;
  note_good_step(control, rule.scaling);
  const bool clipped = rule.clip_norm > 0 && control.grad_norm > rule.clip_norm;
  return {1 / loss_scale * (clipped ? rule.clip_norm / control.grad_norm : 1.0), 1};
}

struct JudgeStep {
  static constexpr int kThreads = 1024, kPhases = 5, kGroups = 32;
  static constexpr int kLanes = 8;  // threads that share a tensor's chunks
  static constexpr std::int64_t kNone = INT64_MAX;
  struct Shared {
    double sums[kThreads];
    std::int64_t bad[kThreads];
    double lr, grad_scale;
  };
  using Local = NoLocal;

  const TensorEntry* tensors;
  std::int64_t count, chunks;
  int norms;                 // per tensor: 1, or 2 with LARS
  const double* chunk_sums;  // (norms, chunks)
  double* lane_sums;         // scratch (norms, count, kLanes)
  double* squares;           // scratch (norms, count)
  const double* totals;
  UpdateRule rule;
  StepControl* control;
  double *rates, *ratios;    // (count)
  Verdict* verdict;

  template <int phase>
  LS_DEVICE void run(const Block&, int thread, Shared& shared, Local&) const {
    if constexpr (phase == 0) {
      for (std::int64_t i = thread; i < norms * count * kLanes; i += kThreads) lane_sums[i] = lane_sum(i);
    } else if constexpr (phase == 1) {
      add_lanes(thread, shared);
    } else if constexpr (phase == 2) {
      if (thread < kGroups)
        for (int k = 1; k < kThreads / kGroups; ++k) take_in(shared, thread, thread + k * kGroups);
    } else if constexpr (phase == 3) {
      if (thread == 0) judge(shared);
    } else {
      for (std::int64_t i = thread; i < count; i += kThreads) {
        rates[i] = tensors[i].lr * shared.lr;
        ratios[i] = lars_ratio(i, shared.grad_scale);
      }
    }
  }

  LS_DEVICE double lane_sum(std::int64_t i) const {
    const std::int64_t lane = i % kLanes, tensor = i / kLanes % count, norm = i / kLanes / count;
    const double* own = chunk_sums + norm * chunks + tensors[tensor].first_chunk;
    double sum = 0;
    for (std::int64_t k = lane, n = chunks_of(tensors[tensor].numel); k < n; k += kLanes) sum += own[k];
    return sum;
  }

  LS_DEVICE void add_lanes(int thread, Shared& shared) const {
    double own = 0;
    std::int64_t bad = kNone;
    for (std::int64_t i = thread; i < norms * count; i += kThreads) {
      double square = 0;
      for (int lane = 0; lane < kLanes; ++lane) square += lane_sums[i * kLanes + lane];
      squares[i] = square;
      if (i >= count) continue;  // a value's
      own += square;
      if (!is_finite(square) && i < bad) bad = i;
    }
    shared.sums[thread] = own;
    shared.bad[thread] = bad;
  }

  LS_DEVICE static void take_in(Shared& shared, int to, int from) {
    shared.sums[to] += shared.sums[from];
    if (shared.bad[from] < shared.bad[to]) shared.bad[to] = shared.bad[from];
  }

  LS_DEVICE void judge(Shared& shared) const {
    for (int k = 1; k < kGroups; ++k) take_in(shared, 0, k);
    const Verdict result = judge_step(*control, totals, shared.sums[0], shared.bad[0] == kNone ? -1 : shared.bad[0], rule);
    *verdict = result;
    shared.lr = control->lr;
    shared.grad_scale = result.grad_scale;
  }

  // 1 without LARS, for tensors that don't decay, and where a norm is 0.
  LS_DEVICE double lars_ratio(std::int64_t i, double grad_scale) const {
    if (norms == 1 || tensors[i].weight_decay == 0) return 1;
    const double value = std::sqrt(squares[count + i]), grad = std::sqrt(squares[i]) * grad_scale;
    return value == 0 || grad == 0 ? 1 : rule.lars.eta * value / (grad + tensors[i].weight_decay * value + rule.lars.eps);
  }
};

}  // namespace lockstep::cuda
