// All metric files of a run behind one door: metrics.jsonl, metrics.csv, events.out.tfevents.*. Rank 0 only.
//
// Writing fills memory, flush() (called at each log interval) hands it to the system and never waits for a disk. A full
// disk costs records, not the run: `warn` is called once per file, then writing is tried again at each flush.
// Thread-safe.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "train/metrics/record.h"

namespace lockstep {

struct MetricsOptions {
  bool jsonl = true, csv = true, tensorboard = true;
  // The step of the checkpoint that the run goes on from: records of later steps are removed from metrics.jsonl and
  // metrics.csv (written aside and renamed) and marked as superseded in TensorBoard. Absent: a new run, old files of
  // these names are replaced.
  std::optional<int64_t> resume_step;
  // Receives at most one warning per file. Absent: silence.
  std::function<void(const std::string& message)> warn;
};

class MetricsLog {
 public:
  // Opens the files in `folder`, which must exist. Throws EnvironmentError (kCantCreate) if one can't be opened.
  MetricsLog(const std::string& folder, MetricsOptions options);
  ~MetricsLog();  // flushes
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  void write(MetricRecord record);
  void flush();
  // Records that a full disk has cost, over all files.
  int64_t lost_records() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lockstep
