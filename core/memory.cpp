// SPDX-License-Identifier: Apache-2.0
#include "core/memory.h"

#include <pthread.h>

#include <array>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/host_arena.h"

namespace lockstep {
namespace {

// All threads' arenas. They are never destroyed; one whose thread has ended serves the next new thread.
class ArenaRegistry {
 public:
  HostArena& take() {
    const std::lock_guard lock(mutex_);
    for (HostArena* arena : arenas_)
      if (!arena->has_owner()) return own(*arena);
    arenas_.push_back(new HostArena(true));
    return own(*arenas_.back());
  }

  template <class Function>
  void for_each(Function function) {
    const std::lock_guard lock(mutex_);
    for (HostArena* arena : arenas_) function(*arena);
  }

 private:
  static HostArena& own(HostArena& arena) {
    arena.set_owner(memory_thread_id());
    return arena;
  }

  std::mutex mutex_;
  std::vector<HostArena*> arenas_;
};

ArenaRegistry*& registry_pointer() {
  static auto* arenas = new ArenaRegistry;  // never destroyed: static tensors may outlive it otherwise
  return arenas;
}
ArenaRegistry& registry() { return *registry_pointer(); }

// Plain pointers: still usable while the thread's, or the process's, last objects are destroyed.
thread_local HostArena* own_arena = nullptr;
thread_local HostArena* lent_arena = nullptr;

struct GiveUpAtThreadEnd {
  ~GiveUpAtThreadEnd() {
    if (own_arena == nullptr) return;  // a forked child that began anew
    own_arena->set_owner(0);
    own_arena = nullptr;
  }
};

HostArena& make_own_arena() {
  own_arena = &registry().take();
  thread_local const GiveUpAtThreadEnd at_end;
  return *own_arena;
}

bool inherited = true;

// A forked process that has none of the memory starts with a pool of its own.
void start_afresh_in_child() {
  if (inherited) return;
  own_arena = lent_arena = nullptr;
  registry_pointer() = new ArenaRegistry;
}

class CpuPool final : public MemoryPool {
 public:
  Storage* allocate(std::size_t nbytes) override { return thread_arena().allocate(nbytes); }
  void release(Storage* storage) override { storage->pool->release(storage); }

  PoolStats stats() const override {
    PoolStats sum;
    registry().for_each([&](const HostArena& arena) {
      const PoolStats one = arena.stats();
      sum.in_use_bytes += one.in_use_bytes;
      sum.peak_bytes += one.peak_bytes;
      sum.reserved_bytes += one.reserved_bytes;
      sum.system_allocations += one.system_allocations;
    });
    return sum;
  }

  void reset_peak() override {
    registry().for_each([](HostArena& arena) { arena.reset_peak(); });
  }

  Device device() const override { return {}; }
};

std::array<MemoryPool*, 64> cuda_pools{};
thread_local MemoryPool* thread_pool = nullptr;

}  // namespace

HostArena& thread_arena() {
  if (lent_arena != nullptr) return *lent_arena;
  return own_arena != nullptr ? *own_arena : make_own_arena();
}

HostArena* exchange_thread_arena(HostArena* arena) { return std::exchange(lent_arena, arena); }

MemoryPool& cpu_pool() {
  static auto* pool = new CpuPool;
  return *pool;
}

void prefault_memory(std::size_t nbytes) { thread_arena().prefault(nbytes); }

MemoryNotInherited::MemoryNotInherited() {
  static const int registered = ::pthread_atfork(nullptr, nullptr, start_afresh_in_child);
  LS_CHECK(registered == 0 && inherited, "memory: pthread_atfork says " + std::to_string(registered));
  inherited = false;
  registry().for_each([](HostArena& arena) { arena.set_inherited(false); });
}
MemoryNotInherited::~MemoryNotInherited() {
  inherited = true;
  registry().for_each([](HostArena& arena) { arena.set_inherited(true); });
}

MemoryPool& pool_of(Device device) {
  if (device.kind == DeviceKind::kCpu) return cpu_pool();
  if (thread_pool != nullptr && thread_pool->device() == device) return *thread_pool;
  MemoryPool* pool = cuda_pools.at(static_cast<std::size_t>(device.index));
  LS_CHECK(pool != nullptr, "no memory pool is registered for " + device.str());
  return *pool;
}

MemoryPool* exchange_thread_pool(MemoryPool* pool) { return std::exchange(thread_pool, pool); }

void register_pool(Device device, MemoryPool* pool) {
  LS_CHECK(device.kind == DeviceKind::kCuda, "only GPU pools are registered");
  cuda_pools.at(static_cast<std::size_t>(device.index)) = pool;
}

}  // namespace lockstep
