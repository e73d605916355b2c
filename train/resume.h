// resume_everywhere: rank 0 reads a checkpoint, all ranks receive it. Only rank 0 needs to see the file system.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "distributed/communicator.h"
#include "train/checkpoint/checkpoint_store.h"
#include "train/session.h"

namespace lockstep {

// The accumulator that says after which step the run was last evaluated. Not part of the digest: looking changes nothing.
inline constexpr const char* kLastEvalStep = "last_eval_step";

// Where a run stands, beside its tensors. The same on every rank but for the accumulators and bad samples (rank 0 only).
struct RunPosition {
  std::int64_t step = 0;
  std::int64_t last_eval_step = -1;
  double best_top1 = -1;  // percent
  std::map<std::string, double> accumulators;
  std::map<std::string, std::string> bad_samples;  // name -> reason
};

// Collective. `from` matters on rank 0 only; absent there: a fresh start, with the values of the file model.weights if the config
// names one. Throws UserError on rank 0 when the checkpoint
// belongs to another run (unless allow_changes) or another model; what only endangers equal bits goes to `warn`.
RunPosition resume_everywhere(Session& session, const std::optional<CheckpointInfo>& from, bool allow_changes, Communicator& comm,
                              const std::function<void(const std::string&)>& warn);

}  // namespace lockstep
