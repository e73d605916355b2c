// Collectives: the algorithms, written as straight code over a Transport. Local and MPI ranks share them, so what is
// proved with threads holds for processes.
//
// Large buffers go by recursive halving (reduce-scatter) and doubling (all-gather): each rank sends 2 * (W - 1) / W of
// the buffer and every element is summed along the tree ((r0 + r1) + (r2 + r3)). Transfers are cut into chunks, a few of
// them in flight, so that adding one chunk overlaps the transfer of the next.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/tensor.h"
#include "distributed/communicator.h"
#include "distributed/rank_sum.h"
#include "distributed/transport.h"

namespace lockstep {

// What happens while a collective waits for its peers.
class Waiter {
 public:
  virtual ~Waiter() = default;
  virtual void progressed() = 0;  // something completed: be quick to look again
  virtual void pause() = 0;       // nothing did: sleep a little. Throws to give up (deadline, abort).
};

class SharedReduce;

class Collectives {
 public:
  // `chunk_bytes`: size of a message of a large buffer, a multiple of 8; the same on all ranks.
  Collectives(Transport& transport, Waiter& waiter, std::size_t chunk_bytes)
      : transport_(transport), waiter_(waiter), chunk_bytes_(chunk_bytes) {}

  // `group` (may be null): this rank's block of ranks that see each other's memory: all ranks, or each aligned block of a
  // power of two. Must outlive this; call it before the first all-reduce.
  void use_shared_memory(SharedReduce* group) { group_ = group; }

  // `tag` keeps the messages of one operation apart from the next one's.
  void all_reduce(View buffer, const ReduceOptions& options, int tag);
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all, int tag);
  void broadcast(std::span<std::byte> bytes, int root, int tag);

 private:
  enum class Combine : std::uint8_t { kStore, kLocalLeft, kRemoteLeft };
  struct Job {  // the all-reduce under way
    std::byte* data = nullptr;
    std::int64_t numel = 0;
    DType dtype = DType::kF32;
    bool encoded = false;  // bf16 on the wire
    std::int64_t divisor = 1;
    int tag = 0;
    std::byte* at(std::int64_t element) const { return data + element * static_cast<std::int64_t>(dtype_size(dtype)); }
  };
  struct Window;

  void reduce_in_group(View buffer, const ReduceOptions& options, Job job);
  void reduce_by_tree(const Job& job, int group);
  void reduce_small_by_tree(const Job& job);
  void reduce_by_ring(const Job& job);
  void finish_piece(const Job& job, Range piece);
  // Sends `out` to rank `to` and receives `in` from rank `from` at the same time, chunk by chunk.
  void exchange(const Job& job, int to, Range out, int from, Range in, Combine combine);
  bool pump_sends(const Job& job, Window& window);
  bool pump_receives(const Job& job, Window& window);
  void absorb(const Job& job, const Window& window, std::int64_t chunk);
  void wait(std::span<Request> requests);
  std::byte* scratch(int index, std::size_t nbytes);

  Transport& transport_;
  Waiter& waiter_;
  const std::size_t chunk_bytes_;
  SharedReduce* group_ = nullptr;
  std::vector<std::vector<std::byte>> scratch_;
};

bool is_power_of_two(std::int64_t n);

// The checks that every implementation of all_reduce_async makes first.
void check_reduce(const Tensor& buffer, const ReduceOptions& options, int ranks);

}  // namespace lockstep
