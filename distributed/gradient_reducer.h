// GradientReducer: adds gradients over all shards of the global batch while the backward pass is still running.
//
// States: idle -> collecting (begin_step) -> reducing (all buckets launched) -> done (finish). A rank runs
// local_shards() = V / W shards, one after the other or interleaved by a ShardCrew. Gradients are views into bucket
// memory. For each bucket, the local shards are added along a fixed binary tree as they complete; when the last local
// shard completed it and all buckets before it were launched, its all-reduce is launched.
//
// On a device, bucket memory is the device's and all work is queued on its compute stream: the host waits for nothing (if the
// communicator works on the device), and a step may be recorded once the same step was run before. Memory that was taken stays.
//
// The tree over V = m * 2^k shards (m odd): groups of m consecutive shards are summed left to right, then the 2^k groups
// pairwise. kFixedTree allows 1, 2, 4, ... 2^k ranks and gives the same bits at each; kFast allows any divisor of V.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/accelerator.h"
#include "core/tensor.h"
#include "distributed/bucket_plan.h"
#include "distributed/communicator.h"

namespace lockstep {

struct ReducerOptions {
  std::int64_t shards = 1;  // V, over all ranks
  ReduceOrder order = ReduceOrder::kFixedTree;
  WireFormat wire = WireFormat::kNative;  // of gradients; observations and totals always travel as they are
  std::size_t first_bucket_bytes = std::size_t{1} << 20;
  std::size_t bucket_bytes = std::size_t{16} << 20;
  Device device;  // where gradients lie
};

// Sees the gradients of each `shards` consecutive local shards (is_tree_node of local_shards()) before they go into a larger sum.
struct PartObserver {
  int shards = 1;
  // Bucket `bucket` of the plan (of gradients) holds the sum of local shards first .. first + shards - 1, readable by
  // part_gradient during the call, on a device by work on the compute stream. Called by the thread that marked the last of them.
  std::function<void(int bucket, int first)> seen;
};

struct BucketReport {
  std::size_t nbytes = 0;
  OperationTimes times;  // all zero with one rank, and where the communicator works on the device
};

struct ReduceReport {
  std::int64_t exposed_wait_ns = 0;  // time that finish() waited: communication not hidden behind computing
  std::size_t nbytes = 0;            // in all buckets; what one rank sends is about 2 * (W - 1) / W of it (half in bf16)
  std::vector<BucketReport> buckets; // in launch order
};

// Checks that W ranks can share V shards. Throws UserError naming both and the numbers of ranks that would do.
void check_world_size(std::int64_t shards, int ranks, ReduceOrder order);

class GradientReducer {
 public:
  // Collective: compares the plan on all ranks; UserError naming the first rank that differs. `comm` must outlive this.
  // Entry ids are indices into `entries`. UserError when the ranks can't share the shards, or for bf16 with f64 gradients.
  GradientReducer(Communicator& comm, std::vector<ReduceEntry> entries, const ReducerOptions& options);

  // Before the first step; at most one.
  void observe(PartObserver observer);

  int local_shards() const { return local_shards_; }
  const BucketPlan& plan() const { return plan_; }
  const ReduceEntry& entry(int id) const { return entries_[static_cast<std::size_t>(id)]; }

  // From idle or done. `step` is for reports.
  void begin_step(std::int64_t step);
  // Where local shard `shard` (0 .. local_shards() - 1) writes this entry: the entry's shape, uninitialised memory.
  // Valid until mark_ready of the same pair. Several shards may be under way at once, each in memory of its own (a shard's
  // memory is given out at its first call and comes back when it is added); adding never waits for another shard's thread.
  Tensor gradient(int shard, int id);
  // The shard has finished writing it. Exactly once per shard, entry and step, else InternalError naming the entry. May
  // add buckets and launch all-reduces; doesn't block on communication.
  void mark_ready(int shard, int id);
  // While PartObserver::seen runs: the part's sum, not divided. Not to be written.
  Tensor part_gradient(int first, int id) const;

  // Blocks until all buckets are reduced (Communicator::wait: on a device, the compute stream may wait instead). The report is valid
  // until the next finish(). InternalError naming an entry that was never marked. Failures: Communicator::wait.
  [[nodiscard]] const ReduceReport& finish();

  // After finish(), until the next begin_step; InternalError before. Means over V shards (totals, late ones too: sums), same bits on
  // every rank. The memory may be changed in place (clipping).
  Tensor result(int id);

 private:
  enum class State : std::uint8_t { kIdle, kCollecting, kReducing, kDone };
  struct BucketState {
    std::vector<Tensor> memory;        // grows to what the interleaving of shards needs, then stays
    std::vector<int> free_memory;      // indices into memory, used as a stack
    std::vector<int> memory_of;        // by local shard: index into memory, -1: none
    std::vector<int> unmarked;         // by local shard: entries still to come
    std::vector<std::uint8_t> marked;  // by local shard and slice
    std::vector<int> span;             // by local shard: how many shards its memory sums (shard_tree.h)
    bool complete = false;             // shard 0's memory sums all local shards
    Ticket ticket = 0;
  };

  BucketState& bucket_of(int shard, int id);
  Tensor slice_view(int id, const Tensor& memory) const;
  Tensor new_memory(const Bucket& bucket);
  void add(const Bucket& bucket, Tensor& sum, const Tensor& added);
  void add_shards(BucketState& state, const Bucket& bucket, int shard);
  void show_part(const BucketState& state, const Bucket& bucket, int first);
  void launch_complete_buckets();
  std::string unmarked_entries() const;
  void compare_plans();

  Communicator& comm_;
  Accelerator* accelerator_ = nullptr;  // null: the CPU
  std::vector<ReduceEntry> entries_;
  ReducerOptions options_;
  PartObserver observer_;
  BucketPlan plan_;
  int local_shards_ = 1;
  State state_ = State::kIdle;
  std::int64_t step_ = 0;
  int next_launch_ = 0;
  std::vector<BucketState> states_;
  ReduceReport report_;  // a member: its list keeps its memory
};

}  // namespace lockstep
