// SPDX-License-Identifier: Apache-2.0
#include "core/rehearsal.h"

#include <algorithm>
#include <deque>

#include "core/error.h"
#include "core/host_arena.h"
#include "core/range_allocator.h"

namespace lockstep {
namespace {

thread_local bool rehearsing = false;

}  // namespace

// Hands out addresses of a device that nothing backs, and remembers how far they reached.
class DryPool final : public MemoryPool {
 public:
  explicit DryPool(Device device) : device_(device), ranges_(kBytes) {}

  Storage* allocate(std::size_t nbytes) override {
    const auto offset = ranges_.allocate(nbytes);
    LS_CHECK(offset.has_value(), "a rehearsal of " + std::to_string(nbytes) + " bytes more than there are addresses");
    stats_.in_use_bytes += RangeAllocator::rounded(nbytes);
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.in_use_bytes);
    stats_.reserved_bytes = ranges_.top();
    storages_.push_back(std::make_unique<Storage>(kFirst + *offset, nbytes, this, 1, nullptr));
    return storages_.back().get();
  }
  void release(Storage* storage) override {
    ranges_.release(static_cast<std::size_t>(storage->data - kFirst), storage->nbytes);
    stats_.in_use_bytes -= RangeAllocator::rounded(storage->nbytes);
  }
  PoolStats stats() const override { return stats_; }
  void reset_peak() override { stats_.peak_bytes = stats_.in_use_bytes; }
  Device device() const override { return device_; }

 private:
  static constexpr std::size_t kBytes = std::size_t{1} << 46;
  static inline std::byte* const kFirst = reinterpret_cast<std::byte*>(std::uintptr_t{1} << 46);

  const Device device_;
  RangeAllocator ranges_;
  PoolStats stats_;
  std::deque<std::unique_ptr<Storage>> storages_;
};

Rehearsal::Rehearsal(Device device) : arena_(std::make_unique<HostArena>(false)) {
  LS_CHECK(!rehearsing, "a rehearsal within a rehearsal");
  arena_->set_owner(memory_thread_id());
  before_ = exchange_thread_arena(arena_.get());
  if (device != Device{}) {
    dry_ = std::make_unique<DryPool>(device);
    pool_before_ = exchange_thread_pool(dry_.get());
  }
  rehearsing = true;
}

Rehearsal::~Rehearsal() {
  rehearsing = false;
  exchange_thread_arena(before_);
  if (dry_) exchange_thread_pool(pool_before_);
  if (dry_ && dry_->stats().in_use_bytes > 0) dry_.release();  // tensors were left: their pool stays
  if (arena_->stats().in_use_bytes > 0) arena_.release()->set_owner(0);
}

std::size_t Rehearsal::peak_bytes() const { return (dry_ ? dry_->stats() : arena_->stats()).reserved_bytes; }

bool Rehearsal::active() { return rehearsing; }

}  // namespace lockstep
