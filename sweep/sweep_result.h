// SweepResult: all that a sweep of batch sizes and learning rates has found, as data: what `lockstep tune` prints, what reports draw.
//
// Shares (top1, target) lie between 0 and 1. A quantity that is not known, or not yet, is absent, never 0.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "planning/batch_law.h"

namespace lockstep {

enum class TrialStatus : std::uint8_t {
  kWaiting,   // not begun
  kPartial,   // trained up to a rung, or stopped on the way to one: goes on
  kDropped,   // others of its batch were better at a rung
  kFinished,  // trained to the end of the schedule
  kDiverged,  // the loss or a gradient was not finite
};
std::string_view trial_status_name(TrialStatus status);  // "waiting", "partial", "dropped", "finished", "diverged"

// Why a trial is part of the sweep.
enum class TrialRole : std::uint8_t {
  kProbe,   // the config as given: its gradient noise predicts the critical batch
  kSearch,  // one learning rate of a batch, with the first seed
  kSeed,    // the chosen learning rate with another seed
};
std::string_view trial_role_name(TrialRole role);  // "probe", "search", "seed"

// An evaluation during a trial.
struct TrialEvaluation {
  std::int64_t step = 0;
  double epoch = 0, top1 = 0;
};

// A trial's way to the target: its first evaluation at or above it.
struct ToTarget {
  std::int64_t steps = 0, samples = 0;
  double epochs = 0;
  std::optional<double> seconds;  // of training, at the trial's images/s
  std::optional<double> joules;
};

struct TrialRecord {
  std::int64_t batch = 0, shard_batch = 0;
  double lr = 0;             // peak
  std::uint64_t seed = 0;
  TrialRole role = TrialRole::kSearch;
  TrialStatus status = TrialStatus::kWaiting;
  int rung = -1;             // the last one reached; -1: none
  std::string folder;        // the run's, below the sweep's: "trials/512-0.4-1"
  std::string message;       // of a trial that diverged: what happened

  std::int64_t steps = 0, total_steps = 0, samples = 0;  // trained, of the whole schedule, trained
  double epochs = 0;         // trained
  std::vector<TrialEvaluation> evaluations;              // in order
  std::optional<double> final_top1, best_top1;           // of the newest evaluation; of the best
  std::optional<ToTarget> to_target;                     // absent: not reached, or no target

  // Of training alone: evaluation, saving and starting are left out.
  std::optional<double> images_per_second, seconds;
  std::optional<double> joules_per_image;
  std::string energy_source;                             // what was read, or why nothing could be
  std::optional<double> peak_memory_bytes;               // host memory of the first rank
  std::optional<double> noise_scale;                     // mean over the steps up to the target (sweep/trial_metrics.h): a critical batch
  std::string digest;                                    // of the training state at the last rung
};

// A batch size at its best learning rate: means over the seeds that reached the schedule's end.
struct BatchSummary {
  std::int64_t batch = 0, shard_batch = 0;
  bool complete = false;           // search and seeds are done
  double linear_lr = 0, sqrt_lr = 0;      // what either rule says, from the config's batch and rate
  std::optional<double> best_lr;   // absent: not chosen yet, or every rate diverged
  bool at_edge = false;            // the best rate was the lowest or highest tried: a better one may lie beyond
  int candidates = 0, diverged = 0;       // learning rates tried; trials that diverged, seeds included
  int seeds = 0, reached = 0;      // finished; of these, reached the target
  std::optional<double> mean_top1, sd_top1, min_top1, max_top1;  // final; sd: of a sample, with 2 seeds or more
  std::optional<double> steps_to_target, epochs_to_target, samples_to_target, seconds_to_target, joules_to_target;  // if all seeds reached it
  std::optional<double> images_per_second, milliseconds_per_step;
  // Mean minus that of the best batch, and Welch's 95 % interval of the difference (absent with fewer than 2 seeds).
  std::optional<double> difference, difference_low, difference_high;
  bool without_loss = false;       // difference >= -SweepVerdict::tolerance; with stop_at_target: all seeds reached the target
};

struct SweepVerdict {
  double tolerance = 0;            // of top1: twice the spread of a seed; with stop_at_target this and all differences are left out
  double spread = 0;               // of top1: standard deviation of a seed, the median over the batches
  bool spread_is_sampling = false; // with one seed: the evaluation set's own sampling error instead
  std::optional<std::int64_t> best_batch;          // highest mean accuracy
  std::optional<std::int64_t> largest_without_loss;
  std::optional<std::int64_t> fastest;             // fewest seconds to the target
  std::optional<std::int64_t> fewest_samples;      // fewest samples to the target
  // Slope of log best rate against log batch, over batches without loss: 1 is linear, 0.5 square-root scaling.
  std::optional<double> lr_exponent;
  std::string lr_rule;             // "linear", "square root", "neither" or "" (too few batches)
  std::optional<double> linear_error, sqrt_error;  // root mean square of log2(best rate / rule's rate) over the same batches
  BatchLaw fit;                    // samples to target against batch; not valid() with too few points
  std::optional<double> predicted_critical;        // from the probe's gradient noise, known before the sweep
  std::optional<double> predicted_over_fitted;
  std::vector<std::string> text;   // the verdict in words, a sentence or two each
};

struct SweepResult {
  std::string name;                // of the config
  std::string model;
  std::int64_t base_batch = 0;     // the config's
  double base_lr = 0;              // its peak rate
  std::int64_t train_samples = 0, eval_samples = 0;
  double schedule_epochs = 0;
  std::optional<double> target;    // top1
  std::vector<double> rungs;       // shares of the schedule; the last is 1
  std::vector<std::uint64_t> seeds;
  std::string select;              // what chooses among learning rates: "accuracy" or "target"
  bool stop_at_target = false;     // trials that are there were trained no further: accuracies are no final ones
  double evaluation_epochs = 0;    // between two evaluations: how fine steps to target are resolved
  bool complete = false;
  std::vector<std::string> missing;  // what is left to do
  std::vector<TrialRecord> trials;   // by batch, rate, seed
  std::vector<BatchSummary> batches; // ascending
  SweepVerdict verdict;
  std::string best_config;         // file below the sweep's folder; empty: none yet
};

// One JSON object, indented. With `times` false without whatever depends on clocks and meters: equal for equal training.
std::string sweep_json(const SweepResult& result, bool times = true);
// Throws UserError(kData) naming `where` and the field when it is no such object.
SweepResult parse_sweep_json(std::string_view text, const std::string& where);

// DIR/sweep.json, where `lockstep tune --run-dir DIR` leaves its result.
bool is_sweep_folder(const std::string& folder);
SweepResult load_sweep(const std::string& folder);  // UserError: kNoInput, kData

}  // namespace lockstep
