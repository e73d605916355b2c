// DevicePool: a MemoryPool of device memory that is ordered by one stream: what was released may be given out again at once,
// because its next user's work runs after its last user's. A long reservation of addresses, backed as far as it was ever
// used; the lowest place that fits (core/range_allocator.h), as on the host.
//
// Allocating and releasing takes a lock, but never waits for the device. Only growing asks the system.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <mutex>

#include "core/memory.h"
#include "core/range_allocator.h"

namespace lockstep::cuda {

class DevicePool final : public MemoryPool {
 public:
  explicit DevicePool(int device);
  ~DevicePool() override;  // no tensor may be left

  Storage* allocate(std::size_t nbytes) override;
  void release(Storage* storage) override;
  PoolStats stats() const override;
  void reset_peak() override;
  Device device() const override { return {DeviceKind::kCuda, device_}; }

 private:
  void grow(std::size_t top);
  [[noreturn]] void throw_out_of_memory(std::size_t nbytes) const;

  const int device_;
  std::size_t granularity_, reserved_;
  std::byte* base_;
  std::size_t committed_ = 0;
  mutable std::mutex mutex_;
  RangeAllocator ranges_;
  std::deque<Storage> storages_;  // a deque: they stay where they are
  Storage* unused_ = nullptr;     // storages without a block
  PoolStats stats_;
};

// Host memory that copies reach without blocking. Blocks are kept by size and never given back: few are ever made.
class PinnedPool final : public MemoryPool {
 public:
  Storage* allocate(std::size_t nbytes) override;
  void release(Storage* storage) override;
  PoolStats stats() const override;
  void reset_peak() override;
  Device device() const override { return {}; }

 private:
  mutable std::mutex mutex_;
  std::deque<Storage> storages_;
  Storage* free_ = nullptr;
  PoolStats stats_;
};

}  // namespace lockstep::cuda
