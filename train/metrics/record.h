// One line of a run's metrics: what happened at a step, as names and values.
//
// Names are stable and documented here, because files made today are read by scripts tomorrow. train: loss, top1 (share
// of correct answers, 0 to 1), lr, grad_norm; where it is measured (train/noise_scale.h) noise_scale (the critical batch, samples),
// gradient_norm2, gradient_variance, smoothed. noise (at the end of each epoch; jsonl and TensorBoard only): the same three as means
// over the epoch, and each with ".<layer group>" behind it; steps, how many were measured. val: loss, top1, top5, expected_min,
// expected_max (of top1, where evaluation.expected says something), band ("on track", "below band", "above band"). perf:
// images_per_sec (all ranks together), input_wait_frac (share of the time spent waiting for data), allreduce_exposed_ms (per step, not
// hidden behind the backward pass), host_peak_gb, gpu_ms (the GPU's own time of a step), loss_scale, skipped_steps (FP16). ckpt:
// path, seconds, bytes. warn: message. input (after 50 steps; jsonl and TensorBoard only): message, wait_frac, loader_busy,
// loader_threads, read_frac, decode_frac, augment_frac (of the loader's work). energy (at the end of a run, of its process; jsonl and
// TensorBoard only): energy_joules (all hosts together; absent where not readable), energy_source.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace lockstep {

enum class MetricKind { kTrain, kVal, kCkpt, kWarn, kPerf, kInput, kNoise, kEnergy };
std::string_view metric_kind_name(MetricKind kind);  // "train", "val", "ckpt", "warn", "perf", "input", "noise", "energy"

using MetricValue = std::variant<double, int64_t, std::string>;

struct MetricRecord {
  MetricKind kind = MetricKind::kTrain;
  int64_t step = 0;  // optimizer steps done
  double epoch = 0;  // passes over the training data done
  double time = 0;   // seconds since 1970; 0: MetricsLog fills in the present
  std::vector<std::pair<std::string, MetricValue>> values;
};

}  // namespace lockstep
