// SizePhases: the size of training images as a function of the step (data.size_phase: progressive resizing). Evaluation
// always sees the full size.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "train/network.h"
#include "train/plan.h"

namespace lockstep {

class SizePhases {
 public:
  struct Phase {
    std::int64_t first_step = 0;
    int from_epoch = 0;
    ImageSize image;
  };

  // `full`: what evaluation sees, and training before the first phase. Phases that the run ends before are left out.
  SizePhases(const proto::Config& config, const ImageSize& full, const RunPlan& plan);

  ImageSize at(std::int64_t step) const;  // step >= 0
  // The first step after `step` whose images have another size; INT64_MAX: none.
  std::int64_t next_change(std::int64_t step) const;
  // By area: what memory is planned for.
  ImageSize largest() const;
  // In order of time; the first begins at step 0, neighbours differ.
  const std::vector<Phase>& phases() const { return phases_; }
  // "128 x 128 from epoch 0, 160 x 160 from epoch 6"; one size: "224 x 224".
  std::string describe() const;

 private:
  std::vector<Phase> phases_;
};

}  // namespace lockstep
