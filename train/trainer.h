// train: a whole run, from the config to the last line. Collective.
//
//     open the run folder -> resume or start -> banner -> { step -> metrics -> evaluate? -> save? } -> last evaluation -> save
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

#include "distributed/communicator.h"
#include "train/bands.h"
#include "train/config/config.h"
#include "train/energy.h"
#include "train/evaluate.h"
#include "train/noise_scale.h"
#include "train/run_folder.h"
#include "train/trace_profile.h"

namespace lockstep {

struct TrainRequest {
  LoadedConfig loaded;
  ResumeRequest resume;
  bool allow_changes = false;  // resume although the config differs where it must not
  std::FILE* console = stdout;  // where rank 0 shows banner and progress
  std::optional<ProfileOptions> profile;  // an empty file: trace.json in the run folder
};

// The same on every rank, except for what is rank 0's only: `run_dir`, `digest`, `noise`.
struct TrainOutcome {
  bool stopped = false;  // on request, at a step boundary, saved: exit 75
  bool reached = false;  // evaluation.stop_at_top1: the run ended there
  std::int64_t step = 0, total_steps = 0;
  std::optional<EvalResult> last_eval;
  std::optional<ExpectedRange> expected;  // of last_eval, if the config says something
  double best_top1 = -1;  // percent; -1: never evaluated
  double train_seconds = 0;
  double images_per_second = 0;  // over the whole run, all ranks together, evaluation left out
  std::string run_dir;
  std::string digest;  // of the training state
  std::optional<NoiseEstimate> noise;  // smoothed, at the end; rank 0 only
  std::string noise_text;              // the critical batch in words, or why it is not known; rank 0 only
  RunEnergy energy;                    // of this process's part of the run
};

// Throws UserError(kNumeric) on a non-finite loss or gradient or on ranks that disagree: nothing of that step is saved.
// UserError(kData) when more training samples are unreadable than data.max_bad_samples: what was trained is saved first.
TrainOutcome train(const TrainRequest& request, Communicator& comm);

}  // namespace lockstep
