// Where metric records go: JSON lines, CSV, TensorBoard. Private to train/metrics; MetricsLog owns the sinks.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "train/metrics/append_file.h"
#include "train/metrics/record.h"

namespace lockstep::metrics_detail {

class Sink {
 public:
  virtual ~Sink() = default;
  virtual void write(const MetricRecord& record) = 0;  // to memory
  virtual AppendFile& file() = 0;
};

// resume_step: absent, any old file is replaced; given, its records of later steps are removed first.
std::unique_ptr<Sink> make_jsonl_sink(const std::string& path, std::optional<int64_t> resume_step);
std::unique_ptr<Sink> make_csv_sink(const std::string& path, std::optional<int64_t> resume_step);
// A new file in `folder` for each start.
std::unique_ptr<Sink> make_tensorboard_sink(const std::string& folder, std::optional<int64_t> resume_step);

// "train/loss", "lr", "grad/norm", ...: the tag of a value.
std::string tensorboard_tag(MetricKind kind, const std::string& key);

}  // namespace lockstep::metrics_detail
