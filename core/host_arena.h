// HostArena: one thread's share of the host's memory. Its owner allocates and releases without a lock; other threads'
// releases wait in a list that the owner empties at its next allocation.
//
// Used by core/memory.cpp and core/rehearsal.cpp; others see MemoryPool. Under AddressSanitizer memory that is not in use is
// poisoned, and so is a gap behind each block.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>

#include "core/host_region.h"
#include "core/memory.h"
#include "core/range_allocator.h"

namespace lockstep {

class HostArena final : public MemoryPool {
 public:
  explicit HostArena(bool huge_pages);
  ~HostArena() override;  // no tensor may be left

  Storage* allocate(std::size_t nbytes) override;  // owner only
  void release(Storage* storage) override;         // any thread
  PoolStats stats() const override;                // any thread
  void reset_peak() override;
  Device device() const override { return {}; }

  // Thread ids are 1 and up; 0: nobody's, any thread may take it over (the caller sees to it that only one does).
  void set_owner(std::uint64_t thread) { owner_.store(thread, std::memory_order_release); }
  bool has_owner() const { return owner_.load(std::memory_order_acquire) != 0; }

  // Makes `nbytes` above what was ever in use ready: their first use then costs no page fault. Owner only; blocks.
  void prefault(std::size_t nbytes);
  void set_inherited(bool inherited) { region_.set_inherited(inherited); }

 private:
  void drain();
  void give_back(Storage* storage);
  Storage* new_storage(std::byte* data, std::size_t nbytes);
  [[noreturn]] void throw_out_of_memory(std::size_t nbytes) const;

  HostRegion region_;
  RangeAllocator ranges_;
  std::deque<Storage> storages_;  // a deque: they stay where they are
  Storage* unused_ = nullptr;     // storages without a block
  std::atomic<std::uint64_t> owner_{0};
  std::atomic<Storage*> released_elsewhere_{nullptr};
  std::atomic<std::size_t> in_use_{0}, peak_{0}, top_{0};
  std::atomic<std::uint64_t> growths_{0};
};

std::uint64_t memory_thread_id();  // this thread's, for set_owner

// Where this thread's tensors come from; made, or taken over from a thread that has ended, at the first call.
HostArena& thread_arena();
HostArena* exchange_thread_arena(HostArena* arena);  // for a while; null: back to the thread's own. Returns the one before.

}  // namespace lockstep
