// SPDX-License-Identifier: Apache-2.0
#include "train/checkpoint/saver.h"

#include <fmt/format.h>

#include "train/checkpoint/save_helper.h"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

}  // namespace

struct CheckpointSaver::Outcome : SaveAnswer {};

struct CheckpointSaver::Helper {
  SharedMemory memory;
  std::unique_ptr<HelperProcess> process;
};

CheckpointSaver::CheckpointSaver(std::string directory, Fs& fs, CheckpointOptions options, SaverOptions saver_options)
    : directory_(std::move(directory)), fs_(fs), options_(std::move(options)), saver_options_(std::move(saver_options)),
      helper_(std::make_unique<Helper>()) {
  CheckpointStore(directory_, fs_, options_);  // refuses bad options here rather than in the helper
  helper_->process = std::make_unique<HelperProcess>(directory_, fs_, options_, helper_->memory);
}

CheckpointSaver::~CheckpointSaver() = default;

bool CheckpointSaver::busy() const { return in_flight_.has_value(); }

int CheckpointSaver::helper_pid() const { return helper_->process->pid(); }

bool CheckpointSaver::request(const TrainingState& state, bool is_best) {
  poll();
  if (in_flight_) {
    ++stats_.skipped;
    if (const double seconds = seconds_since(in_flight_->start); seconds > saver_options_.deadline_s)
      fail(fmt::format("checkpoint of step {} is not finished after {:.0f} s: is the storage hanging?", in_flight_->step, seconds),
           ExitCode::kIo, false);
    return false;
  }
  submit(state, is_best);
  return true;
}

void CheckpointSaver::submit(const TrainingState& state, bool is_best) {
  if (!helper_->process->alive())
    helper_->process = std::make_unique<HelperProcess>(directory_, fs_, options_, helper_->memory);
  const auto start = Clock::now();
  const SaveOrder order = snapshot(state, is_best, helper_->memory);
  helper_->process->send(order);
  in_flight_ = InFlight{state.step, start, seconds_since(start)};
}

std::optional<CheckpointSaver::Outcome> CheckpointSaver::take_outcome(double timeout_s) {
  if (!in_flight_) return std::nullopt;
  std::optional<SaveAnswer> answer = helper_->process->receive(timeout_s);
  if (!answer) return std::nullopt;
  answer->report.snapshot_seconds = in_flight_->snapshot_seconds;
  in_flight_.reset();
  return Outcome{std::move(*answer)};
}

void CheckpointSaver::account(const Outcome& outcome, bool throw_now) {
  for (const std::string& warning : outcome.warnings) saver_options_.warn(warning);
  if (!outcome.error.empty()) return fail(outcome.error, outcome.code, throw_now);
  ++stats_.saved;
  stats_.failed_in_row = 0;
  last_ = outcome.report;
  saver_options_.on_saved(outcome.report);
}

void CheckpointSaver::fail(const std::string& message, ExitCode code, bool throw_now) {
  ++stats_.failed;
  ++stats_.failed_in_row;
  // Another job has taken over: going on could only do harm.
  if (throw_now || code == ExitCode::kCantCreate) throw EnvironmentError(message, code);
  saver_options_.warn(message);
  if (stats_.failed_in_row >= saver_options_.max_failures)
    throw EnvironmentError(fmt::format("{} checkpoints in a row failed, so training stops; the last: {}", stats_.failed_in_row,
                                       message), ExitCode::kIo);
}

void CheckpointSaver::poll() {
  if (const auto outcome = take_outcome(0)) account(*outcome, false);
}

void CheckpointSaver::wait() {
  if (!in_flight_) return;
  const std::uint64_t step = in_flight_->step;
  if (const auto outcome = take_outcome(saver_options_.deadline_s)) return account(*outcome, false);
  fail(fmt::format("checkpoint of step {} is not finished after {:.0f} s: is the storage hanging?", step, saver_options_.deadline_s),
       ExitCode::kIo, true);
}

SaveReport CheckpointSaver::save_now(const TrainingState& state, bool is_best) {
  try {
    wait();
  } catch (const EnvironmentError& error) {
    // An earlier save that failed, even for the last time, is no reason not to try this one.
    if (in_flight_ || error.code() != ExitCode::kIo) throw;
  }
  submit(state, is_best);
  const auto outcome = take_outcome(saver_options_.deadline_s);
  if (!outcome)
    fail(fmt::format("checkpoint of step {} is not finished after {:.0f} s: is the storage hanging?", state.step,
                     saver_options_.deadline_s), ExitCode::kIo, true);
  account(*outcome, true);
  return *last_;
}

}  // namespace lockstep
