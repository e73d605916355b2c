// SPDX-License-Identifier: Apache-2.0
#include "sweep/halving.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

namespace lockstep {
namespace {

const TrialProgress* find(const SweepProgress& progress, const TrialKey& key) {
  const auto found = progress.find(key);
  return found == progress.end() ? nullptr : &found->second;
}

// It came to the rung's end, or had no need to.
bool survived(const SweepPlan& plan, const TrialProgress& progress, int rung) { return progress.rung >= rung || is_there(plan, progress); }

bool has_result(const SweepPlan& plan, const TrialProgress* progress, int rung) {
  return progress != nullptr && (progress->diverged || survived(plan, *progress, rung));
}

std::size_t kept_of(std::size_t entered, const SweepOptions& options) {
  return std::max(static_cast<std::size_t>(options.keep), (entered + 2) / 3);
}

// Where the target was reached by this rung's end.
std::optional<TrialEvaluation> reached_by(const SweepPlan& plan, const BatchPlan& batch, int rung, const TrialProgress& progress) {
  const auto reached = plan.options.target ? first_reaching(progress.measured.evaluations, *plan.options.target) : std::nullopt;
  return reached && reached->step <= batch.rung_steps[static_cast<std::size_t>(rung)] ? reached : std::nullopt;
}

// The rates that survive this rung, ascending.
std::vector<double> survivors(const SweepPlan& plan, const BatchPlan& batch, int rung, const std::vector<double>& entered,
                              const SweepProgress& progress, std::size_t places) {
  std::vector<double> alive;
  const auto of = [&](double lr) -> const TrialProgress& { return progress.at({batch.batch, lr, plan.seeds.front()}); };
  for (const double lr : entered)
    if (survived(plan, of(lr), rung)) alive.push_back(lr);  // what diverged later counts here, as it would have been seen then
  std::sort(alive.begin(), alive.end(), [&](double a, double b) { return better(plan, batch, rung, of(a), a, of(b), b); });
  alive.resize(std::min(alive.size(), places));
  std::sort(alive.begin(), alive.end());
  return alive;
}

}  // namespace

bool is_there(const SweepPlan& plan, const TrialProgress& progress) {
  return plan.options.stop_at_target && first_reaching(progress.measured.evaluations, *plan.options.target);
}

std::optional<double> top1_at(const BatchPlan& batch, int rung, const TrialProgress& progress) {
  const std::int64_t step = batch.rung_steps[static_cast<std::size_t>(rung)];
  for (const TrialEvaluation& each : progress.measured.evaluations)
    if (each.step == step) return each.top1;
  return std::nullopt;
}

bool better(const SweepPlan& plan, const BatchPlan& batch, int rung, const TrialProgress& a, double lr_a, const TrialProgress& b, double lr_b) {
  const auto rank = [&](const TrialProgress& progress, double lr) {
    const auto there = plan.options.select == Select::kTarget ? reached_by(plan, batch, rung, progress) : std::nullopt;
    if (there) return std::tuple(static_cast<double>(there->step), -there->top1, lr);
    return std::tuple(std::numeric_limits<double>::infinity(), -top1_at(batch, rung, progress).value_or(-1), lr);
  };
  return rank(a, lr_a) < rank(b, lr_b);
}

BatchDecision decide(const SweepPlan& plan, const BatchPlan& batch, const SweepProgress& progress) {
  BatchDecision decision;
  const auto need = [&](double lr, std::uint64_t seed, int rung) {
    const TrialKey key{batch.batch, lr, seed};
    if (!has_result(plan, find(progress, key), rung)) decision.tasks.push_back({key, rung});
  };
  std::vector<double> entered = batch.lrs;
  for (int rung = 0; rung < plan.rungs(); ++rung) {
    decision.entered.push_back(entered);
    for (const double lr : entered) need(lr, plan.seeds.front(), rung);
    if (!decision.tasks.empty()) return decision;
    const bool last = rung + 1 == plan.rungs();
    entered = survivors(plan, batch, rung, entered, progress, last ? 1 : kept_of(entered.size(), plan.options));
  }
  if (!entered.empty()) decision.chosen = entered.front();
  if (decision.chosen)
    for (const std::uint64_t seed : plan.seeds) need(*decision.chosen, seed, plan.rungs() - 1);
  decision.complete = decision.tasks.empty();
  return decision;
}

std::vector<TrialTask> next_tasks(const SweepPlan& plan, const SweepProgress& progress) {
  std::vector<TrialTask> tasks;
  if (plan.probe) {
    const TrialProgress* probe = find(progress, *plan.probe);
    const int rung = probe == nullptr ? 0 : probe->rung + 1;
    if (rung < plan.rungs() && (probe == nullptr || !probe->diverged)) tasks.push_back({*plan.probe, rung});
  }
  std::vector<const BatchPlan*> order;
  for (const BatchPlan& batch : plan.batches) order.push_back(&batch);
  const auto distance = [&](const BatchPlan* batch) {
    return std::abs(std::log(static_cast<double>(batch->batch) / static_cast<double>(plan.base_batch)));
  };
  std::stable_sort(order.begin(), order.end(), [&](const BatchPlan* a, const BatchPlan* b) { return distance(a) < distance(b); });
  for (const BatchPlan* batch : order)
    for (const TrialTask& task : decide(plan, *batch, progress).tasks)
      if (tasks.empty() || tasks.front().key != task.key) tasks.push_back(task);  // the probe comes first and once
  return tasks;
}

int remaining_tasks(const SweepPlan& plan, const SweepProgress& progress) {
  int remaining = 0;
  if (plan.probe) {
    const TrialProgress* probe = find(progress, *plan.probe);
    if (probe == nullptr || !probe->diverged) remaining += plan.rungs() - 1 - (probe == nullptr ? -1 : probe->rung);
  }
  for (const BatchPlan& batch : plan.batches) {
    const BatchDecision decision = decide(plan, batch, progress);
    remaining += static_cast<int>(decision.tasks.size());
    if (decision.complete || decision.chosen) continue;
    std::size_t rates = decision.entered.back().size();
    for (int rung = static_cast<int>(decision.entered.size()); rung < plan.rungs(); ++rung) {
      rates = std::min(rates, kept_of(rates, plan.options));
      remaining += static_cast<int>(rates);
    }
    remaining += static_cast<int>(plan.seeds.size()) - 1;
  }
  return remaining;
}

}  // namespace lockstep
