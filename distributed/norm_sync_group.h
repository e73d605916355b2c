// NormSyncGroup: batch norm over groups of shards, within a rank and across ranks.
//
// Groups are n consecutive shards of the global batch (n = V is GLOBAL). Moments are merged in f64 along the same fixed
// tree as gradients, whatever rank runs which shard, and rounded to the tensor's dtype once at the end. Scope SHARD needs
// no object of this class. A rank's local shards run under one ShardCrew and must all make the same calls.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/norm_sync.h"
#include "distributed/communicator.h"
#include "distributed/shard_crew.h"

namespace lockstep {

class NormSyncGroup {
 public:
  // V = `shards` over all ranks, groups of `group_shards`; UserError when they don't divide. `comm` and `crew` must
  // outlive this; crew.shards() is V / ranks.
  NormSyncGroup(Communicator& comm, ShardCrew& crew, std::int64_t shards, std::int64_t group_shards);
  ~NormSyncGroup();

  // What local shard `shard` hands to its context. Valid as long as this.
  NormSync& shard(int shard);
  // Forgets calls that a failed run left half done. Call it before each run of the crew.
  void begin_step();

 private:
  class Meeting;
  class ShardSync;
  std::unique_ptr<Meeting> meeting_;
  std::vector<std::unique_ptr<ShardSync>> syncs_;
};

}  // namespace lockstep
