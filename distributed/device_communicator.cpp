// SPDX-License-Identifier: Apache-2.0
#include "distributed/device_communicator.h"

#include <fmt/format.h>

#include <chrono>
#include <thread>
#include <utility>

#include "distributed/collectives.h"
#include "distributed/device_choice.h"
#include "distributed/device_memory.h"

namespace lockstep {
namespace {

constexpr std::size_t kMostRecorded = 1024;  // all-reduces of a recorded step; further ones leave no mark
constexpr auto kAbortPatience = std::chrono::seconds(2);
constexpr auto kVerdictPatience = std::chrono::seconds(2);

}  // namespace

DeviceCommunicator::DeviceCommunicator(std::unique_ptr<QueuedCommunicator> host, MakeDeviceTransport make, const CommunicatorOptions& options)
    : host_(std::move(host)), make_(std::move(make)), pretend_hosts_(options.pretend_hosts), name_(host_->transport()) {
  host_->set_followed(this);
}

DeviceCommunicator::~DeviceCommunicator() {
  host_.reset();  // its thread calls this
  if (transport_) give_up();
  // A transport that doesn't come back is left behind: the process is about to end.
  if (aborted_.valid()) aborted_.wait_for(kAbortPatience);
}

void DeviceCommunicator::pause() const {
  host_->check();
  std::this_thread::sleep_for(std::chrono::microseconds(20));
}

void DeviceCommunicator::use_device(Device device, const std::string& gpu) {
  if (accelerator_ != nullptr) {
    LS_CHECK(device == accelerator_->device(), "use_device: " + device.str() + " after " + accelerator_->device().str());
    return;
  }
  if (!pretend_hosts_) check_one_gpu_per_rank(*host_, gpu);
  accelerator_ = &accelerator_of(device);
  compute_ = accelerator_->compute_stream();
  stream_ = accelerator_->new_stream();
  ready_ = accelerator_->new_event();
  for (Place& place : places_) place.done = accelerator_->new_event();
  make_marks();
  collectives_.emplace(nullptr, *accelerator_, rank(), size());
  if (size() == 1) return;
  transport_ = make_({.host = *host_, .device = device, .pause = [this] { pause(); }, .pretend_hosts = pretend_hosts_});
  name_ = fmt::format("{}, {}", transport_->name(), host_->transport());
  collectives_.emplace(transport_.get(), *accelerator_, rank(), size());
  host_->wait(host_->follow(kStart, 0, "start of " + transport_->name()));
}

void DeviceCommunicator::make_marks() {
  const Shape shape{static_cast<std::int64_t>(kMostRecorded + 1)};
  marks_ = lasting_device_memory(shape, DType::kI64, accelerator_->device());
  Tensor values = Tensor::empty_in(accelerator_->pinned_pool(), shape, DType::kI64);
  for (std::size_t i = 0; i <= kMostRecorded; ++i) values.host<std::int64_t>()[i] = static_cast<std::int64_t>(i);
  accelerator_->copy(compute_, marks_.ptr(), values.ptr(), values.nbytes());
  progress_ = Tensor::empty_in(accelerator_->pinned_pool(), Shape{1}, DType::kI64);
  progress_.host<std::int64_t>()[0] = 0;
  accelerator_->synchronize(compute_);
}

// ---- all-reduces

DeviceCommunicator::Place& DeviceCommunicator::next_place() {
  Place& place = places_[++given_ % kPlaces];
  place.given.store(false, std::memory_order_relaxed);
  place.replayed = false;
  return place;
}

Ticket DeviceCommunicator::all_reduce_async(Tensor buffer, const ReduceOptions& options, std::string_view label) {
  check_reduce(buffer, options, size());
  if (buffer.device() == Device{}) return host_->all_reduce_async(std::move(buffer), options, label);
  LS_CHECK(accelerator_ != nullptr && buffer.device() == accelerator_->device(),
           "all-reduce of a tensor on " + buffer.device().str() + " without use_device");
  Place& place = next_place();
  if (recording_) {
    host_->check();
    recorded_bytes_ += buffer.nbytes();
    const std::lock_guard lock(labels_mutex_);
    labels_.emplace_back(label);
  } else {
    // First of all: if the work can't even be given, because a peer doesn't connect, that has a deadline too.
    host_->follow(static_cast<int>(given_ % kPlaces), buffer.nbytes(), label);
  }
  try {
    give(buffer, options, place);
  } catch (const EnvironmentError&) {
    await_verdict();
    throw;
  }
  return kDeviceTicket | given_;
}

// The transport has failed in this thread; the host communicator's will have noticed, and its error says more.
void DeviceCommunicator::await_verdict() const {
  const auto end = std::chrono::steady_clock::now() + kVerdictPatience;
  while (std::chrono::steady_clock::now() < end) pause();
}

void DeviceCommunicator::give(const Tensor& buffer, const ReduceOptions& options, Place& place) {
  View view{const_cast<void*>(buffer.ptr()), buffer.shape(), buffer.dtype(), buffer.device()};
  collectives_->reserve(view, options);
  accelerator_->record(ready_, compute_);
  accelerator_->wait(stream_, ready_);
  const std::size_t recorded = recording_ ? labels_.size() : 0;
  if (recorded == 1) mark_progress(0);
  collectives_->all_reduce(stream_, view, options);
  if (recorded > 0) mark_progress(recorded);
  accelerator_->record(place.done, stream_);
  place.given.store(true, std::memory_order_release);
}

void DeviceCommunicator::mark_progress(std::size_t reduced) {
  if (reduced > kMostRecorded) return;
  const auto* mark = static_cast<const std::byte*>(std::as_const(marks_).ptr()) + reduced * sizeof(std::int64_t);
  accelerator_->copy(stream_, progress_.ptr(), mark, sizeof(std::int64_t));
}

OperationTimes DeviceCommunicator::wait(Ticket ticket) {
  if ((ticket & kDeviceTicket) == 0) return host_->wait(ticket);
  const std::uint64_t number = ticket & ~kDeviceTicket;
  LS_CHECK(number >= 1 && number <= given_ && number + kPlaces > given_, fmt::format("wait for device operation {} of {}", number, given_));
  host_->check();
  accelerator_->wait(compute_, places_[number % kPlaces].done);
  return {};
}

// ---- recorded steps

void DeviceCommunicator::begin_recorded_step() {
  LS_CHECK(!recording_, "begin_recorded_step within a recorded step");
  recording_ = true;
  recorded_bytes_ = 0;
  const std::lock_guard lock(labels_mutex_);
  labels_.clear();
}

void DeviceCommunicator::end_recorded_step() {
  LS_CHECK(recording_, "end_recorded_step without begin_recorded_step");
  recording_ = false;
}

void DeviceCommunicator::watch(std::int64_t step) {
  LS_CHECK(accelerator_ != nullptr && !recording_, "watch of a step that is not a replay");
  Place& place = next_place();
  place.replayed = true;
  accelerator_->record(place.done, compute_);
  place.given.store(true, std::memory_order_release);
  host_->follow(static_cast<int>(given_ % kPlaces), recorded_bytes_, "recorded step", step);
}

// ---- the host communicator's thread

bool DeviceCommunicator::done(int place) {
  if (place == kEnd) return closed_;
  const bool ready = !transport_ || transport_->ready();
  if (place == kStart) return ready;
  Place& at = places_[static_cast<std::size_t>(place)];
  return at.given.load(std::memory_order_acquire) && accelerator_->done(at.done);
}

std::string DeviceCommunicator::where(int place) {
  if (place >= kPlaces || !places_[static_cast<std::size_t>(place)].replayed) return {};
  const std::lock_guard lock(labels_mutex_);
  const auto reduced = static_cast<std::size_t>(*const_cast<const volatile std::int64_t*>(progress_.host<std::int64_t>().data()));
  return reduced < labels_.size() ? "in " + labels_[reduced] : "";
}

void DeviceCommunicator::give_up() {
  const std::lock_guard lock(end_mutex_);
  if (!transport_ || aborted_.valid()) return;
  auto promise = std::make_shared<std::promise<void>>();
  aborted_ = promise->get_future();
  // Aborting may wait for the device, which may wait for the network: in a thread that nobody has to wait for.
  std::thread([promise, transport = transport_] {
    transport->abort();
    promise->set_value();
  }).detach();
}

void DeviceCommunicator::finalize() {
  if (transport_) {
    accelerator_->synchronize(stream_);
    host_->barrier("last all-reduces of the devices");  // from here on its thread doesn't ask the transport any more
    const Ticket end = host_->follow(kEnd, 0, "end of " + transport_->name());
    try {
      transport_->close();
    } catch (const EnvironmentError&) {
      await_verdict();
      throw;
    }
    closed_ = true;
    host_->wait(end);
    transport_.reset();
  }
  host_->finalize();
}

}  // namespace lockstep
