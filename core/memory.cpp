// SPDX-License-Identifier: Apache-2.0
#include "core/memory.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <new>
#include <string>

#include "core/error.h"

namespace lockstep {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kHeaderBytes = 64;
constexpr std::size_t kClasses = 512;
static_assert(sizeof(Storage) <= kHeaderBytes);

struct SizeClass {
  std::uint32_t index;
  std::size_t nbytes;
};

// Eight classes per power of two: 64, 128, ..., 512, 576, 640, ... so that odd sizes waste at most 1/8.
SizeClass size_class(std::size_t nbytes) {
  const std::size_t units = (std::max<std::size_t>(nbytes, 1) + kAlignment - 1) / kAlignment;
  if (units <= 8) return {static_cast<std::uint32_t>(units), units * kAlignment};
  const int shift = static_cast<int>(std::bit_width(units - 1)) - 4;  // keeps four leading bits
  const std::size_t rounded = (units + (std::size_t{1} << shift) - 1) >> shift;  // 8 < rounded <= 16
  return {static_cast<std::uint32_t>(static_cast<std::size_t>(shift) * 8 + rounded), (rounded << shift) * kAlignment};
}

class CpuPool final : public MemoryPool {
 public:
  Storage* allocate(std::size_t nbytes) override {
    const SizeClass wanted = size_class(nbytes);
    const std::lock_guard lock(mutex_);
    LS_CHECK(wanted.index < kClasses, "memory: " + std::to_string(nbytes) + " bytes");
    Storage*& head = free_[wanted.index];
    Storage* storage = head;
    if (storage != nullptr) {
      head = storage->next_free;
    } else {
      storage = system_allocate(wanted);
    }
    storage->references.store(1, std::memory_order_relaxed);
    stats_.in_use_bytes += wanted.nbytes;
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.in_use_bytes);
    return storage;
  }

  void release(Storage* storage) override {
    const std::lock_guard lock(mutex_);
    stats_.in_use_bytes -= storage->nbytes;
    storage->next_free = free_[storage->size_class];
    free_[storage->size_class] = storage;
  }

  PoolStats stats() const override {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

  void reset_peak() override {
    const std::lock_guard lock(mutex_);
    stats_.peak_bytes = stats_.in_use_bytes;
  }

  Device device() const override { return {}; }

 private:
  Storage* system_allocate(SizeClass wanted) {
    void* block = std::aligned_alloc(kAlignment, kHeaderBytes + wanted.nbytes);
    if (block == nullptr)
      throw EnvironmentError("out of memory: wanted " + std::to_string(wanted.nbytes) + " bytes, " +
                             std::to_string(stats_.in_use_bytes) + " bytes in use; lower shard_batch");
    ++stats_.system_allocations;
    stats_.reserved_bytes += wanted.nbytes;
    auto* data = static_cast<std::byte*>(block) + kHeaderBytes;
    return new (block) Storage{data, wanted.nbytes, this, {}, wanted.index, nullptr};
  }

  mutable std::mutex mutex_;
  std::array<Storage*, kClasses> free_{};
  PoolStats stats_;
};

std::array<MemoryPool*, 64> cuda_pools{};

}  // namespace

MemoryPool& cpu_pool() {
  static auto* pool = new CpuPool;  // never destroyed: static tensors may outlive it otherwise
  return *pool;
}

MemoryPool& pool_of(Device device) {
  if (device.kind == DeviceKind::kCpu) return cpu_pool();
  MemoryPool* pool = cuda_pools.at(static_cast<std::size_t>(device.index));
  LS_CHECK(pool != nullptr, "no memory pool is registered for " + device.str());
  return *pool;
}

void register_pool(Device device, MemoryPool* pool) {
  LS_CHECK(device.kind == DeviceKind::kCuda, "only GPU pools are registered");
  cuda_pools.at(static_cast<std::size_t>(device.index)) = pool;
}

}  // namespace lockstep
