// SharedPool: tensors in a SharedSegment's memory. Blocks are kept and handed out again, as in the pools of core.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <memory>
#include <mutex>

#include "core/memory.h"
#include "distributed/shared_segment.h"

namespace lockstep {

class SharedPool final : public MemoryPool, public std::enable_shared_from_this<SharedPool> {
 public:
  // `segment`: this rank's own, extended by this pool only. The pool, and with it the mapping, lives until the last of its
  // tensors is gone.
  explicit SharedPool(std::shared_ptr<SharedSegment> segment) : segment_(std::move(segment)) {}

  Storage* allocate(std::size_t nbytes) override;  // EnvironmentError when the system has no more memory
  void release(Storage* storage) override;
  PoolStats stats() const override;
  void reset_peak() override;
  Device device() const override { return {}; }

 private:
  Storage* take(std::size_t nbytes);

  mutable std::mutex mutex_;
  std::shared_ptr<SharedSegment> segment_;
  std::uint64_t unused_offset_ = 0;
  std::size_t unused_bytes_ = 0;       // at the segment's end, extended and not yet handed out
  std::deque<Storage> storages_;       // a deque: they stay where they are
  Storage* free_ = nullptr;            // few and of few sizes: a list is searched for the exact size
  PoolStats stats_;
  std::shared_ptr<SharedPool> self_;   // while a tensor lives
};

}  // namespace lockstep
