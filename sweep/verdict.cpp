// The verdict of a sweep: which batch loses nothing, which is fastest, where the critical batch lies, which scaling rule held.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "sweep/judge.h"
#include "sweep/statistics.h"
#include "sweep/verdict_text.h"

namespace lockstep {
namespace {

constexpr double kSpreads = 2;         // without loss: at most so many spreads of a seed below the best
constexpr double kConfidence = 0.95;   // of Welch's intervals
constexpr std::size_t kRuleBatches = 3;  // fewer say nothing about a scaling rule
constexpr double kRuleHolds = 0.6;     // a rule's error in powers of 2: rates are tried in steps of 2, so half a step is the grid's

bool judged(const BatchSummary& batch) { return batch.complete && batch.mean_top1.has_value(); }

std::vector<double> final_top1(const SweepResult& result, const BatchSummary& batch) {
  std::vector<double> values;
  for (const TrialRecord& trial : result.trials)
    if (trial.batch == batch.batch && trial.lr == batch.best_lr && trial.role != TrialRole::kProbe && trial.status == TrialStatus::kFinished &&
        trial.final_top1)
      values.push_back(*trial.final_top1);
  return values;
}

const BatchSummary* best_of(const SweepResult& result) {
  const BatchSummary* best = nullptr;
  for (const BatchSummary& batch : result.batches)
    if (judged(batch) && (best == nullptr || *batch.mean_top1 > *best->mean_top1)) best = &batch;
  return best;
}

void find_spread(const SweepResult& result, const BatchSummary& best, SweepVerdict& verdict) {
  std::vector<double> spreads;
  for (const BatchSummary& batch : result.batches)
    if (judged(batch) && batch.sd_top1) spreads.push_back(*batch.sd_top1);
  verdict.spread_is_sampling = spreads.empty();
  const double p = *best.mean_top1;
  verdict.spread =
      spreads.empty() ? std::sqrt(p * (1 - p) / static_cast<double>(std::max<std::int64_t>(result.eval_samples, 1))) : median_of(spreads);
  verdict.tolerance = kSpreads * verdict.spread;
}

void compare_with_best(SweepResult& result, const BatchSummary& best) {
  const std::vector<double> best_values = final_top1(result, best);
  for (BatchSummary& batch : result.batches) {
    if (!judged(batch)) continue;
    batch.difference = *batch.mean_top1 - *best.mean_top1;
    if (&batch != &best) {
      if (const auto interval = welch_interval(final_top1(result, batch), best_values, kConfidence)) {
        batch.difference_low = interval->low;
        batch.difference_high = interval->high;
      }
    }
    const bool all_seeds = batch.seeds == static_cast<int>(result.seeds.size());  // none diverged
    batch.without_loss = all_seeds && *batch.difference >= -result.verdict.tolerance;
    if (batch.without_loss) result.verdict.largest_without_loss = batch.batch;
  }
}

// Accuracies end where the target is: a batch that all its seeds reach it with has lost nothing that this sweep can see.
void compare_with_target(SweepResult& result) {
  for (BatchSummary& batch : result.batches) {
    batch.without_loss = judged(batch) && batch.reached == static_cast<int>(result.seeds.size());
    if (batch.without_loss) result.verdict.largest_without_loss = batch.batch;
  }
}

void find_fastest(SweepResult& result) {
  double seconds = 0, samples = 0;
  for (const BatchSummary& batch : result.batches) {
    if (!batch.complete) continue;
    if (batch.seconds_to_target && (!result.verdict.fastest || *batch.seconds_to_target < seconds)) {
      result.verdict.fastest = batch.batch;
      seconds = *batch.seconds_to_target;
    }
    if (batch.samples_to_target && (!result.verdict.fewest_samples || *batch.samples_to_target < samples)) {
      result.verdict.fewest_samples = batch.batch;
      samples = *batch.samples_to_target;
    }
  }
}

void fit_critical_batch(SweepResult& result) {
  std::vector<BatchPoint> points;
  for (const BatchSummary& batch : result.batches)
    if (batch.complete && batch.samples_to_target) points.push_back({static_cast<double>(batch.batch), *batch.samples_to_target});
  SweepVerdict& verdict = result.verdict;
  verdict.fit = fit_batch_law(points);
  if (verdict.fit.valid() && std::isfinite(verdict.fit.critical_batch) && verdict.predicted_critical)
    verdict.predicted_over_fitted = *verdict.predicted_critical / verdict.fit.critical_batch;
}

// Deviation of log2(rate) from a line of this slope through their middle.
double error_of_slope(const std::vector<double>& log_batch, const std::vector<double>& log_rate, double slope) {
  std::vector<double> offsets;
  for (std::size_t i = 0; i < log_batch.size(); ++i) offsets.push_back(log_rate[i] - slope * log_batch[i]);
  const double middle = mean_of(offsets);
  double squares = 0;
  for (const double offset : offsets) squares += (offset - middle) * (offset - middle);
  return std::sqrt(squares / static_cast<double>(offsets.size()));
}

void judge_rules(SweepResult& result) {
  std::vector<double> log_batch, log_rate;
  for (const BatchSummary& batch : result.batches) {
    if (!batch.without_loss || !batch.best_lr) continue;
    log_batch.push_back(std::log2(static_cast<double>(batch.batch)));
    log_rate.push_back(std::log2(*batch.best_lr));
  }
  if (log_batch.size() < kRuleBatches) return;
  const double x = mean_of(log_batch), y = mean_of(log_rate);
  double xx = 0, xy = 0;
  for (std::size_t i = 0; i < log_batch.size(); ++i) {
    xx += (log_batch[i] - x) * (log_batch[i] - x);
    xy += (log_batch[i] - x) * (log_rate[i] - y);
  }
  SweepVerdict& verdict = result.verdict;
  verdict.lr_exponent = xy / xx;
  verdict.linear_error = error_of_slope(log_batch, log_rate, 1);
  verdict.sqrt_error = error_of_slope(log_batch, log_rate, 0.5);
  const double smaller = std::min(*verdict.linear_error, *verdict.sqrt_error);
  verdict.lr_rule = smaller > kRuleHolds ? "neither" : *verdict.linear_error <= *verdict.sqrt_error ? "linear" : "square root";
}

}  // namespace

void give_verdict(SweepResult& result) {
  if (const BatchSummary* best = best_of(result)) {
    result.verdict.best_batch = best->batch;
    if (result.stop_at_target) {
      compare_with_target(result);
    } else {
      find_spread(result, *best, result.verdict);
      compare_with_best(result, *best);
    }
    find_fastest(result);
    fit_critical_batch(result);
    judge_rules(result);
  }
  result.verdict.text = verdict_text(result);
}

}  // namespace lockstep
