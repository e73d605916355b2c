// SPDX-License-Identifier: Apache-2.0
#include "core/host_arena.h"

#include <unistd.h>

#include <algorithm>
#include <string>

#include "core/error.h"
#include "core/poison.h"

namespace lockstep {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// A process can't use more than the machine has; the reservation itself costs nothing.
std::size_t physical_memory() {
  return static_cast<std::size_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

std::uint64_t memory_thread_id() {
  static std::atomic<std::uint64_t> threads{0};
  thread_local const std::uint64_t id = threads.fetch_add(1, kRelaxed) + 1;
  return id;
}

HostArena::HostArena(bool huge_pages) : region_(physical_memory(), huge_pages), ranges_(region_.capacity()) {}

HostArena::~HostArena() { unpoison(region_.data(), ranges_.top()); }  // others may get these addresses

Storage* HostArena::allocate(std::size_t nbytes) {
  if (released_elsewhere_.load(kRelaxed) != nullptr) drain();
  const std::size_t top = ranges_.top();
  const std::optional<std::size_t> offset = ranges_.allocate(nbytes + kPoisonGap);
  if (!offset) throw_out_of_memory(nbytes);
  const std::size_t end = *offset + RangeAllocator::rounded(nbytes + kPoisonGap);
  if (end > region_.committed() && !region_.commit(end)) {  // not top(): it may be what could not be had before
    ranges_.release(*offset, nbytes + kPoisonGap);
    throw_out_of_memory(nbytes);
  }
  if (ranges_.top() > top) {
    poison(region_.data() + top, ranges_.top() - top);
    top_.store(ranges_.top(), kRelaxed);
    growths_.fetch_add(1, kRelaxed);
  }
  std::byte* data = region_.data() + *offset;
  unpoison(data, nbytes);
  const std::size_t in_use = in_use_.fetch_add(RangeAllocator::rounded(nbytes), kRelaxed) + RangeAllocator::rounded(nbytes);
  if (in_use > peak_.load(kRelaxed)) peak_.store(in_use, kRelaxed);
  return new_storage(data, nbytes);
}

Storage* HostArena::new_storage(std::byte* data, std::size_t nbytes) {
  Storage* storage = unused_;
  if (storage == nullptr) {
    storage = &storages_.emplace_back(data, nbytes, this);
  } else {
    unused_ = storage->next_free;
    storage->data = data;
    storage->nbytes = nbytes;
  }
  storage->references.store(1, kRelaxed);
  return storage;
}

void HostArena::release(Storage* storage) {
  in_use_.fetch_sub(RangeAllocator::rounded(storage->nbytes), kRelaxed);
  poison(storage->data, storage->nbytes);
  if (owner_.load(kRelaxed) == memory_thread_id()) return give_back(storage);
  storage->next_free = released_elsewhere_.load(kRelaxed);
  while (!released_elsewhere_.compare_exchange_weak(storage->next_free, storage, std::memory_order_release, kRelaxed)) {
  }
}

void HostArena::drain() {
  Storage* storage = released_elsewhere_.exchange(nullptr, std::memory_order_acquire);
  while (storage != nullptr) {
    Storage* next = storage->next_free;
    give_back(storage);
    storage = next;
  }
}

void HostArena::give_back(Storage* storage) {
  ranges_.release(static_cast<std::size_t>(storage->data - region_.data()), storage->nbytes + kPoisonGap);
  storage->next_free = unused_;
  unused_ = storage;
}

PoolStats HostArena::stats() const {
  return {.in_use_bytes = in_use_.load(kRelaxed),
          .peak_bytes = peak_.load(kRelaxed),
          .reserved_bytes = top_.load(kRelaxed),
          .system_allocations = growths_.load(kRelaxed)};
}

void HostArena::reset_peak() { peak_.store(in_use_.load(kRelaxed), kRelaxed); }

void HostArena::prefault(std::size_t nbytes) {
  const std::size_t end = std::min(ranges_.top() + nbytes, region_.capacity());
  if (!region_.commit(end)) throw_out_of_memory(nbytes);
  region_.populate(ranges_.top(), end);
}

void HostArena::throw_out_of_memory(std::size_t nbytes) const {
  throw EnvironmentError("out of memory: wanted " + std::to_string(nbytes) + " bytes, " + std::to_string(in_use_.load(kRelaxed)) +
                         " bytes in use; lower shard_batch");
}

}  // namespace lockstep
