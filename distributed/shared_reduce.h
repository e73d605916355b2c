// SharedReduce: the all-reduce of ranks that see each other's memory. No data is sent: whoever has time claims a chunk of
// the buffer, adds it over all ranks straight from their buffers and writes the sum into all of them. The last rank to
// arrive therefore needn't wait for the others to wake up.
//
// A group that is only a part of all ranks (one host of several) adds its own ranks first, each rank its half, quarter, ..
// of the buffer, and hands the result around at the end; messages between hosts do the rest of the tree in between.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "core/tensor.h"
#include "distributed/communicator.h"
#include "distributed/rank_sum.h"
#include "distributed/shared_pool.h"
#include "distributed/shared_segment.h"

namespace lockstep {

class Waiter;

class SharedReduce {
 public:
  // segments[i]: the group's rank i; segments[rank] is the own one.
  SharedReduce(std::vector<std::shared_ptr<SharedSegment>> segments, int rank, Waiter& waiter);

  int size() const { return static_cast<int>(segments_.size()); }
  // Zeroed memory that is reduced where it lies. Any thread.
  Tensor make_buffer(const Shape& shape, DType dtype);

  // The whole all-reduce; for a group of all ranks.
  void all_reduce(View buffer, const ReduceOptions& options);

  // For a group of some ranks, in this order. kFixedTree only.
  // 1. Returns where to work: the buffer, or a copy of it that the group can see. In it, this rank's halved_range holds the
  //    group's sum, undivided.
  std::byte* reduce_within(View buffer, const ReduceOptions& options);
  // 2. This rank's range is final: takes over the others'.
  void gather_within(View buffer);

 private:
  struct Chunks;

  std::byte* begin(View buffer, const ReduceOptions& options);
  void check_peer(int peer);
  void reach(int stage);
  void wait_for_all(int stage);
  void add_chunk(const RankSum::Job& job, int owner, Range range, bool everywhere);
  void copy_back(View buffer);

  std::vector<std::shared_ptr<SharedSegment>> segments_;
  const int rank_;
  Waiter& waiter_;
  std::shared_ptr<SharedPool> pool_;
  Tensor staging_;                  // for buffers that aren't make_buffer's; grows
  std::unique_ptr<RankSum> sum_;
  std::uint64_t operations_ = 0;
  std::uint64_t chunks_ = 0;        // of all operations so far
  std::byte* work_ = nullptr;       // where the buffer of the operation under way is, in this rank's segment
  std::vector<std::byte*> buffers_; // everybody's
};

}  // namespace lockstep
