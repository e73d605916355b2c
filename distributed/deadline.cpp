// QueuedCommunicator, the part that runs when an operation misses its deadline: questions, answers, verdict, end.
// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>

#include "distributed/queued_communicator.h"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kAnswerSeconds = 0.3;  // an idle communication thread looks every 20 ms
constexpr double kHoldSeconds = 0.4;    // head start of the speaker, so that one rank reports and not all
constexpr double kHearSeconds = 1.0;    // for the caller to come and hear of the failure

enum class ControlKind : std::uint32_t { kQuestion = 1, kAnswer = 2 };

struct ControlHeader {
  ControlKind kind;
  std::int32_t rank;
};

}  // namespace

void QueuedCommunicator::serve_control() {
  static_assert(std::is_trivially_copyable_v<Status>);
  while (transport_->poll_control(control_)) {
    ControlHeader header{};
    if (control_.size() < sizeof header) continue;
    std::memcpy(&header, control_.data(), sizeof header);
    if (header.rank < 0 || header.rank >= size()) continue;
    if (header.kind == ControlKind::kAnswer && control_.size() == sizeof header + sizeof(Status)) {
      Status status;
      std::memcpy(&status, control_.data() + sizeof header, sizeof status);
      answers_[static_cast<std::size_t>(header.rank)] = status;
    } else if (header.kind == ControlKind::kQuestion) {
      const Status status = own_status();
      const ControlHeader reply{ControlKind::kAnswer, rank()};
      std::vector<std::byte> message(sizeof reply + sizeof status);
      std::memcpy(message.data(), &reply, sizeof reply);
      std::memcpy(message.data() + sizeof reply, &status, sizeof status);
      transport_->send_control(header.rank, message);
    }
  }
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
  const ControlHeader question{ControlKind::kQuestion, rank()};
  for (int peer = 0; peer < size(); ++peer)
    if (peer != rank()) transport_->send_control(peer, std::as_bytes(std::span(&question, 1)));
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

void QueuedCommunicator::miss_deadline(const Operation& operation) {
  try {
    transport_->abandon();
    const auto statuses = ask_everybody();
    std::string path;
    {
      const std::lock_guard lock(mutex_);
      if (!report_dir_.empty()) path = report_dir_ + "/collectives_rank" + std::to_string(rank()) + ".txt";
    }
    path = write_report(statuses, path);
    const Verdict verdict = judge(operation.number, rank(), deadline_seconds_, statuses, hosts_, path);
    fail({ExitCode::kTempFail, verdict.message}, verdict.speaker == rank() ? 0 : kHoldSeconds);
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
    serve_for(hold_seconds, heard);
    {
      const std::lock_guard lock(mutex_);
      surfaced_ = true;
    }
    done_.notify_all();
    serve_for(kHearSeconds, heard);
  } catch (const Error&) {
    // the transport fails while we report: the report counts
  }
  if (!heard() && !stop_) on_abandoned_(failure_->code, failure_->message);
}

}  // namespace lockstep
