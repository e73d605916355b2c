// SPDX-License-Identifier: Apache-2.0
#include "sweep/run_sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iterator>
#include <map>
#include <set>
#include <thread>

#include "charts/number_text.h"
#include "sweep/judge.h"
#include "sweep/sweep_table.h"
#include "train/clock.h"

namespace lockstep {
namespace {

double now_s() { return static_cast<double>(steady_ns()) * 1e-9; }

// What earlier rungs were decided by stays, whatever became of the run's own files.
void keep_evaluations(const TrialMeasurement& before, TrialMeasurement& now) {
  const auto earlier = [](const TrialEvaluation& a, const TrialEvaluation& b) { return a.step < b.step; };
  std::vector<TrialEvaluation> merged;
  std::set_union(before.evaluations.begin(), before.evaluations.end(), now.evaluations.begin(), now.evaluations.end(), std::back_inserter(merged),
                 earlier);
  now.evaluations = std::move(merged);
}

class Sweep {
 public:
  Sweep(const SweepPlan& plan, const TrialStore& store, TrialRunner& runner, const RunSweepOptions& options)
      : plan_(plan), store_(store), runner_(runner), options_(options), began_s_(now_s()), slots_(static_cast<std::size_t>(options.jobs), false) {}

  SweepEnd run() {
    try {
      return work();
    } catch (...) {
      drain();
      throw;
    }
  }

 private:
  struct Running {
    TrialTask task;
    TrialClaim claim;
    std::size_t slot;
  };

  SweepEnd work() {
    reload();
    while (true) {
      const std::vector<TrialTask> tasks = next_tasks(plan_, progress_);
      if (tasks.empty() && running_.empty()) return SweepEnd::kComplete;
      if (options_.stop_wanted()) return stop(SweepEnd::kStopped);
      if (budget_left() <= 0) return stop(SweepEnd::kBudget);
      const bool waits = !start_what_fits(tasks) && running_.empty();
      if (waits && over_budget_ && !others_work_) return SweepEnd::kBudget;
      if (running_.empty())
        std::this_thread::sleep_for(std::chrono::duration<double>(options_.poll_s));
      else if (const auto end = runner_.poll(options_.poll_s))
        take(*end);
      if (now_s() - looked_s_ > options_.look_s) reload();
    }
  }

  double budget_left() const { return options_.budget_s ? *options_.budget_s - (now_s() - began_s_) : 1; }

  void reload() {
    progress_ = store_.load();
    busy_elsewhere_.clear();
    looked_s_ = now_s();
  }

  // True if something was started.
  bool start_what_fits(const std::vector<TrialTask>& tasks) {
    bool started = false;
    over_budget_ = others_work_ = false;
    for (const TrialTask& task : tasks) {
      const auto free = std::find(slots_.begin(), slots_.end(), false);
      if (free == slots_.end()) break;
      if (running_.count(task.key) > 0) continue;
      if (busy_elsewhere_.count(task.key) > 0) {
        others_work_ = true;
      } else if (too_long(task)) {
        over_budget_ = true;
      } else if (start(task, static_cast<std::size_t>(free - slots_.begin()))) {
        started = true;
      } else {
        others_work_ = true;
      }
    }
    return started;
  }

  bool too_long(const TrialTask& task) const {
    return options_.budget_s && estimate_seconds(plan_, task, progress_).value_or(0) > budget_left();
  }

  // False when somebody else has the trial, or has brought it there already.
  bool start(const TrialTask& task, std::size_t slot) {
    auto claim = store_.claim(task.key);
    if (!claim) {
      busy_elsewhere_.insert(task.key);
      return false;
    }
    if (auto theirs = store_.load(task.key); theirs && (theirs->diverged || theirs->rung >= task.rung)) {
      progress_.insert_or_assign(task.key, std::move(*theirs));
      return false;
    }
    runner_.start({.key = task.key,
                   .folder = plan_.folder_of(task.key),
                   .until_step = plan_.of(task.key.batch).rung_steps[static_cast<std::size_t>(task.rung)],
                   .stop_at_top1 = plan_.stops_at(task.key),
                   .lock_file = claim->file(),
                   .slot = static_cast<int>(slot)});
    slots_[slot] = true;
    running_.emplace(task.key, Running{task, std::move(*claim), slot});
    return true;
  }

  void take(const TrialEnd& end) {
    const auto found = running_.find(end.key);
    LS_CHECK(found != running_.end(), "a trial ended that was not started: " + end.key.name());
    const TrialTask task = found->second.task;
    const TrialClaim claim = std::move(found->second.claim);  // until what it reached is saved
    slots_[found->second.slot] = false;
    running_.erase(found);
    switch (end.kind) {
      case TrialEnd::Kind::kReached:
      case TrialEnd::Kind::kDiverged: record(task, end); break;
      case TrialEnd::Kind::kStopped: break;
      case TrialEnd::Kind::kLost:
        if (!stopping_) count_loss(end);
        break;
      case TrialEnd::Kind::kFailed: fail(end);
    }
  }

  void record(const TrialTask& task, const TrialEnd& end) {
    const bool diverged = end.kind == TrialEnd::Kind::kDiverged;
    const auto before = progress_.find(task.key);
    const int reached = before == progress_.end() ? -1 : before->second.rung;
    TrialProgress progress{.rung = diverged ? reached : task.rung, .diverged = diverged, .message = end.message, .measured = end.measured};
    if (before != progress_.end()) keep_evaluations(before->second.measured, progress.measured);
    store_.save(task.key, progress);
    progress_.insert_or_assign(task.key, progress);
    losses_.erase(task.key);
    options_.say(progress_line(plan_, task, progress, remaining_tasks(plan_, progress_)));
    if (task.key == plan_.probe && (diverged || task.rung + 1 == plan_.rungs())) tell_prediction();
    options_.changed(progress_);
  }

  void tell_prediction() const {
    if (const auto predicted = predict_critical_batch(plan_, progress_))
      options_.say(fmt::format("predicted critical batch, from the probe's gradient noise: {}", number_text(std::round(*predicted))));
    else
      options_.say("no critical batch is predicted: the probe measured no gradient noise");
  }

  void count_loss(const TrialEnd& end) {
    options_.say(fmt::format("trial {} was lost and is tried again: {}", end.key.name(), end.message));
    if (++losses_[end.key] < options_.most_losses) return;
    throw EnvironmentError(fmt::format("trial {} was lost {} times: {}\n  Its log: {}/trial.log. What is trained is saved; the same command goes on.",
                                       end.key.name(), options_.most_losses, end.message, plan_.folder_of(end.key)),
                           end.code);
  }

  [[noreturn]] void fail(const TrialEnd& end) const {
    const std::string text = fmt::format("trial {}: {}\n  Its log: {}/trial.log. What is trained is saved; the same command goes on.", end.key.name(),
                                         end.message, plan_.folder_of(end.key));
    const bool users = end.code == ExitCode::kUsage || end.code == ExitCode::kData || end.code == ExitCode::kNoInput;
    if (users) throw UserError(text, end.code);
    throw EnvironmentError(text, end.code);
  }

  SweepEnd stop(SweepEnd why) {
    if (!running_.empty())
      options_.say(fmt::format("stopping {} trial{}; what is trained is saved", running_.size(), running_.size() > 1 ? "s" : ""));
    stopping_ = true;
    runner_.stop_all();
    while (!running_.empty())
      if (const auto end = runner_.poll(options_.poll_s)) take(*end);
    return why;
  }

  // After an error: the others save and end; what they say no longer counts.
  void drain() {
    runner_.stop_all();
    while (!running_.empty())
      if (const auto end = runner_.poll(options_.poll_s)) running_.erase(end->key);
  }

  const SweepPlan& plan_;
  const TrialStore& store_;
  TrialRunner& runner_;
  const RunSweepOptions& options_;
  const double began_s_;
  std::vector<bool> slots_;
  SweepProgress progress_;
  std::map<TrialKey, Running> running_;
  std::set<TrialKey> busy_elsewhere_;  // since the last look
  std::map<TrialKey, int> losses_;
  double looked_s_ = 0;
  bool stopping_ = false;
  bool over_budget_ = false, others_work_ = false;  // why nothing was started
};

}  // namespace

SweepEnd run_sweep(const SweepPlan& plan, const TrialStore& store, TrialRunner& runner, const RunSweepOptions& options) {
  return Sweep(plan, store, runner, options).run();
}

std::optional<double> estimate_seconds(const SweepPlan& plan, const TrialTask& task, const SweepProgress& progress) {
  const TrialProgress* measured = nullptr;
  bool same_batch = false;
  for (const auto& [key, each] : progress) {
    if (!each.measured.images_per_second || same_batch) continue;
    same_batch = key.batch == task.key.batch;
    measured = &each;
  }
  if (measured == nullptr) return std::nullopt;
  const BatchPlan& batch = plan.of(task.key.batch);
  const auto found = progress.find(task.key);
  const std::int64_t from = found == progress.end() || found->second.rung < 0 ? 0 : batch.rung_steps[static_cast<std::size_t>(found->second.rung)];
  const std::int64_t steps = batch.rung_steps[static_cast<std::size_t>(task.rung)] - from;
  return static_cast<double>(steps * task.key.batch) / *measured->measured.images_per_second;
}

}  // namespace lockstep
