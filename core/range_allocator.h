// RangeAllocator: hands out ranges of one long address space: lowest place that fits, neighbours merge when they return.
//
// Why this and not classes of sizes: a training step takes its tensors almost as a stack, so that the lowest place that
// fits needs 0.1 % more than the bytes alive at the peak (ResNet-50, measured), where blocks that are kept by size need 19 %
// more. It knows offsets only, neither memory nor threads: host and device pools are built on it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

namespace lockstep {

class RangeAllocator {
 public:
  static constexpr std::size_t kAlignment = 64;  // of offsets and sizes: a cache line, and the widest vector

  explicit RangeAllocator(std::size_t limit);  // offsets in [0, limit)

  static constexpr std::size_t rounded(std::size_t nbytes) {
    return nbytes == 0 ? kAlignment : (nbytes + kAlignment - 1) / kAlignment * kAlignment;
  }

  // The offset of rounded(nbytes) bytes; nothing when they don't fit. Allocates memory itself only when there are more
  // gaps than ever before.
  std::optional<std::size_t> allocate(std::size_t nbytes);
  void release(std::size_t offset, std::size_t nbytes);  // as allocated. A range that is not in use is an internal error.

  std::size_t top() const { return top_; }  // the highest end of a range so far: the space that is needed
  std::size_t gaps() const { return gaps_.size(); }

 private:
  struct Gap {
    std::size_t begin, end;
  };

  std::vector<Gap> gaps_;  // by address, never adjacent; the last one reaches to the limit unless everything is taken
  std::size_t limit_;
  std::size_t top_ = 0;
};

}  // namespace lockstep
