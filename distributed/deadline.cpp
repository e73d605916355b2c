// QueuedCommunicator, the part that runs when an operation misses its deadline, or fails elsewhere: questions, answers, verdict, end.
// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>
#include <type_traits>

#include "distributed/queued_communicator.h"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kAnswerSeconds = 0.25;  // an idle communication thread looks every 20 ms
constexpr double kHoldSeconds = 0.8;     // head start of the speaker, so that one rank reports and not all
constexpr double kKilledSeconds = 1.5;   // for the launcher to end us, after a peer's abort
constexpr double kHearSeconds = 1.0;     // for the caller to come and hear of the failure

enum class ControlKind : std::uint32_t { kQuestion = 1, kAnswer = 2, kAbort = 3 };

struct ControlHeader {
  ControlKind kind;
  std::int32_t rank;
};

// A header and what follows it: an answer's Status, an abort's exit code and text.
std::vector<std::byte> make_control(ControlKind kind, int rank, std::span<const std::byte> first = {},
                                    std::span<const std::byte> second = {}) {
  const ControlHeader header{kind, rank};
  std::vector<std::byte> message(sizeof header + first.size() + second.size());
  std::memcpy(message.data(), &header, sizeof header);
  std::ranges::copy(first, message.begin() + sizeof header);
  std::ranges::copy(second, message.end() - static_cast<std::ptrdiff_t>(second.size()));
  return message;
}

}  // namespace

void QueuedCommunicator::serve_control() {
  while (transport_->poll_control(control_)) handle_control(control_);
}

void QueuedCommunicator::handle_control(std::span<const std::byte> message) {
  static_assert(std::is_trivially_copyable_v<Status>);
  ControlHeader header{};
  if (message.size() < sizeof header) return;
  std::memcpy(&header, message.data(), sizeof header);
  const auto body = message.subspan(sizeof header);
  if (header.rank < 0 || header.rank >= size()) return;
  if (header.kind == ControlKind::kAnswer && body.size() == sizeof(Status)) {
    std::memcpy(&answers_[static_cast<std::size_t>(header.rank)].emplace(), body.data(), sizeof(Status));
  } else if (header.kind == ControlKind::kQuestion) {
    const Status status = own_status();
    transport_->send_control(header.rank, make_control(ControlKind::kAnswer, rank(), std::as_bytes(std::span(&status, 1))));
  } else if (header.kind == ControlKind::kAbort && body.size() >= sizeof(ExitCode) && !peer_abort_) {
    Failure failure;
    std::memcpy(&failure.code, body.data(), sizeof(ExitCode));
    const auto text = body.subspan(sizeof(ExitCode));
    failure.message = "stopped, because rank " + std::to_string(header.rank) + " failed: " +
                      std::string(reinterpret_cast<const char*>(text.data()), text.size());
    peer_abort_ = failure;
  }
}

void QueuedCommunicator::tell_abort(const Failure& failure) {
  const auto text = std::span(failure.message).first(std::min<std::size_t>(failure.message.size(), 1000));
  const auto message = make_control(ControlKind::kAbort, rank(), std::as_bytes(std::span(&failure.code, 1)), std::as_bytes(text));
  for (int peer = 0; peer < size(); ++peer)
    if (peer != rank()) transport_->send_control(peer, message);
}

Status QueuedCommunicator::own_status() {
  Status status;
  status.rank = rank();
  status.pid = static_cast<std::int32_t>(::getpid());
  status.step = step_;
  copy_label(status.activity, activity_.load());
  const std::lock_guard lock(mutex_);
  status.submitted = submitted_;
  status.completed = completed_;
  recorder_.fill(status);
  return status;
}

std::vector<std::optional<Status>> QueuedCommunicator::ask_everybody() {
  answers_.assign(static_cast<std::size_t>(size()), std::nullopt);
  answers_[static_cast<std::size_t>(rank())] = own_status();
  const auto question = make_control(ControlKind::kQuestion, rank());
  for (int peer = 0; peer < size(); ++peer)
    if (peer != rank()) transport_->send_control(peer, question);
  serve_for(kAnswerSeconds, [this] {
    for (const auto& answer : answers_)
      if (!answer) return false;
    return true;
  });
  return answers_;
}

void QueuedCommunicator::serve_for(double seconds, const std::function<bool()>& until) {
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  while (Clock::now() < end && !stop_ && !until()) {
    serve();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

void QueuedCommunicator::give_verdict(const Operation& operation, ExitCode code, const std::string& cause) {
  try {
    transport_->abandon();
    const auto statuses = ask_everybody();
    std::string path;
    {
      const std::lock_guard lock(mutex_);
      if (!report_dir_.empty()) path = report_dir_ + "/collectives_rank" + std::to_string(rank()) + ".txt";
    }
    path = write_report(statuses, path);
    const std::string where = operation.kind == Kind::kFollow ? followed_->where(operation.place) : std::string{};
    const Verdict verdict = judge(operation.number, rank(), cause, where, statuses, hosts_, path);
    fail({code, verdict.message}, verdict.speaker == rank() ? 0 : kHoldSeconds);
  } catch (const Error& error) {  // a peer's abort was quicker, or the transport is broken too
    fail({error.code(), error.what()}, 0);
  }
}

// Returns the path, or nothing if there is no file: the verdict must come out on a full disk too.
std::string QueuedCommunicator::write_report(const std::vector<std::optional<Status>>& statuses,
                                             const std::string& path) const {
  if (path.empty()) return {};
  std::ofstream file(path);
  file << describe_collectives(statuses, hosts_);
  file.close();
  return file ? path : std::string{};
}

// From here on nothing is executed. Callers hear of it after `hold_seconds`; if none comes, the hook ends the process.
void QueuedCommunicator::fail(Failure failure, double hold_seconds) {
  {
    const std::lock_guard lock(mutex_);
    if (failure_) return;
    failure_ = std::move(failure);
  }
  const auto heard = [this] {
    const std::lock_guard lock(mutex_);
    return heard_;
  };
  try {
    serve_for(hold_seconds, [&] { return heard() || peer_abort_; });
    if (!peer_abort_)
      tell_abort(*failure_);
    else if (transport_->can_end_processes())  // a peer reports, and the launcher ends us too: we could only add noise
      serve_for(kKilledSeconds, heard);
    Followed* followed = nullptr;
    {
      const std::lock_guard lock(mutex_);
      surfaced_ = true;
      followed = followed_;
    }
    done_.notify_all();
    if (followed != nullptr) followed->give_up();  // the caller may be waiting for the device, and hear only then
    serve_for(kHearSeconds, heard);
  } catch (const Error&) {
    // the transport fails while we report: the report counts
  }
  if (!heard() && !stop_) on_abandoned_(failure_->code, failure_->message);
}

}  // namespace lockstep
