// SPDX-License-Identifier: Apache-2.0
#include "core/range_allocator.h"

#include <algorithm>
#include <string>

#include "core/error.h"

namespace lockstep {

RangeAllocator::RangeAllocator(std::size_t limit) : limit_(limit / kAlignment * kAlignment) {
  constexpr std::size_t kUsualGaps = 1024;  // a ResNet-50 step has fewer than 100 at any time
  gaps_.reserve(kUsualGaps);
  if (limit_ > 0) gaps_.push_back({0, limit_});
}

std::optional<std::size_t> RangeAllocator::allocate(std::size_t nbytes) {
  if (nbytes > limit_) return std::nullopt;
  const std::size_t wanted = rounded(nbytes);
  const auto gap = std::find_if(gaps_.begin(), gaps_.end(), [&](const Gap& g) { return g.end - g.begin >= wanted; });
  if (gap == gaps_.end()) return std::nullopt;
  const std::size_t offset = gap->begin;
  gap->begin += wanted;
  top_ = std::max(top_, gap->begin);
  if (gap->begin == gap->end) gaps_.erase(gap);
  return offset;
}

void RangeAllocator::release(std::size_t offset, std::size_t nbytes) {
  const std::size_t begin = offset, end = offset + rounded(nbytes);
  const auto next = std::upper_bound(gaps_.begin(), gaps_.end(), begin, [](std::size_t at, const Gap& g) { return at < g.begin; });
  const auto previous = next == gaps_.begin() ? gaps_.end() : next - 1;
  const bool overlaps = end > limit_ || (next != gaps_.end() && end > next->begin) || (previous != gaps_.end() && previous->end > begin);
  LS_CHECK(!overlaps, "memory: bytes " + std::to_string(begin) + " to " + std::to_string(end) + " are released but not in use");
  const bool joins_next = next != gaps_.end() && next->begin == end;
  const bool joins_previous = previous != gaps_.end() && previous->end == begin;
  if (joins_previous && joins_next) {
    previous->end = next->end;
    gaps_.erase(next);
  } else if (joins_previous) {
    previous->end = end;
  } else if (joins_next) {
    next->begin = begin;
  } else {
    gaps_.insert(next, {begin, end});
  }
}

}  // namespace lockstep
