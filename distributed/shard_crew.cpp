// SPDX-License-Identifier: Apache-2.0
#include "distributed/shard_crew.h"

#include <string>

#include "core/error.h"

namespace lockstep {
namespace {

struct Unwind {};  // ends a shard whose crew has failed; never leaves this file

}  // namespace

ShardCrew::ShardCrew(int shards)
    : shards_(shards), states_(static_cast<std::size_t>(shards), ShardState::kIdle),
      conditions_(static_cast<std::size_t>(shards), nullptr) {
  LS_CHECK(shards >= 1, "a crew of " + std::to_string(shards) + " shards");
  if (shards == 1) return;
  for (int shard = 0; shard < shards; ++shard) threads_.emplace_back([this, shard] { thread_main(shard); });
}

ShardCrew::~ShardCrew() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  turn_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ShardCrew::run(const std::function<void(int)>& fn) {
  if (shards_ == 1) {
    fn(0);
    return;
  }
  std::unique_lock lock(mutex_);
  fn_ = &fn;
  first_error_ = nullptr;
  stopping_ = false;
  states_.assign(states_.size(), ShardState::kRunnable);
  holder_ = 0;
  turn_.notify_all();
  turn_.wait(lock, [this] { return holder_ == kNobody; });
  fn_ = nullptr;
  if (first_error_) std::rethrow_exception(first_error_);
}

void ShardCrew::thread_main(int shard) {
  std::unique_lock lock(mutex_);
  while (true) {
    turn_.wait(lock, [&] { return closing_ || (holder_ == shard && state(shard) == ShardState::kRunnable); });
    if (closing_) return;
    const std::function<void(int)>& fn = *fn_;
    const bool start = !stopping_;
    lock.unlock();
    std::exception_ptr error;
    try {
      if (start) fn(shard);
    } catch (const Unwind&) {
      // another shard's error is the one to report
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    if (error && !first_error_) first_error_ = error;
    if (error) stopping_ = true;
    state(shard) = ShardState::kEnded;
    pass_baton(shard);
  }
}

void ShardCrew::wait_until(int shard, const std::function<bool()>& ready) {
  if (ready()) return;
  LS_CHECK(shards_ > 1, "a single shard waits for another one");
  std::unique_lock lock(mutex_);
  conditions_[static_cast<std::size_t>(shard)] = &ready;
  state(shard) = ShardState::kWaiting;
  pass_baton(shard);
  turn_.wait(lock, [&] { return holder_ == shard; });
  conditions_[static_cast<std::size_t>(shard)] = nullptr;
  state(shard) = ShardState::kRunnable;
  if (stopping_) throw Unwind{};
}

// With the lock held. Conditions look at shared state, which only the holder changes: evaluating them here is safe.
bool ShardCrew::may_run(int shard) const {
  if (state(shard) == ShardState::kRunnable) return true;
  return state(shard) == ShardState::kWaiting && (stopping_ || (*conditions_[static_cast<std::size_t>(shard)])());
}

void ShardCrew::pass_baton(int from) {
  for (int pass = 0; pass < 2; ++pass) {
    bool waiting = false;
    for (int i = 1; i <= shards_; ++i) {
      const int next = (from + i) % shards_;
      waiting = waiting || state(next) == ShardState::kWaiting;
      if (!may_run(next)) continue;
      holder_ = next;
      turn_.notify_all();
      return;
    }
    if (!waiting) break;
    // Nobody can run, but somebody waits: the shards made different calls. Let the waiting ones unwind.
    if (!first_error_)
      first_error_ = std::make_exception_ptr(
          InternalError("shards wait in batch norm for others that have ended: they made different calls"));
    stopping_ = true;
  }
  holder_ = kNobody;
  turn_.notify_all();
}

}  // namespace lockstep
