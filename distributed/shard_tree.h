// The fixed tree over shards, in one place: gradients and batch-norm moments are added along the same one.
//
// n = m * 2^k shards (m odd): groups of m consecutive shards are summed left to right, then the groups pairwise.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace lockstep {

// m: shards per leaf of the binary tree over n shards.
constexpr std::int64_t leaf_shards(std::int64_t n) {
  while (n % 2 == 0) n /= 2;
  return n;
}

// Whether the tree over n shards adds each `part` consecutive shards (from multiples of `part` on) to a sum of their own.
constexpr bool is_tree_node(std::int64_t n, std::int64_t part) {
  if (part < 1 || n % part != 0) return false;
  const std::int64_t groups = part / leaf_shards(n);
  return part == 1 || (part % leaf_shards(n) == 0 && (groups & (groups - 1)) == 0);
}

// One addition: value[left] += value[right], where value[i] is the sum of shards i .. i + span - 1 that starts at i.
struct TreeMerge {
  int left = -1, right = -1;
};

// The next addition that has become possible around `shard`, when span[i] says how many shards value[i] sums (0: not
// there, or already added to another). The order in which shards arrive changes when an addition happens, never which.
// left < 0: none.
template <class Spans>
TreeMerge next_merge(const Spans& span, int shards, int m, int shard) {
  const auto at = [&](int i) { return static_cast<int>(span[static_cast<std::size_t>(i)]); };
  const int group = shard / m * m;
  const int done = at(group);
  if (done == 0) return {};
  if (done < m) {  // within the group: left to right, one shard at a time
    if (at(group + done) == 1) return {group, group + done};
    return {};
  }
  if (done >= shards) return {};
  const int left = group / (2 * done) * (2 * done);
  const int right = left + done;
  if (at(left) == done && at(right) == done) return {left, right};
  return {};
}

}  // namespace lockstep
