// RunData: what a run folder (train/run_folder.h) tells, read so that damage costs only what is damaged.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

struct MetricSample {
  std::int64_t step = 0;
  double epoch = 0, time = 0;  // seconds since 1970
  double value = 0;            // NaN: recorded as not finite
};

struct MetricText {
  std::int64_t step = 0;
  double epoch = 0, time = 0;
  std::string text;
};

struct ConfigLeaf {
  std::string path, value, origin;  // "batch.global_batch", "256", "cifar10.pbtxt:7"
};

// A line of a log that is worth telling: a warning, an error, or a start.
struct LogEvent {
  std::string when, level, text;  // level: "warning", "error", "start"
};

struct BadSample {
  std::string name, reason;
};

struct RunData {
  std::string path;
  std::string name;                   // in the report: the folder's
  std::vector<std::string> problems;  // sentences: what is missing or damaged

  // Of run.json, which describes the newest start; empty or 0: not known.
  std::string started, host, build, config_digest, processor;
  std::int64_t ranks = 0, start_step = 0, generation = 0;

  std::vector<ConfigLeaf> config;     // effective, in the proto's order
  std::map<std::string, std::vector<MetricSample>> numbers;  // by "kind.key": "train.loss"
  std::map<std::string, std::vector<MetricText>> texts;      // "warn.message"

  std::vector<LogEvent> log;          // rank 0's
  std::int64_t more_log_events = 0;   // beyond those kept
  std::string memory_plan;            // the banner's line
  std::vector<BadSample> bad_samples;
  std::int64_t more_bad_samples = 0;

  // Of the newest checkpoint whose manifest can be read.
  std::string digest, checkpoint;
  std::int64_t checkpoint_step = -1;
  std::size_t checkpoints = 0;

  const std::vector<MetricSample>& samples(std::string_view key) const;  // empty where there are none
  const std::vector<MetricText>& notes(std::string_view key) const;
  std::string config_value(std::string_view path) const;  // without quotes; "" when not there
  bool readable() const { return !numbers.empty() || !config.empty() || !started.empty() || !digest.empty(); }
};

// Whether a folder has any of the files of a run.
bool is_run_folder(const std::string& folder);

// Never throws for what it finds. All problems are in the result.
RunData read_run(const std::string& folder);

// The leaves of an effective config (train/config/config.h); lines that are none are passed over.
std::vector<ConfigLeaf> parse_effective_config(std::string_view text);

}  // namespace lockstep
