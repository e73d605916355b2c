// The sinks, the time stamp, and what happens when a write fails.
// SPDX-License-Identifier: Apache-2.0
#include "train/metrics/metrics_log.h"

#include <fmt/format.h>

#include <chrono>
#include <cstring>
#include <mutex>

#include "train/metrics/sinks.h"

namespace lockstep {

std::string_view metric_kind_name(MetricKind kind) {
  switch (kind) {
    case MetricKind::kTrain: return "train";
    case MetricKind::kVal: return "val";
    case MetricKind::kCkpt: return "ckpt";
    case MetricKind::kWarn: return "warn";
    case MetricKind::kPerf: return "perf";
    case MetricKind::kInput: return "input";
    case MetricKind::kNoise: return "noise";
    case MetricKind::kEnergy: return "energy";
  }
  return "";
}

struct MetricsLog::State {
  struct Entry {
    std::unique_ptr<metrics_detail::Sink> sink;
    bool warned = false;
  };
  mutable std::mutex mutex;
  MetricsOptions options;
  std::vector<Entry> entries;

  void flush() {
    for (Entry& entry : entries) {
      AppendFile& file = entry.sink->file();
      const int error = file.flush();
      if (error == 0 || entry.warned) continue;
      entry.warned = true;
      if (!options.warn) continue;
      options.warn(fmt::format("{}: {}: metrics are lost, training goes on; free some space and they continue",
                               file.path(), std::strerror(error)));
    }
  }
};

MetricsLog::MetricsLog(const std::string& folder, MetricsOptions options) : state_(std::make_unique<State>()) {
  using namespace metrics_detail;
  state_->options = std::move(options);
  const MetricsOptions& chosen = state_->options;
  if (chosen.jsonl) state_->entries.push_back({make_jsonl_sink(folder + "/metrics.jsonl", chosen.resume_step)});
  if (chosen.csv) state_->entries.push_back({make_csv_sink(folder + "/metrics.csv", chosen.resume_step)});
  if (chosen.tensorboard) state_->entries.push_back({make_tensorboard_sink(folder, chosen.resume_step)});
}

MetricsLog::~MetricsLog() { state_->flush(); }

void MetricsLog::write(MetricRecord record) {
  if (record.time == 0) {
    record.time = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  }
  const std::lock_guard lock(state_->mutex);
  for (State::Entry& entry : state_->entries) entry.sink->write(record);
}

void MetricsLog::flush() {
  const std::lock_guard lock(state_->mutex);
  state_->flush();
}

int64_t MetricsLog::lost_records() const {
  const std::lock_guard lock(state_->mutex);
  int64_t lost = 0;
  for (const State::Entry& entry : state_->entries) lost += entry.sink->file().lost_records();
  return lost;
}

}  // namespace lockstep
