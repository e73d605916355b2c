// SPDX-License-Identifier: Apache-2.0
#include "distributed/rank_sum.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/error.h"
#include "distributed/vector_add.h"

namespace lockstep {

Range halved_range(std::int64_t n, int rank, int ranks) {
  Range range{0, n};
  for (int distance = 1; distance < ranks; distance *= 2) {
    const std::int64_t middle = range.begin + range.size() / 2;
    if ((rank & distance) == 0)
      range.end = middle;
    else
      range.begin = middle;
  }
  return range;
}

Range ring_piece(std::int64_t n, int p, int ranks) { return {n * p / ranks, n * (p + 1) / ranks}; }

void RankSum::add(const Job& job, int owner, std::span<const std::byte* const> sources,
                  std::span<std::byte* const> destinations, std::int64_t n) {
  LS_CHECK(sources.size() <= kMaxRanks, "too many ranks on one host");
  const int ranks = static_cast<int>(sources.size());
  const auto width = static_cast<std::int64_t>(dtype_size(job.dtype));
  if (ranks == 2 && destinations.size() == 2 && !job.encoded && job.last && job.dtype == DType::kF32) {
    // Two ranks add the same two values in any order: the case of small machines, in one pass.
    add_two(reinterpret_cast<float*>(destinations[0]), reinterpret_cast<float*>(destinations[1]),
            reinterpret_cast<const float*>(sources[0]), reinterpret_cast<const float*>(sources[1]), n, job.divisor);
    return;
  }
  const std::int64_t block_numel = static_cast<std::int64_t>(kBlockBytes) / width;
  for (std::int64_t begin = 0; begin < n; begin += block_numel) {
    const Block block{job, sources, begin, std::min(block_numel, n - begin)};
    const std::byte* sum = job.order == ReduceOrder::kFixedTree
                               ? tree(block, owner, std::countr_zero(static_cast<unsigned>(ranks)), 0)
                               : ring(block, owner);
    auto* result = const_cast<std::byte*>(sum);  // scratch, unless there is one rank only
    if (job.last) {
      divide_array(job.dtype, result, block.n, job.divisor);
      if (job.encoded) round_to_bf16(reinterpret_cast<float*>(result), block.n);
    }
    for (std::byte* destination : destinations)
      std::memcpy(destination + begin * width, result, static_cast<std::size_t>(block.n * width));
  }
}

// The sum of the 2^level ranks around `rank`, as `rank` gets it: its own half as it is, its partner's as a message.
const std::byte* RankSum::tree(const Block& block, int rank, int level, int slot) {
  const auto width = static_cast<std::int64_t>(dtype_size(block.job.dtype));
  if (level == 0) return block.sources[static_cast<std::size_t>(rank)] + block.begin * width;
  const int distance = 1 << (level - 1);
  const std::byte* mine = tree(block, rank, level - 1, slot + 1);
  const std::byte* theirs = rounded(block, tree(block, rank ^ distance, level - 1, slot + 2), slot + 2);
  std::byte* sum = scratch_[static_cast<std::size_t>(slot)].data();
  const bool left = (rank & distance) == 0;
  add_arrays(block.job.dtype, sum, left ? mine : theirs, left ? theirs : mine, block.n);
  return sum;
}

// From the rank after the owner, around, to the owner.
const std::byte* RankSum::ring(const Block& block, int owner) {
  const auto width = static_cast<std::int64_t>(dtype_size(block.job.dtype));
  const int ranks = static_cast<int>(block.sources.size());
  const auto source = [&](int step) { return block.sources[static_cast<std::size_t>((owner + 1 + step) % ranks)] + block.begin * width; };
  const std::byte* sum = source(0);
  for (int step = 1; step < ranks; ++step) {
    std::byte* next = scratch_[0].data();
    add_arrays(block.job.dtype, next, rounded(block, sum, 1), source(step), block.n);
    sum = next;
  }
  return sum;
}

const std::byte* RankSum::rounded(const Block& block, const std::byte* values, int slot) {
  if (!block.job.encoded) return values;
  std::byte* result = scratch_[static_cast<std::size_t>(slot)].data();
  if (result != values) std::memcpy(result, values, static_cast<std::size_t>(block.n) * sizeof(float));
  round_to_bf16(reinterpret_cast<float*>(result), block.n);
  return result;
}

}  // namespace lockstep
