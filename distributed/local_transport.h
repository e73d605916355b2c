// LocalTransport: messages between threads of one process. A send posts a descriptor into the receiver's mailbox; the
// receiver copies straight from the sender's memory when it tests its receive.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "distributed/transport.h"

namespace lockstep {

// What the ranks of one group share.
class LocalHub {
 public:
  LocalHub(int ranks, int ranks_per_host);  // 0: all on "localhost"
  int size() const { return static_cast<int>(boxes_.size()); }

  struct PostedSend {
    int from = 0, tag = 0;
    const void* data = nullptr;
    std::size_t nbytes = 0;
    std::shared_ptr<std::atomic<bool>> done;
  };
  struct Mailbox {
    std::mutex mutex;  // held while a message is copied, so that removing a post also waits for its copy
    std::deque<PostedSend> posts;
    std::deque<std::vector<std::byte>> control;
    std::atomic<bool> suspended{false};
  };
  std::string host_of(int rank) const { return ranks_per_host_ == 0 ? "localhost" : "host" + std::to_string(rank / ranks_per_host_); }
  Mailbox& box(int rank) { return *boxes_[static_cast<std::size_t>(rank)]; }

 private:
  const int ranks_per_host_;
  std::vector<std::unique_ptr<Mailbox>> boxes_;
};

std::unique_ptr<Transport> make_local_transport(std::shared_ptr<LocalHub> hub, int rank);

}  // namespace lockstep
