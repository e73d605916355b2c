// What a step reduces: every parameter's gradient, every running statistic's observation, and the step's totals.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "core/tape.h"
#include "distributed/gradient_reducer.h"
#include "models/model.h"
#include "ops/context.h"

namespace lockstep {

namespace proto {
class Distributed;
}

// What each shard reports beside its gradients, as one f64 entry of the reduction: sums over shards.
enum Total { kLoss, kTop1, kTop5, kCount, kStopVotes, kTotals };

// Ids: parameters by their id, then buffers by theirs, then the totals.
struct StepEntries {
  explicit StepEntries(const Model& model);

  std::vector<ReduceEntry> list;
  int first_buffer, buffers, totals;  // ids
};

std::size_t gradient_bytes(const Model& model);  // of one copy of all gradients

ReducerOptions reducer_options(const proto::Distributed& config, int shards, Device device);

// One local shard's door into the reducer. Every layer passes here, forward (batch statistics) and backward (gradients),
// so this is also where a step on a CPU that has no time left is given up.
class ShardSink final : public GradSink, public ObservationSink {
 public:
  ShardSink(GradientReducer& reducer, int shard, const StepEntries& entries, bool may_give_up)
      : reducer_(reducer), shard_(shard), entries_(entries), may_give_up_(may_give_up) {}
  Tensor gradient(const Parameter& parameter) override { return reducer_.gradient(shard_, parameter.id); }
  void mark_ready(const Parameter& parameter) override;
  Tensor observation(const Buffer& buffer) override;
  Tensor totals() { return reducer_.gradient(shard_, entries_.totals); }
  void mark_observed();  // all observations and the totals are written

 private:
  GradientReducer& reducer_;
  int shard_;
  const StepEntries& entries_;
  bool may_give_up_;
};

}  // namespace lockstep
