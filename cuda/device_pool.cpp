// SPDX-License-Identifier: Apache-2.0
#include "cuda/device_pool.h"

#include <algorithm>
#include <string>

#include "core/error.h"
#include "cuda/runtime.h"

namespace lockstep::cuda {
namespace {

constexpr std::size_t kBlock = 256;     // of device memory: what cudaMalloc promises, and libraries look at
constexpr std::size_t kGrowSteps = 16;  // granules at once: few calls to the driver, little asked for in vain

std::size_t round_up(std::size_t value, std::size_t unit) { return (value + unit - 1) / unit * unit; }
std::size_t block_bytes(std::size_t nbytes) { return round_up(std::max<std::size_t>(nbytes, 1), kBlock); }

void take(PoolStats& stats, std::size_t nbytes) {
  stats.in_use_bytes += nbytes;
  stats.peak_bytes = std::max(stats.peak_bytes, stats.in_use_bytes);
}

}  // namespace

DevicePool::DevicePool(int device)
    : device_(device),
      granularity_(runtime::granularity(device)),
      reserved_(round_up(runtime::gpu_facts(device).memory_bytes, granularity_)),
      base_(runtime::reserve_addresses(device, reserved_)),
      ranges_(reserved_) {}

DevicePool::~DevicePool() {
  try {
    runtime::release_addresses(device_, base_, reserved_, committed_);
  } catch (const Error&) {  // the device has failed: its memory goes with the process, and that failure is the one to be told
  }
}

Storage* DevicePool::allocate(std::size_t nbytes) {
  const std::lock_guard lock(mutex_);
  const std::size_t block = block_bytes(nbytes);
  const auto offset = ranges_.allocate(block);
  if (!offset) throw_out_of_memory(nbytes);
  try {
    grow(*offset + block);
  } catch (...) {
    ranges_.release(*offset, block);
    throw;
  }
  if (*offset + block > stats_.reserved_bytes) {
    stats_.reserved_bytes = *offset + block;
    ++stats_.system_allocations;
  }
  take(stats_, block);
  Storage* storage = unused_;
  if (storage == nullptr) {
    storage = &storages_.emplace_back(base_ + *offset, nbytes, this);
  } else {
    unused_ = storage->next_free;
    storage->data = base_ + *offset;
    storage->nbytes = nbytes;
  }
  storage->references.store(1, std::memory_order_relaxed);
  return storage;
}

void DevicePool::grow(std::size_t top) {
  if (top <= committed_) return;
  const auto commit_to = [&](std::size_t end) {
    if (!runtime::commit(device_, base_ + committed_, end - committed_)) return false;
    committed_ = end;
    return true;
  };
  const std::size_t generous = std::min(round_up(top, granularity_ * kGrowSteps), reserved_);
  if (!commit_to(generous) && !commit_to(round_up(top, granularity_))) throw_out_of_memory(top - committed_);
}

void DevicePool::release(Storage* storage) {
  const std::lock_guard lock(mutex_);
  const std::size_t block = block_bytes(storage->nbytes);
  ranges_.release(static_cast<std::size_t>(storage->data - base_), block);
  stats_.in_use_bytes -= block;
  storage->next_free = unused_;
  unused_ = storage;
}

PoolStats DevicePool::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

void DevicePool::reset_peak() {
  const std::lock_guard lock(mutex_);
  stats_.peak_bytes = stats_.in_use_bytes;
}

void DevicePool::throw_out_of_memory(std::size_t nbytes) const {
  throw EnvironmentError("cuda:" + std::to_string(device_) + ": out of GPU memory: wanted " + std::to_string(nbytes) + " bytes more, " +
                         std::to_string(stats_.in_use_bytes) + " bytes in use, " + std::to_string(committed_) + " taken by this process, " +
                         std::to_string(runtime::free_bytes(device_)) + " free on the GPU; lower shard_batch");
}

Storage* PinnedPool::allocate(std::size_t nbytes) {
  const std::lock_guard lock(mutex_);
  const std::size_t block = RangeAllocator::rounded(nbytes);
  take(stats_, block);
  for (Storage** link = &free_; *link != nullptr; link = &(*link)->next_free) {
    Storage* storage = *link;
    if (RangeAllocator::rounded(storage->nbytes) != block) continue;
    *link = storage->next_free;
    storage->nbytes = nbytes;
    storage->references.store(1, std::memory_order_relaxed);
    return storage;
  }
  auto* data = static_cast<std::byte*>(runtime::allocate_pinned(block));
  stats_.reserved_bytes += block;
  ++stats_.system_allocations;
  Storage* storage = &storages_.emplace_back(data, nbytes, this);
  storage->references.store(1, std::memory_order_relaxed);
  return storage;
}

void PinnedPool::release(Storage* storage) {
  const std::lock_guard lock(mutex_);
  stats_.in_use_bytes -= RangeAllocator::rounded(storage->nbytes);
  storage->next_free = free_;
  free_ = storage;
}

PoolStats PinnedPool::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

void PinnedPool::reset_peak() {
  const std::lock_guard lock(mutex_);
  stats_.peak_bytes = stats_.in_use_bytes;
}

}  // namespace lockstep::cuda
