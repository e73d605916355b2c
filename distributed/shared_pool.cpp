// SPDX-License-Identifier: Apache-2.0
#include "distributed/shared_pool.h"

#include <algorithm>

namespace lockstep {

namespace {
constexpr std::size_t kAlignment = 64;                      // a cache line, and the widest vector
constexpr std::size_t kExtendBytes = std::size_t{1} << 20;  // at least, so that small tensors share a call to the system
}  // namespace

Storage* SharedPool::allocate(std::size_t nbytes) {
  const std::size_t rounded = (std::max<std::size_t>(nbytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
  const std::lock_guard lock(mutex_);
  Storage** link = &free_;
  while (*link != nullptr && (*link)->nbytes != rounded) link = &(*link)->next_free;
  Storage* storage = *link;
  if (storage != nullptr)
    *link = storage->next_free;
  else
    storage = take(rounded);
  storage->references.store(1, std::memory_order_relaxed);
  if (stats_.in_use_bytes == 0) self_ = shared_from_this();
  stats_.in_use_bytes += rounded;
  stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.in_use_bytes);
  return storage;
}

Storage* SharedPool::take(std::size_t nbytes) {
  if (unused_bytes_ < nbytes) {
    const std::size_t more = std::max(nbytes - unused_bytes_, kExtendBytes);
    const std::uint64_t offset = segment_->extend(more);
    if (unused_bytes_ == 0) unused_offset_ = offset;
    const std::size_t taken = (more + 4095) / 4096 * 4096;
    unused_bytes_ += taken;
    stats_.reserved_bytes += taken;
    ++stats_.system_allocations;
  }
  Storage& storage = storages_.emplace_back(segment_->at(unused_offset_), nbytes, this);
  unused_offset_ += nbytes;
  unused_bytes_ -= nbytes;
  return &storage;
}

void SharedPool::release(Storage* storage) {
  std::shared_ptr<SharedPool> last;  // destroyed after the lock
  const std::lock_guard lock(mutex_);
  stats_.in_use_bytes -= storage->nbytes;
  storage->next_free = free_;
  free_ = storage;
  if (stats_.in_use_bytes == 0) last = std::move(self_);
}

PoolStats SharedPool::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

void SharedPool::reset_peak() {
  const std::lock_guard lock(mutex_);
  stats_.peak_bytes = stats_.in_use_bytes;
}

}  // namespace lockstep
