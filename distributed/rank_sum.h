// The sum over ranks of one piece of their buffers, for ranks that see each other's memory: read once, written once.
//
// Gives the very bits that the same reduction gives by messages: the tree ((r0 + r1) + (r2 + r3)), the ring's order, and
// bf16 rounding wherever a message would have crossed from one rank to another.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/dtype.h"
#include "distributed/communicator.h"

namespace lockstep {

struct Range {
  std::int64_t begin = 0, end = 0;
  std::int64_t size() const { return end - begin; }
};

// What rank `rank` holds of n elements after halving with its partners at distances 1, 2, 4, ... < ranks. The lower rank of
// a pair keeps the lower half.
Range halved_range(std::int64_t n, int rank, int ranks);
// Piece p of n elements cut for a ring of `ranks`.
Range ring_piece(std::int64_t n, int p, int ranks);

class RankSum {
 public:
  static constexpr int kMaxRanks = 256;  // on one host

  struct Job {
    DType dtype = DType::kF32;
    ReduceOrder order = ReduceOrder::kFixedTree;
    bool encoded = false;        // bf16 on the wire
    std::int64_t divisor = 1;
    bool last = true;            // false: more ranks follow by message, so neither divided nor rounded yet
  };

  // `owner`: the rank that would hold this piece's final sum. sources[r]: rank r's n elements. The sum goes to all of
  // `destinations`, each of which may be a source. One call at a time.
  void add(const Job& job, int owner, std::span<const std::byte* const> sources, std::span<std::byte* const> destinations,
           std::int64_t n);

 private:
  struct Block {  // of the sources, small enough for the first-level cache
    const Job& job;
    std::span<const std::byte* const> sources;
    std::int64_t begin, n;
  };
  const std::byte* tree(const Block& block, int rank, int level, int slot);
  const std::byte* ring(const Block& block, int owner);
  const std::byte* rounded(const Block& block, const std::byte* values, int slot);

  static constexpr std::size_t kBlockBytes = 8192;
  alignas(64) std::array<std::array<std::byte, kBlockBytes>, 19> scratch_;  // two for each level of the tree, one to round
};

}  // namespace lockstep
