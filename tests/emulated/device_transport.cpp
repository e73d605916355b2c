// SPDX-License-Identifier: Apache-2.0
#include "tests/emulated/device_transport.h"

#include <cstring>

#include "cuda/launch.h"
#include "cuda/runtime.h"
#include "tests/emulated/device_state.h"

namespace lockstep::cuda::emulated {

namespace {

// A rank's side of it. Work that is still queued when the transport is gone does nothing.
struct Side {
  std::shared_ptr<TransportHub::State> hub;
  int rank = 0;
  std::uint64_t meetings = 0;  // that this rank has left
  bool ended() const { return hub->aborted[static_cast<std::size_t>(rank)] != 0; }
};

// From the last rank to the first: not the order of the tree, and every partial sum is rounded to the dtype.
template <class T>
void sum_as(const std::vector<std::vector<std::byte>>& all, void* values, std::int64_t numel) {
  auto* out = static_cast<T*>(values);
  std::memcpy(out, all.back().data(), static_cast<std::size_t>(numel) * sizeof(T));
  for (std::size_t r = all.size() - 1; r-- > 0;)
    for (std::int64_t i = 0; i < numel; ++i) {
      const T each = reinterpret_cast<const T*>(all[r].data())[i];
      if constexpr (sizeof(T) == 2)
        out[i] = T(static_cast<float>(out[i]) + static_cast<float>(each));
      else
        out[i] = out[i] + each;
    }
}

void sum(DType dtype, const std::vector<std::vector<std::byte>>& all, void* values, std::int64_t numel) {
  if (dtype == DType::kF32) return sum_as<float>(all, values, numel);
  if (dtype == DType::kF64) return sum_as<double>(all, values, numel);
  sum_as<bf16>(all, values, numel);
}

class EmulatedTransport final : public DeviceTransport {
 public:
  EmulatedTransport(std::shared_ptr<TransportHub::State> hub, int rank, int device)
      : side_(std::make_shared<Side>(Side{.hub = std::move(hub), .rank = rank})), device_(device) {}
  ~EmulatedTransport() override { EmulatedTransport::abort(); }

  std::string name() const override { return "emulated"; }

  bool ready() override {
    TransportHub::State& hub = *side_->hub;
    const std::lock_guard lock(hub.mutex);
    const auto failure = hub.failures.find(side_->rank);
    if (failure != hub.failures.end()) throw EnvironmentError(failure->second, ExitCode::kTempFail);
    if (side_->ended()) throw EnvironmentError("the emulated transport was ended", ExitCode::kTempFail);
    return ++asked_ > 2;  // takes its time to start
  }

  void exchange(Stream stream, int peer, const void* sent, std::size_t sent_bytes, void* received, std::size_t received_bytes) override {
    give(stream, [=, side = side_, posted = false]() mutable {
      TransportHub::State& hub = *side->hub;
      const std::lock_guard lock(hub.mutex);
      if (side->ended()) return;
      if (!posted && hub.hangs(side->rank)) throw NotYet{};
      if (!posted && sent_bytes > 0) {
        const auto* bytes = static_cast<const std::byte*>(sent);
        hub.queues[{side->rank, peer}].emplace_back(bytes, bytes + sent_bytes);
        ++hub.messages;
      }
      posted = true;
      auto& queue = hub.queues[{peer, side->rank}];
      if (received_bytes > 0 && queue.empty()) throw NotYet{};
      posted = false;  // for the next replay
      if (received_bytes == 0) return;
      if (queue.front().size() != received_bytes)
        hub.failures[side->rank] = "got " + std::to_string(queue.front().size()) + " bytes, want " + std::to_string(received_bytes);
      else
        std::memcpy(received, queue.front().data(), received_bytes);
      queue.pop_front();
    });
  }

  void all_reduce(Stream stream, DType dtype, void* values, std::int64_t numel) override {
    give(stream, [=, side = side_, entered = false]() mutable {
      TransportHub::State& hub = *side->hub;
      const std::lock_guard lock(hub.mutex);
      if (side->ended()) return;
      TransportHub::Meeting& meeting = hub.meetings[side->meetings];
      if (!entered) {
        meeting.values.resize(static_cast<std::size_t>(hub.ranks));
        const auto* bytes = static_cast<const std::byte*>(values);
        meeting.values[static_cast<std::size_t>(side->rank)].assign(bytes, bytes + static_cast<std::size_t>(numel) * dtype_size(dtype));
        ++meeting.come;
        entered = true;
      }
      if (meeting.come < hub.ranks) throw NotYet{};
      sum(dtype, meeting.values, values, numel);
      if (++meeting.left == hub.ranks) hub.meetings.erase(side->meetings);
      ++side->meetings;
      entered = false;
    });
  }

  void abort() override {
    const std::lock_guard lock(side_->hub->mutex);
    side_->hub->aborted[static_cast<std::size_t>(side_->rank)] = 1;
  }
  void close() override {}

 private:
  void give(Stream stream, std::function<void()> work) const {
    runtime::use_device(device_);
    note_launch();
    enqueue_work(stream, std::move(work));
  }

  const std::shared_ptr<Side> side_;
  const int device_;
  int asked_ = 0;
};

}  // namespace

TransportHub::TransportHub(int ranks) {
  state_->ranks = ranks;
  state_->aborted.assign(static_cast<std::size_t>(ranks), 0);
}

MakeDeviceTransport TransportHub::maker() {
  return [state = state_](const DeviceTransportSetup& setup) {
    return std::make_unique<EmulatedTransport>(state, setup.host.rank(), setup.device.index);
  };
}

void TransportHub::fail(int rank, const std::string& message) {
  const std::lock_guard lock(state_->mutex);
  state_->failures[rank] = message;
}

void TransportHub::hang(int rank, int messages) {
  const std::lock_guard lock(state_->mutex);
  state_->left_to_hang[rank] = messages;
}

bool TransportHub::State::hangs(int rank) {
  const auto left = left_to_hang.find(rank);
  if (left == left_to_hang.end()) return false;
  if (left->second == 0) return true;
  --left->second;
  return false;
}

bool TransportHub::aborted(int rank) {
  const std::lock_guard lock(state_->mutex);
  return state_->aborted[static_cast<std::size_t>(rank)] != 0;
}

int TransportHub::messages() {
  const std::lock_guard lock(state_->mutex);
  return state_->messages;
}

}  // namespace lockstep::cuda::emulated
