// StepControl: what a training step on a device reads and leaves there instead of asking the host.
//
// It lies in the device's memory, one per run. The host sets the first part before a step, a copy of the whole reaches the
// host one step late. All fields have 8 bytes, so that host and device agree on where they lie.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace lockstep {

struct StepControl {
  // Set by the host, copied before each step.
  double lr = 0;
  std::uint64_t step = 0;    // dropout draws with it
  double stop_votes = 0;     // this rank's

  // Kept on the device from step to step.
  double loss_scale = 1;         // the loss's gradient; 1 without loss scaling
  std::uint64_t good_steps = 0;  // since the scale last changed
  std::uint64_t skipped = 0;     // steps without an update because a gradient overflowed, ever
  std::uint64_t halted = 0;      // 1: a step was not finite for another reason; nothing has been updated since

  // Results of the last step; means over the global batch.
  double grad_norm = 0;          // of the unscaled mean gradient
  std::uint64_t finite = 1;      // 0: this step updated nothing
  std::int64_t first_bad = -1;   // the first parameter with a non-finite gradient, -1: none. Kept once halted
  std::uint64_t done_step = 0;   // `step`, as it was for these results
  double totals[5] = {};         // sums of loss, top-1 hits, top-5 hits, samples, stop votes over the global batch
};

constexpr std::size_t kHostSetBytes = offsetof(StepControl, loss_scale);

// fp16's dynamic loss scaling: a step that overflows is skipped and halves the scale; `growth_steps` good ones double it.
struct LossScaling {
  bool enabled = false;
  double growth_steps = 2000;
  double floor = 1, ceiling = 65536 * 256.0;  // overflow at the floor halts
};

}  // namespace lockstep
