// Session: what a training run is made of, built once from a config: data, network, optimizer, schedule, plan.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "data/source.h"
#include "train/checkpoint/state.h"
#include "train/config/config.h"
#include "train/network.h"
#include "train/optimizer.h"
#include "train/plan.h"
#include "train/schedule.h"
#include "train/weight_average.h"

namespace lockstep {

struct Session {
  LoadedConfig loaded;
  std::unique_ptr<Source> train_source, eval_source;  // eval_source may be null: the data set has no evaluation part
  RunPlan plan;
  Network network;
  std::unique_ptr<Schedule> schedule;
  std::unique_ptr<SgdOptimizer> optimizer;
  std::unique_ptr<WeightAverage> average = nullptr;  // null: config.average is off

  const proto::Config& config() const { return loaded.config(); }
};

// Opens the data, checks that everything fits together, builds and initialises. Blocks on the disk. Throws UserError.
// `gpu`: make_network. `with_evaluation` false: the evaluation data are not opened, and need not exist.
Session make_session(LoadedConfig loaded, int ranks, int gpu = 0, bool with_evaluation = true);

// The session's tensors into the memory of its backend's device, once they are what training begins with. Blocks.
void to_device(Session& session);

// The session's state after `step` steps, as shared handles: valid while the session does not step. From a GPU: copies; blocks
// until it has done all it was given.
TrainingState capture_state(const Session& session, std::int64_t step);

// Copies a saved state's tensors into the session. Throws UserError(kData) naming a tensor that is missing, has another
// shape or dtype, or that the model does not know. Returns the step. With `may_restart_average` a state without averages
// (has_average) is taken too: they begin anew as copies of the saved weights.
std::int64_t restore_state(const TrainingState& saved, Session& session, bool may_restart_average = false);

// For evaluation: only parameters and buffers.
void restore_model(const std::vector<NamedTensor>& tensors, Model& model);
// What a run's evaluations use, and eval, infer and export: the average's parameters and buffers if the state has them, else
// the model's own. Throws as restore_state.
void restore_evaluated_model(const TrainingState& saved, Model& model);
bool has_average(const TrainingState& saved);

// One hash per tensor of the training state, for check_replicas.
std::vector<std::pair<std::string, std::uint64_t>> hash_state(const Session& session);

}  // namespace lockstep
