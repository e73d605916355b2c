// SPDX-License-Identifier: Apache-2.0
#include "data/work_crew.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "core/error.h"

namespace lockstep {
namespace {

constexpr auto kTickInterval = std::chrono::milliseconds(200);

class Crew {
 public:
  Crew(std::int64_t count, std::int64_t piece, const std::function<void(int, std::int64_t, std::int64_t)>& body)
      : count_(count), piece_(piece), body_(body) {}

  void run(int threads, const std::function<void(std::int64_t)>& tick) {
    busy_ = threads;
    std::vector<std::jthread> crew;
    try {
      for (int worker = 0; worker < threads; ++worker) crew.emplace_back([this, worker] { work(worker); });
    } catch (const std::system_error& error) {
      next_ = count_;  // those that there are end now
      crew.clear();
      throw EnvironmentError(fmt::format("starting {} threads: {}", threads, error.what()));
    }
    std::unique_lock lock(mutex_);
    while (!all_done_.wait_for(lock, kTickInterval, [this] { return busy_ == 0; }))
      if (tick) tick(done_.load());
    lock.unlock();
    crew.clear();  // joins
    if (failure_) std::rethrow_exception(failure_);
    if (tick) tick(done_.load());
  }

 private:
  void work(int worker) {
    try {
      for (;;) {
        const std::int64_t begin = next_.fetch_add(piece_);
        if (begin >= count_) break;
        const std::int64_t end = std::min(begin + piece_, count_);
        body_(worker, begin, end);
        done_ += end - begin;
      }
    } catch (...) {
      next_ = count_;  // the others take no more
      const std::scoped_lock lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
    }
    const std::scoped_lock lock(mutex_);
    if (--busy_ == 0) all_done_.notify_one();
  }

  const std::int64_t count_, piece_;
  const std::function<void(int, std::int64_t, std::int64_t)>& body_;
  std::atomic<std::int64_t> next_{0}, done_{0};
  std::mutex mutex_;
  std::condition_variable all_done_;
  int busy_ = 0;
  std::exception_ptr failure_;
};

}  // namespace

int crew_size(int threads) {
  if (threads > 0) return threads;
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

void for_each_piece(std::int64_t count, std::int64_t piece, int threads,
                    const std::function<void(int, std::int64_t, std::int64_t)>& body, const std::function<void(std::int64_t)>& tick) {
  const std::int64_t pieces = (count + piece - 1) / piece;
  if (pieces == 0) return;
  Crew(count, piece, body).run(static_cast<int>(std::min<std::int64_t>(threads, pieces)), tick);
}

}  // namespace lockstep
