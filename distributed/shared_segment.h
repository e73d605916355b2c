// SharedSegment: memory that the ranks of one host have in common. Each rank makes one and hands out its memory; the
// others map it, to read and to write.
//
// It is an anonymous memory file (memfd) that the others open through /proc: without a name, nothing is left behind when
// ranks are killed, and /dev/shm, which containers limit to 64 MB, has no part in it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace lockstep {

struct SegmentAddress {  // plain bytes: it travels
  std::uint64_t nonce = 0;  // proves that what was opened is what was meant (process ids repeat in containers). 0: none
  std::int32_t pid = 0, fd = -1;
};

// The start of every segment: what its rank tells the others. One cache line for each writer.
struct SegmentHeader {
  std::uint64_t nonce = 0;
  struct Operation {
    std::uint64_t offset = 0, nbytes = 0, description = 0;  // its buffer in this segment, and what shall be done
  };
  alignas(64) std::atomic<std::uint64_t> stage{0};  // how far this rank is; released after `operations` is written
  std::array<Operation, 2> operations;              // of even and odd number: a quick rank is at most one ahead
  alignas(64) std::atomic<std::uint64_t> claimed{0};  // chunks, counted since the start; the first rank's are used
  alignas(64) std::atomic<std::uint64_t> finished{0};
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free, "a lock would belong to one process");

class SharedSegment {
 public:
  // nullptr when the system refuses; `reason` then says which call and why.
  static std::shared_ptr<SharedSegment> create(std::string& reason);
  // Another rank's. A segment of this very process (ranks that are threads) is shared, not mapped again.
  static std::shared_ptr<SharedSegment> open(const SegmentAddress& address, std::string& reason);
  ~SharedSegment();
  SharedSegment(const SharedSegment&) = delete;
  SharedSegment& operator=(const SharedSegment&) = delete;

  const SegmentAddress& address() const { return address_; }
  SegmentHeader& header() { return *reinterpret_cast<SegmentHeader*>(base_); }
  std::byte* at(std::uint64_t offset) { return base_ + offset; }
  // Offset of memory that was handed out; 0 if it lies elsewhere.
  std::uint64_t offset_of(const void* memory) const;

  // The owner's: appends zeroed memory and returns its offset, a multiple of 4096. It is taken from the system at once, so
  // that using it can't fail later. EnvironmentError when there is none left. One call at a time.
  std::uint64_t extend(std::size_t nbytes);

 private:
  SharedSegment(std::byte* base, const SegmentAddress& address) : base_(base), address_(address) {}

  std::byte* base_;
  SegmentAddress address_;     // fd: the owner's
  bool owner_ = false;
  std::uint64_t size_ = 0;     // owner: bytes taken so far
};

}  // namespace lockstep
