// LocalGroup: W ranks as threads of one process. Runs the very code that MPI ranks run, over a transport of shared
// memory, so that everything about several ranks can be tested under the address and thread sanitizers.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "distributed/communicator.h"

namespace lockstep {

class LocalHub;
class QueuedCommunicator;

class LocalGroup {
 public:
  // `ranks_per_host`: so many consecutive ranks act as if they were on a host of their own and share no memory with the
  // rest; 0: all on one host.
  explicit LocalGroup(int ranks, const CommunicatorOptions& options = {}, int ranks_per_host = 0) : LocalGroup(ranks, options, ranks_per_host, {}) {}
  // `wrap` makes the rank's communicator out of the one that this group would have (which always has a thread, also for one rank).
  using Wrap = std::function<std::unique_ptr<Communicator>(std::unique_ptr<QueuedCommunicator>)>;
  LocalGroup(int ranks, const CommunicatorOptions& options, int ranks_per_host, const Wrap& wrap);
  ~LocalGroup();

  int size() const { return static_cast<int>(communicators_.size()); }
  // Owned by the group. Use each from one thread at a time.
  Communicator& communicator(int rank) { return *communicators_[static_cast<std::size_t>(rank)]; }

  // Runs fn(communicator) for all ranks, each on its own thread. A rank's exception aborts the others; the first one
  // (by time) is thrown here after all have ended.
  void run(const std::function<void(Communicator&)>& fn);

  // Fault injection: the rank's communication thread stops taking part, like a process under SIGSTOP. Until resume.
  void suspend(int rank);
  void resume(int rank);

 private:
  std::shared_ptr<LocalHub> hub_;
  std::vector<std::unique_ptr<Communicator>> communicators_;
};

}  // namespace lockstep
