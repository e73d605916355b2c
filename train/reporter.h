// Reporter: what a run tells people and files while it goes. Made on rank 0 only.
//
// Metrics are means over the steps since the last line, so every step counts once; the sums under way are part of the
// checkpoint, so that a resumed run writes the same lines. Nothing here blocks on a disk or touches the training.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "train/checkpoint/checkpoint_store.h"
#include "train/energy.h"
#include "train/evaluate.h"
#include "train/input_verdict.h"
#include "train/noise_scale.h"
#include "train/session.h"
#include "train/step.h"

namespace lockstep {

class Reporter {
 public:
  // Opens the metric files and the log in `run_dir`; `resume_step` absent: a new run. `console`: stdout or stderr.
  Reporter(const Session& session, const std::string& run_dir, std::optional<std::int64_t> resume_step, std::FILE* console);
  ~Reporter();

  void say(const std::string& text);   // the terminal and the log
  void warn(const std::string& text);  // the same, and a record in the metrics

  void begin(std::int64_t step);       // the clock of images/s starts here
  void step_done(std::int64_t steps_done, double lr, const StepResult& result);
  void evaluated(std::int64_t step, const EvalResult& result, bool is_best);
  void judged(const InputVerdict& verdict);
  void saved(const SaveReport& report);
  void pause();                        // evaluation and saving do not count as training time
  void resume();
  void end();

  // The interval's sums under way, for TrainingState::accumulators.
  std::map<std::string, double> accumulators() const;
  void restore(const std::map<std::string, double>& accumulators);

  // The smoothed gradient noise scale; none: not measured (yet). `text` says it in words, or why not.
  std::optional<NoiseEstimate> noise_scale(std::string& text) const;
  void used(const RunEnergy& energy);

  double train_seconds() const;
  double wait_seconds() const;       // of these, for the loader
  double images_per_second() const;  // since begin()

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
