// KernelTable: a training step measured by `lockstep bench step --json` or `lockstep bench ops --json`, as the basis of predictions.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "planning/step_time.h"

namespace lockstep {

struct KernelTable {
  std::string file;
  std::string model, dtype;        // "resnet50", "f32"
  int height = 0, width = 0, ranks = 1, threads = 1;
  std::int64_t batch = 0;          // images per rank and step
  double step_s = 0;               // without waiting for data and reductions
  double forward_s = 0, backward_s = 0, update_s = 0;  // 0 for both passes: measured together (GPUs), the split is the roofline's
};

// Throws UserError: no such file (kNoInput), no JSON, not a benchmark's, figures missing or out of range.
KernelTable load_kernel_table(const std::string& path);
KernelTable parse_kernel_table(std::string_view json, const std::string& file);

// What the plan is for: must be what was measured.
struct TableSubject {
  std::string model, dtype;
  int height = 0, width = 0;
  std::int64_t shard_batch = 0;
};

// The measured passes spread over the layers in the proportions of `shape` (any device's roofline_time for the same layers). Another
// batch scales them, which the basis says. Throws UserError when model, number format or image size are not those measured.
ComputeTime measured_time(const KernelTable& table, const TableSubject& subject, const ComputeTime& shape);

}  // namespace lockstep
