// SPDX-License-Identifier: Apache-2.0
#include "distributed/queued_communicator.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <type_traits>

#include "distributed/shared_connect.h"

namespace lockstep {
namespace {

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

constexpr std::int64_t to_ns(double seconds) { return static_cast<std::int64_t>(seconds * 1e9); }

// How the process ends when nobody listens: the message, then no destructors (they could wait for what is stuck).
void print_and_exit(ExitCode code, const std::string& message) {
  std::fprintf(stderr, "environment error: %s\n", message.c_str());
  std::fflush(stderr);
  ::_exit(static_cast<int>(code));
}

}  // namespace

QueuedCommunicator::QueuedCommunicator(std::unique_ptr<Transport> transport, const CommunicatorOptions& options)
    : transport_(std::move(transport)),
      collectives_(*transport_, *this, options.chunk_bytes),
      on_abandoned_(options.on_abandoned ? options.on_abandoned : print_and_exit),
      share_memory_(options.share_memory),
      hosts_(static_cast<std::size_t>(transport_->size()), "?"),
      start_ns_(now_ns()),
      deadline_seconds_(options.deadline_seconds),
      slots_(kSlots),
      report_dir_(options.report_dir),
      answers_(static_cast<std::size_t>(transport_->size())),
      thread_([this] { thread_main(); }) {}

QueuedCommunicator::~QueuedCommunicator() { stop_thread(); }

void QueuedCommunicator::stop_thread() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  work_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void QueuedCommunicator::connect() {
  hosts_[static_cast<std::size_t>(rank())] = transport_->host();
  hosts_ = all_gather_strings(transport_->host(), "hosts of all ranks");
  local_rank_ = static_cast<int>(std::count(hosts_.begin(), hosts_.begin() + rank(), host_of(rank())));
  transport_name_ = transport_->name();
  if (!share_memory_) return;
  SharedConnection shared = connect_shared_memory(*this, hosts_, *this);
  if (!shared.note.empty()) transport_name_ += ", " + shared.note;
  const std::lock_guard lock(mutex_);  // the communication thread takes it before its next operation
  shared_ = std::move(shared.group);
  collectives_.use_shared_memory(shared_.get());
}

Tensor QueuedCommunicator::make_buffer(const Shape& shape, DType dtype) {
  return shared_ ? shared_->make_buffer(shape, dtype) : Communicator::make_buffer(shape, dtype);
}

// ---- the caller's side

template <class Fill>
Ticket QueuedCommunicator::submit(std::string_view label, std::size_t nbytes, Fill fill, std::int64_t step) {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return surfaced_ || submitted_ - completed_ < kSlots; });
  if (surfaced_) throw_failure();
  LS_CHECK(!stop_, "a collective after finalize()");
  const Ticket number = submitted_ + 1;
  Operation& operation = slots_[number % kSlots];
  operation.number = number;
  operation.times = {.submitted_ns = now_ns()};
  fill(operation);
  OperationRecord& record = recorder_.add(number);
  record.step = step >= 0 ? step : step_.load();
  record.submitted_ns = operation.times.submitted_ns - start_ns_;
  record.nbytes = nbytes;
  copy_label(record.label, label);
  submitted_ = number;
  lock.unlock();
  work_.notify_one();
  return number;
}

void QueuedCommunicator::throw_failure() {
  heard_ = true;
  done_.notify_all();
  throw EnvironmentError(failure_->message, failure_->code);
}

const QueuedCommunicator::Operation& QueuedCommunicator::finished(Ticket ticket) {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return completed_ >= ticket || surfaced_; });
  if (completed_ < ticket) throw_failure();
  return slots_[ticket % kSlots];  // stays as it is until this caller submits kSlots more
}

void QueuedCommunicator::all_gather(std::span<const std::byte> mine, std::span<std::byte> all, std::string_view label) {
  LS_CHECK(all.size() == mine.size() * static_cast<std::size_t>(size()),
           fmt::format("all_gather of {} bytes from {} ranks into {} bytes", mine.size(), size(), all.size()));
  const Ticket ticket = submit(label, mine.size(), [&](Operation& operation) {
    operation.kind = Kind::kAllGather;
    operation.mine.assign(mine.begin(), mine.end());
    operation.bytes.resize(all.size());
  });
  std::ranges::copy(finished(ticket).bytes, all.begin());
}

void QueuedCommunicator::broadcast(std::span<std::byte> bytes, int root, std::string_view label) {
  LS_CHECK(root >= 0 && root < size(), fmt::format("broadcast from rank {} of {}", root, size()));
  const Ticket ticket = submit(label, bytes.size(), [&](Operation& operation) {
    operation.kind = Kind::kBroadcast;
    operation.root = root;
    operation.bytes.assign(bytes.begin(), bytes.end());
  });
  std::ranges::copy(finished(ticket).bytes, bytes.begin());
}

void QueuedCommunicator::barrier(std::string_view label) {
  const std::byte mine{1};
  std::vector<std::byte> all(static_cast<std::size_t>(size()));
  all_gather(std::span(&mine, 1), all, label);
}

Ticket QueuedCommunicator::all_reduce_async(Tensor buffer, const ReduceOptions& options, std::string_view label) {
  check_reduce(buffer, options, size());
  const std::size_t nbytes = buffer.nbytes();
  const bool staged = buffer.device() != Device{};
  if (staged && !staging_) staging_ = std::make_unique<DeviceStaging>(buffer.device());
  return submit(label, nbytes, [&](Operation& operation) {
    operation.kind = staged ? Kind::kStagedAllReduce : Kind::kAllReduce;
    operation.buffer = std::move(buffer);
    operation.options = options;
    if (staged) staging_->submitted(operation.number, operation.buffer);
  });
}

void QueuedCommunicator::set_followed(Followed* followed) {
  const std::lock_guard lock(mutex_);
  followed_ = followed;
}

Ticket QueuedCommunicator::follow(int place, std::size_t nbytes, std::string_view label, std::int64_t step) {
  const auto fill = [&](Operation& operation) {
    operation.kind = Kind::kFollow;
    operation.place = place;
  };
  return submit(label, nbytes, fill, step);
}

void QueuedCommunicator::check() {
  const std::lock_guard lock(mutex_);
  if (surfaced_) throw_failure();
}

OperationTimes QueuedCommunicator::wait(Ticket ticket) { return finished(ticket).times; }

void QueuedCommunicator::set_activity(std::int64_t step, const char* activity) {
  step_ = step;
  activity_ = activity;
}

void QueuedCommunicator::set_report_dir(const std::string& directory) {
  const std::lock_guard lock(mutex_);
  report_dir_ = directory;
}

void QueuedCommunicator::set_deadline(double seconds) { deadline_seconds_ = seconds; }

void QueuedCommunicator::abort(ExitCode code, const std::string& message) {
  std::unique_lock lock(mutex_);
  abort_request_ = Failure{code, message};
  heard_ = true;  // the caller is on its way out
  work_.notify_all();
  const bool done = done_.wait_for(lock, std::chrono::seconds(1), [&] { return abort_done_; });
  lock.unlock();
  if (!done) on_abandoned_(code, message);
}

void QueuedCommunicator::finalize() {
  barrier("finalize");
  stop_thread();
  transport_->close();
}

// ---- the communication thread's side

namespace {
struct DeadlineMissed {};
struct Stopped {};
}  // namespace

void QueuedCommunicator::thread_main() {
  // Sleeps of 5 us must not be rounded up by the default slack of 50 us.
  ::prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);
  while (Operation* operation = next_operation()) {
    try {
      execute(*operation);
    } catch (const DeadlineMissed&) {
      give_verdict(*operation, ExitCode::kTempFail, fmt::format("a collective missed its deadline of {:.3g} s", deadline_seconds_.load()));
    } catch (const FollowedFailed& error) {
      give_verdict(*operation, error.failure.code, error.failure.message);
    } catch (const Stopped&) {
      break;
    } catch (const Error& error) {
      fail({error.code(), error.what()}, 0);
    }
  }
  transport_->abandon();
}

QueuedCommunicator::Operation* QueuedCommunicator::next_operation() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (!failure_ && completed_ < submitted_) return &slots_[(completed_ + 1) % kSlots];
    if (!abort_request_ || abort_done_) work_.wait_for(lock, std::chrono::milliseconds(20));
    lock.unlock();
    try {
      serve();
    } catch (const Error& error) {
      fail({error.code(), error.what()}, 0);
    }
    lock.lock();
  }
  return nullptr;
}

void QueuedCommunicator::execute(Operation& operation) {
  {
    const std::lock_guard lock(mutex_);
    operation.times.started_ns = now_ns();
    recorder_.at(operation.number).started_ns = operation.times.started_ns - start_ns_;
  }
  deadline_ns_ = operation.times.started_ns + to_ns(deadline_seconds_);
  waiting_since_ns_ = 0;
  run(operation);
  {
    const std::lock_guard lock(mutex_);
    operation.buffer = {};
    operation.times.done_ns = now_ns();
    recorder_.at(operation.number).done_ns = operation.times.done_ns - start_ns_;
    completed_ = operation.number;
  }
  done_.notify_all();
}

void QueuedCommunicator::run(Operation& operation) {
  const int tag = static_cast<int>(operation.number % 32768);  // MPI guarantees tags up to 32767
  switch (operation.kind) {
    case Kind::kAllReduce: return collectives_.all_reduce(operation.buffer, operation.options, tag);
    case Kind::kStagedAllReduce: return reduce_staged(operation, tag);
    case Kind::kAllGather: return collectives_.all_gather(operation.mine, operation.bytes, tag);
    case Kind::kBroadcast: return collectives_.broadcast(operation.bytes, operation.root, tag);
    case Kind::kFollow: return run_followed(operation);
  }
}

void QueuedCommunicator::wait_for(const std::function<bool()>& done) {
  while (!done()) pause();
  progressed();
}

void QueuedCommunicator::run_followed(const Operation& operation) {
  wait_for([&] {
    try {
      return followed_->done(operation.place);
    } catch (const EnvironmentError& error) {
      throw FollowedFailed{{error.code(), error.what()}};
    }
  });
}

void QueuedCommunicator::reduce_staged(Operation& operation, int tag) {
  DeviceStaging& staging = *staging_;
  wait_for([&] { return staging.arrived(operation.number); });
  const View host = staging.start_to_host(operation.buffer);
  wait_for([&] { return staging.copied(); });
  collectives_.all_reduce(host, operation.options, tag);
  staging.start_to_device(operation.buffer);
  wait_for([&] { return staging.copied(); });
}

// Sleeps for a sixteenth of the time waited so far, 5 us to 1 ms: what a late look adds stays small beside the wait, and
// waiting for a slow rank leaves the processor to those who compute.
void QueuedCommunicator::pause() {
  if (stop_) throw Stopped{};
  const std::int64_t now = now_ns();
  if (now > deadline_ns_) throw DeadlineMissed{};
  if (waiting_since_ns_ == 0) waiting_since_ns_ = now;
  const std::int64_t sleep_ns = std::clamp<std::int64_t>((now - waiting_since_ns_) / 16, 5'000, 1'000'000);
  // Looking for control messages costs as much as looking for data: only when data is slow.
  if (sleep_ns > 100'000) serve();
  std::this_thread::sleep_for(std::chrono::nanoseconds(sleep_ns));
}

void QueuedCommunicator::serve() {
  serve_control();
  std::unique_lock lock(mutex_);
  if (abort_request_ && !abort_done_) {
    const Failure request = *abort_request_;
    lock.unlock();
    tell_abort(request);
    transport_->end_processes(request.code);
    lock.lock();
    abort_done_ = true;
    done_.notify_all();
  }
  if (peer_abort_ && !failure_) throw EnvironmentError(peer_abort_->message, peer_abort_->code);
}

}  // namespace lockstep
