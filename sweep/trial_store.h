// TrialStore: the sweep's folder, and who works on which trial. Several processes may share it, on one machine or on several.
//
//     DIR/sweep.settings            what sweep this is (sweep_identity): another one is refused
//     DIR/trials/512-0.4-1/         an ordinary run folder, and in it
//         trial.pbtxt                 the config: `lockstep train` takes it
//         trial.json                  how far the sweep has come with it; replaced whole
//         trial.lock                  held (flock) by who trains it, and by the training process itself
//         trial.log, summary.json     what the training said
//     DIR/sweep.json, DIR/best.pbtxt  the result
//
// A lock ends with the last process that holds it, however it dies; so a dead claimer's trial is free at once, and one whose
// training still saves is not.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>

#include "sweep/sweep_plan.h"
#include "sweep/trial_metrics.h"

namespace lockstep {

// How far a trial has come; written when it reaches a rung's end, or diverges.
struct TrialProgress {
  int rung = -1;  // the last one whose end was reached
  bool diverged = false;
  std::string message;
  TrialMeasurement measured;
};
using SweepProgress = std::map<TrialKey, TrialProgress>;

// The right to work on a trial; ends with the object unless another process has inherited file().
class TrialClaim {
 public:
  explicit TrialClaim(int file) : file_(file) {}
  ~TrialClaim();
  TrialClaim(TrialClaim&& other) noexcept : file_(other.file_) { other.file_ = -1; }
  TrialClaim& operator=(TrialClaim&&) = delete;
  int file() const { return file_; }

 private:
  int file_;
};

class TrialStore {
 public:
  // Makes the folder, or finds that it holds this very sweep. UserError(kCantCreate): it holds another one (what differs is
  // listed), or something else; EnvironmentError(kCantCreate): it can't be written.
  explicit TrialStore(const SweepPlan& plan);

  // All trials of the plan that have come to a rung. UserError(kData) for a trial.json that is damaged, or does not fit the plan.
  SweepProgress load() const;
  std::optional<TrialProgress> load(const TrialKey& key) const;
  // Nothing when somebody else works on it. Makes its folder, and its config as the plan has it now.
  std::optional<TrialClaim> claim(const TrialKey& key) const;
  // Claimed trials only. EnvironmentError(kIo): disk full, ...; what was saved before stands.
  void save(const TrialKey& key, const TrialProgress& progress) const;

  // A file of the sweep's own, replaced whole.
  void write(const std::string& name, const std::string& text) const;

 private:
  const SweepPlan& plan_;
};

// trial.json's text, and back. UserError(kData) naming `where`.
std::string progress_json(const TrialProgress& progress);
TrialProgress parse_progress(const std::string& text, const std::string& where);

}  // namespace lockstep
