// MemoryPool: where tensors' memory comes from. Memory that was used once is kept, so that a warm step never asks the
// system for any.
//
// One pool per device. The host's pool is one arena per thread (core/host_arena.h): allocating and releasing takes no lock,
// also when another thread releases. Data is 64-byte aligned.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/device.h"

namespace lockstep {

class MemoryPool;

// A reference-counted piece of device memory. Made and freed by its pool only.
struct Storage {
  std::byte* data;
  std::size_t nbytes;  // usable bytes
  MemoryPool* pool;
  std::atomic<int> references;
  Storage* next_free;
};

struct PoolStats {
  std::size_t in_use_bytes = 0;          // in live storages
  std::size_t peak_bytes = 0;            // highest in_use_bytes since reset_peak
  std::size_t reserved_bytes = 0;        // ever used at once, gaps included: what the system had to give
  std::uint64_t system_allocations = 0;  // how often reserved_bytes grew
};

class MemoryPool {
 public:
  virtual ~MemoryPool() = default;
  // At least `nbytes` bytes, uninitialised, one reference. Throws EnvironmentError (bytes wanted, in use) when out of memory.
  virtual Storage* allocate(std::size_t nbytes) = 0;
  virtual void release(Storage* storage) = 0;  // by any thread
  virtual PoolStats stats() const = 0;
  virtual void reset_peak() = 0;
  virtual Device device() const = 0;
};

// The host's pool: one per process, never destroyed (tensors may outlive every static). Its peak_bytes is the sum of the
// threads' peaks, which may have been at different times.
MemoryPool& cpu_pool();

// Makes the host memory ready that this thread's next `nbytes` of tensors need, so that their first use costs no page
// fault. Blocks for about 0.1 s per GB.
void prefault_memory(std::size_t nbytes);

// While it lives, processes that are forked don't inherit the host pool's memory: they may make new tensors, but not touch
// those that exist. Inherited memory would be copied page by page, and lose its huge pages, as this process writes on. One
// at a time; may not be left by the forked process.
class MemoryNotInherited {
 public:
  MemoryNotInherited();
  ~MemoryNotInherited();
  MemoryNotInherited(const MemoryNotInherited&) = delete;
  MemoryNotInherited& operator=(const MemoryNotInherited&) = delete;
};

// The pool of a device; a backend registers its own at start-up (pool outlives all its tensors).
MemoryPool& pool_of(Device device);
void register_pool(Device device, MemoryPool* pool);

// Which pool this thread takes its device's memory from, until the next call; null: the registered one. Returns the one
// before. See PoolScope (core/accelerator.h).
MemoryPool* exchange_thread_pool(MemoryPool* pool);

}  // namespace lockstep
