// SPDX-License-Identifier: Apache-2.0
#include "sweep/verdict_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "charts/number_text.h"

namespace lockstep {
namespace {

const BatchSummary& summary_of(const SweepResult& result, std::int64_t batch) {
  return *std::find_if(result.batches.begin(), result.batches.end(), [&](const BatchSummary& each) { return each.batch == batch; });
}

std::string accuracy(const BatchSummary& batch) {
  std::string text = percent_text(*batch.mean_top1);
  if (batch.sd_top1) text = fmt::format("{:.2f} +- {:.2f} %", 100 * *batch.mean_top1, 100 * *batch.sd_top1);
  return text + (batch.seeds > 1 ? fmt::format(" over {} seeds", batch.seeds) : " with one seed");
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) text += (i == 0 ? "" : i + 1 == words.size() ? " and " : ", ") + words[i];
  return text;
}

// Batches for which `holds`, as a list.
template <class Holds>
std::vector<std::string> batches_that(const SweepResult& result, const Holds& holds) {
  std::vector<std::string> names;
  for (const BatchSummary& batch : result.batches)
    if (batch.complete && holds(batch)) names.push_back(number_text(static_cast<double>(batch.batch)));
  return names;
}

std::string reach_text(const SweepResult& result) {
  const auto& largest = result.verdict.largest_without_loss;
  std::string text = largest ? fmt::format("Largest batch that reached {} with all its seeds: {}.", percent_text(*result.target),
                                           number_text(static_cast<double>(*largest)))
                             : fmt::format("No batch reached {} with all its seeds.", percent_text(*result.target));
  return text + " Trials stopped there (--stop-at-target): final accuracies are not compared.";
}

std::string loss_text(const SweepResult& result) {
  const SweepVerdict& verdict = result.verdict;
  const BatchSummary& best = summary_of(result, *verdict.best_batch);
  const std::string meaning =
      fmt::format("at most {:.2f} points below the best, twice {}", 100 * verdict.tolerance,
                  verdict.spread_is_sampling ? "the sampling error of the evaluation set (one seed shows no spread)" : "the spread of a seed");
  if (!verdict.largest_without_loss) return fmt::format("No batch trained all its seeds without loss ({}).", meaning);
  const BatchSummary& largest = summary_of(result, *verdict.largest_without_loss);
  std::string text = fmt::format("Largest batch without loss: {} (top-1 {}", number_text(static_cast<double>(largest.batch)), accuracy(largest));
  if (&largest != &best) {
    text += fmt::format("; best: {} at batch {}; difference {:+.2f} points", accuracy(best), number_text(static_cast<double>(best.batch)),
                        100 * *largest.difference);
    if (largest.difference_low)
      text += fmt::format(", 95 % interval {:+.2f} to {:+.2f}", 100 * *largest.difference_low, 100 * *largest.difference_high);
  }
  text += fmt::format("). Without loss means: {}.", meaning);
  const auto lossy = batches_that(result, [&](const BatchSummary& batch) { return !batch.without_loss && batch.batch < largest.batch; });
  if (!lossy.empty()) text += fmt::format(" Of the smaller batches {} fell short.", joined(lossy));
  if (largest.batch == result.batches.back().batch) text += " It is the largest that was tried: larger ones may do as well.";
  return text;
}

std::string best_seen(const SweepResult& result) {
  const TrialRecord* best = nullptr;
  for (const TrialRecord& trial : result.trials)
    if (trial.best_top1 && (best == nullptr || *trial.best_top1 > *best->best_top1)) best = &trial;
  if (best == nullptr) return "nothing was evaluated";
  return fmt::format("the best seen is {} (batch {}, learning rate {:.6g}, seed {})", percent_text(*best->best_top1),
                     number_text(static_cast<double>(best->batch)), best->lr, best->seed);
}

std::string speed_text(const SweepResult& result) {
  const std::string target = percent_text(*result.target);
  if (!result.verdict.fewest_samples) return fmt::format("No batch reached the target of {} with all its seeds: {}.", target, best_seen(result));
  std::string text;
  if (result.verdict.fastest) {
    const BatchSummary& fastest = summary_of(result, *result.verdict.fastest);
    text =
        fmt::format("Fastest to {}: batch {} ({} of training, {:.4g} epochs, {:.0f} steps", target, number_text(static_cast<double>(fastest.batch)),
                    duration_text(*fastest.seconds_to_target), *fastest.epochs_to_target, *fastest.steps_to_target);
    text += fastest.joules_to_target ? fmt::format(", {:.4g} kJ). ", *fastest.joules_to_target / 1e3) : "). ";
  }
  const BatchSummary& fewest = summary_of(result, *result.verdict.fewest_samples);
  text += fmt::format("Fewest samples: batch {} ({}).", number_text(static_cast<double>(fewest.batch)), number_text(*fewest.samples_to_target));
  const auto missed = batches_that(result, [](const BatchSummary& batch) { return !batch.samples_to_target; });
  if (!missed.empty()) text += fmt::format(" Not reached with all seeds: batch {}.", joined(missed));
  return text;
}

std::string prediction_text(const SweepVerdict& verdict) {
  if (!verdict.predicted_critical) return "";
  std::string text = fmt::format(" Predicted from the gradient noise of the probe: {}", number_text(std::round(*verdict.predicted_critical)));
  if (verdict.predicted_over_fitted) {
    const double ratio = *verdict.predicted_over_fitted;
    text += fmt::format(", {:.2f} of the fitted one ({} a factor of 2)", ratio, ratio >= 0.5 && ratio <= 2 ? "within" : "not within");
  }
  return text + ".";
}

std::string fit_text(const SweepResult& result) {
  const SweepVerdict& verdict = result.verdict;
  const BatchLaw& fit = verdict.fit;
  if (!fit.valid()) return "Critical batch: no fit; two batches or more must reach the target with all seeds." + prediction_text(verdict);
  std::string text = fmt::format("Critical batch by fit of E = E_min (1 + B / B_crit) over {} batches: ", fit.points);
  if (!std::isfinite(fit.critical_batch))
    return text + "beyond what was tried: the samples to the target did not grow with the batch." + prediction_text(verdict);
  text += number_text(std::round(fit.critical_batch));
  if (fit.critical_low < fit.critical_high)
    text += fmt::format(" (16th to 84th percentile {} to {})", number_text(std::round(fit.critical_low)), number_text(std::round(fit.critical_high)));
  const double resolution = result.evaluation_epochs * static_cast<double>(result.train_samples) / fit.min_samples;
  text +=
      fmt::format("; E_min {} samples, largest residual {:.0f} %. Samples to the target are known to within an evaluation period, {:.0f} % of E_min.",
                  number_text(std::round(fit.min_samples)), 100 * fit.worst_residual, 100 * resolution);
  return text + prediction_text(verdict);
}

std::string rule_text(const SweepResult& result) {
  const SweepVerdict& verdict = result.verdict;
  const std::string_view which = result.stop_at_target ? "that reached the target" : "without loss";
  if (!verdict.lr_exponent) return fmt::format("Scaling of the learning rate: fewer than three batches {}, too few to judge.", which);
  const std::string held = verdict.lr_rule == "neither" ? "neither rule held" : "the " + verdict.lr_rule + " rule held";
  return fmt::format(
      "Scaling of the learning rate over the batches {}: best rate ~ batch^{:.2f}; {} (typical error: linear a factor of {:.2f}, "
      "square root {:.2f}; rates were tried in steps).",
      which,
      *verdict.lr_exponent, held, std::exp2(*verdict.linear_error), std::exp2(*verdict.sqrt_error));
}

// Evaluations by which rates may have been dropped and that lie kJump or more below an earlier one of their trial: at a high rate, batch
// norm's running statistics are those of weights that have moved on. What a rung decides by such an evaluation is luck.
std::string jumps_text(const SweepResult& result) {
  constexpr double kJump = 0.05, kToldFrom = 0.1;  // of top1; share of the evaluations
  if (result.rungs.size() < 2) return "";
  const double decided_by = result.rungs[result.rungs.size() - 2];
  std::int64_t jumps = 0, all = 0;
  for (const TrialRecord& trial : result.trials) {
    double best = 0;
    for (const TrialEvaluation& evaluation : trial.evaluations) {
      if (static_cast<double>(evaluation.step) > decided_by * static_cast<double>(trial.total_steps) + 1) break;
      jumps += evaluation.top1 <= best - kJump;
      best = std::max(best, evaluation.top1);
      ++all;
    }
  }
  if (static_cast<double>(jumps) < kToldFrom * static_cast<double>(all) || jumps == 0) return "";
  return fmt::format(
      "Evaluations jumped: before the last rung {} of {} lie 5 points or more below an earlier one of the same trial, so rates were dropped partly "
      "by luck, and a batch may have lost its best one. --set average.decay=0.98 evaluates the mean of the last 50 steps instead; --keep or "
      "--rungs 1 drop fewer.",
      jumps, all);
}

void add_cautions(const SweepResult& result, std::vector<std::string>& text) {
  const auto edge = batches_that(result, [](const BatchSummary& batch) { return batch.at_edge; });
  if (!edge.empty())
    text.push_back(fmt::format("The best rate was the lowest or highest tried at batch {}: more factors may find a better one.", joined(edge)));
  if (const std::string jumps = jumps_text(result); !jumps.empty()) text.push_back(jumps);
  int diverged = 0;
  for (const TrialRecord& trial : result.trials) diverged += trial.status == TrialStatus::kDiverged;
  if (diverged > 0)
    text.push_back(fmt::format("{} trial{} diverged (not a finite loss or gradient) and {} out.", diverged, diverged > 1 ? "s" : "",
                               diverged > 1 ? "are" : "is"));
  const auto none = batches_that(result, [](const BatchSummary& batch) { return !batch.best_lr; });
  if (!none.empty()) text.push_back(fmt::format("Every learning rate diverged at batch {}.", joined(none)));
}

}  // namespace

std::vector<std::string> verdict_text(const SweepResult& result) {
  std::vector<std::string> text;
  if (!result.complete) text.push_back("The sweep is not complete; this is the verdict over the batches that are.");
  if (!result.verdict.best_batch) {
    text.push_back(result.complete ? "No batch has a result: every learning rate diverged. Try lower ones."
                                   : "No batch is complete yet: no verdict.");
    return text;
  }
  text.push_back(result.stop_at_target ? reach_text(result) : loss_text(result));
  if (result.target) {
    text.push_back(speed_text(result));
    text.push_back(fit_text(result));
  } else {
    text.push_back("No target was given (--target): nothing is said about the way to it, nor about the critical batch." +
                   prediction_text(result.verdict));
  }
  text.push_back(rule_text(result));
  add_cautions(result, text);
  return text;
}

}  // namespace lockstep
