// SPDX-License-Identifier: Apache-2.0
#include "distributed/local_transport.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

namespace lockstep {

LocalHub::LocalHub(int ranks, int ranks_per_host) : ranks_per_host_(ranks_per_host) {
  for (int rank = 0; rank < ranks; ++rank) boxes_.push_back(std::make_unique<Mailbox>());
}

namespace {

class LocalTransport final : public Transport {
 public:
  LocalTransport(std::shared_ptr<LocalHub> hub, int rank) : hub_(std::move(hub)), rank_(rank) {}
  ~LocalTransport() override { abandon(); }

  int rank() const override { return rank_; }
  int size() const override { return hub_->size(); }
  std::string_view name() const override { return "local"; }
  std::string host() const override { return hub_->host_of(rank_); }

  Request send(int to, int tag, const void* data, std::size_t nbytes) override {
    auto done = std::make_shared<std::atomic<bool>>(false);
    LocalHub::Mailbox& box = hub_->box(to);
    const std::lock_guard lock(box.mutex);
    box.posts.push_back({rank_, tag, data, nbytes, done});
    return add({.peer = to, .is_send = true, .done = std::move(done)});
  }

  Request receive(int from, int tag, void* data, std::size_t nbytes) override {
    return add({.peer = from, .tag = tag, .data = data, .nbytes = nbytes});
  }

  bool test(Request& request) override {
    if (request.slot < 0) return true;
    stall_while_suspended();
    Pending& pending = pending_[static_cast<std::size_t>(request.slot)];
    const bool complete = pending.is_send ? pending.done->load(std::memory_order_acquire) : take_message(pending);
    if (complete) {
      pending = {.free = true};
      request.slot = -1;
    }
    return complete;
  }

  void abandon() override {
    for (int to = 0; to < size(); ++to) {
      LocalHub::Mailbox& box = hub_->box(to);
      const std::lock_guard lock(box.mutex);
      std::erase_if(box.posts, [this](const auto& post) { return post.from == rank_; });
    }
    pending_.clear();
  }

  void send_control(int to, std::span<const std::byte> message) override {
    LocalHub::Mailbox& box = hub_->box(to);
    const std::lock_guard lock(box.mutex);
    box.control.emplace_back(message.begin(), message.end());
  }

  bool poll_control(std::vector<std::byte>& message) override {
    stall_while_suspended();
    LocalHub::Mailbox& box = hub_->box(rank_);
    const std::lock_guard lock(box.mutex);
    if (box.control.empty()) return false;
    message = std::move(box.control.front());
    box.control.pop_front();
    return true;
  }

  void end_processes(ExitCode) override {}
  bool can_end_processes() const override { return false; }
  void close() override {}

 private:
  struct Pending {
    int peer = 0, tag = 0;
    void* data = nullptr;
    std::size_t nbytes = 0;
    bool is_send = false, free = false;
    std::shared_ptr<std::atomic<bool>> done;
  };

  Request add(Pending pending) {
    const auto free = std::find_if(pending_.begin(), pending_.end(), [](const Pending& p) { return p.free; });
    const auto slot = static_cast<std::int32_t>(free - pending_.begin());
    if (free == pending_.end())
      pending_.push_back(std::move(pending));
    else
      *free = std::move(pending);
    return {slot};
  }

  bool take_message(const Pending& pending) {
    LocalHub::Mailbox& box = hub_->box(rank_);
    const std::lock_guard lock(box.mutex);
    const auto post = std::find_if(box.posts.begin(), box.posts.end(), [&](const LocalHub::PostedSend& p) {
      return p.from == pending.peer && p.tag == pending.tag;
    });
    if (post == box.posts.end()) return false;
    LS_CHECK(post->nbytes == pending.nbytes, "rank " + std::to_string(pending.peer) + " sent " +
                                                 std::to_string(post->nbytes) + " bytes, rank " + std::to_string(rank_) +
                                                 " expected " + std::to_string(pending.nbytes));
    if (pending.nbytes > 0) std::memcpy(pending.data, post->data, pending.nbytes);
    post->done->store(true, std::memory_order_release);
    box.posts.erase(post);
    return true;
  }

  // What SIGSTOP does to a process, for tests: nothing moves until resume.
  void stall_while_suspended() {
    while (hub_->box(rank_).suspended) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  std::shared_ptr<LocalHub> hub_;
  int rank_;
  std::vector<Pending> pending_;
};

}  // namespace

std::unique_ptr<Transport> make_local_transport(std::shared_ptr<LocalHub> hub, int rank) {
  return std::make_unique<LocalTransport>(std::move(hub), rank);
}

}  // namespace lockstep
