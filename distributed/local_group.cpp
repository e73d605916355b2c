// SPDX-License-Identifier: Apache-2.0
#include "distributed/local_group.h"

#include <exception>
#include <mutex>
#include <thread>

#include "distributed/local_transport.h"
#include "distributed/queued_communicator.h"

namespace lockstep {

LocalGroup::LocalGroup(int ranks, const CommunicatorOptions& options, int ranks_per_host, const Wrap& wrap)
    : hub_(std::make_shared<LocalHub>(ranks, ranks_per_host)) {
  LS_CHECK(ranks >= 1, "a group of " + std::to_string(ranks) + " ranks");
  if (ranks == 1 && !wrap) {
    communicators_.push_back(make_solo_communicator());
    return;
  }
  std::vector<std::thread> threads;
  std::vector<std::unique_ptr<QueuedCommunicator>> queued;
  for (int rank = 0; rank < ranks; ++rank) {
    queued.push_back(std::make_unique<QueuedCommunicator>(make_local_transport(hub_, rank), options));
    threads.emplace_back([raw = queued.back().get()] { raw->connect(); });
  }
  for (std::thread& thread : threads) thread.join();
  for (auto& each : queued) communicators_.push_back(wrap ? wrap(std::move(each)) : std::move(each));
}

LocalGroup::~LocalGroup() {
  for (int rank = 0; rank < hub_->size(); ++rank) resume(rank);
}

void LocalGroup::run(const std::function<void(Communicator&)>& fn) {
  std::mutex mutex;
  std::exception_ptr first;
  std::vector<std::thread> threads;
  for (const auto& communicator : communicators_) {
    threads.emplace_back([&, raw = communicator.get()] {
      try {
        fn(*raw);
      } catch (...) {
        const auto error = std::current_exception();
        ExitCode code = ExitCode::kInternal;
        std::string message = "unknown exception";
        try {
          std::rethrow_exception(error);
        } catch (const Error& e) {
          code = e.code();
          message = e.what();
        } catch (const std::exception& e) {
          message = e.what();
        }
        {
          const std::lock_guard lock(mutex);
          if (!first) first = error;
        }
        raw->abort(code, message);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (first) std::rethrow_exception(first);
}

void LocalGroup::suspend(int rank) { hub_->box(rank).suspended = true; }
void LocalGroup::resume(int rank) { hub_->box(rank).suspended = false; }

}  // namespace lockstep
