// ShardCrew: runs a rank's local shards side by side, one at a time, so that they can meet inside batch norm.
//
// Each shard has its own thread; a baton decides which one runs. The baton moves only when the holder waits in
// wait_until (batch norm) or ends, always to the next runnable shard in cyclic order: runs are deterministic and shard code needs
// no locks. Threads are kept between runs. A crew of one runs on the caller's thread.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace lockstep {

class ShardCrew {
 public:
  explicit ShardCrew(int shards);
  ~ShardCrew();
  ShardCrew(const ShardCrew&) = delete;
  ShardCrew& operator=(const ShardCrew&) = delete;

  int shards() const { return shards_; }

  // Calls fn(0) .. fn(shards - 1) and returns when all have ended. The first exception ends the others at their next
  // meeting and is thrown here. InternalError if a shard ends while others wait for it.
  void run(const std::function<void(int)>& fn);

  // Called by shard code that waits for other local shards: passes the baton on until `ready()` holds (evaluated under
  // the baton). Throws to unwind the shard when another one failed.
  void wait_until(int shard, const std::function<bool()>& ready);

 private:
  enum class ShardState : std::uint8_t { kIdle, kRunnable, kWaiting, kEnded };
  static constexpr int kNobody = -1;

  void thread_main(int shard);
  bool may_run(int shard) const;
  void pass_baton(int from);
  ShardState& state(int shard) { return states_[static_cast<std::size_t>(shard)]; }
  ShardState state(int shard) const { return states_[static_cast<std::size_t>(shard)]; }

  int shards_;
  std::mutex mutex_;
  std::condition_variable turn_;
  const std::function<void(int)>* fn_ = nullptr;
  std::vector<ShardState> states_;
  std::vector<const std::function<bool()>*> conditions_;  // what a waiting shard waits for
  int holder_ = kNobody;                                  // the shard that may run
  bool stopping_ = false;                                 // the run has failed: everybody unwinds
  bool closing_ = false;                                  // the crew is being destroyed
  std::exception_ptr first_error_;
  std::vector<std::thread> threads_;                      // last: all else exists when they start
};

}  // namespace lockstep
