// MemoryPool: blocks that are kept and handed out again, so that a warm step never asks the system for memory.
//
// One pool per device. A block's header lies before its data, so handing out a warm block touches no other allocator.
// Thread-safe. Sizes are rounded up to eighths of a power of two (at most 12.5 % waste), data is 64-byte aligned.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/device.h"

namespace lockstep {

class MemoryPool;

// A reference-counted piece of device memory. Lives in front of its data; made and freed by its pool only.
struct Storage {
  std::byte* data;
  std::size_t nbytes;      // usable bytes
  MemoryPool* pool;
  std::atomic<int> references;
  std::uint32_t size_class;
  Storage* next_free;
};

struct PoolStats {
  std::size_t in_use_bytes = 0;      // in live storages
  std::size_t peak_bytes = 0;        // highest in_use_bytes since reset_peak
  std::size_t reserved_bytes = 0;    // taken from the system
  std::uint64_t system_allocations = 0;
};

class MemoryPool {
 public:
  virtual ~MemoryPool() = default;
  // At least `nbytes` bytes, uninitialised, one reference. Throws EnvironmentError (bytes wanted, in use) when out of memory.
  virtual Storage* allocate(std::size_t nbytes) = 0;
  virtual void release(Storage* storage) = 0;
  virtual PoolStats stats() const = 0;
  virtual void reset_peak() = 0;
  virtual Device device() const = 0;
};

// The host's pool: one per process, never destroyed (tensors may outlive every static).
MemoryPool& cpu_pool();

// The pool of a device; a backend registers its own at start-up (pool outlives all its tensors).
MemoryPool& pool_of(Device device);
void register_pool(Device device, MemoryPool* pool);

}  // namespace lockstep
