// metrics.jsonl: one JSON object a line, {"t":...,"step":...,"epoch":...,"kind":...,<values>}. NaN and infinity are
// null. SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <nlohmann/json.hpp>

#include "train/metrics/keep_lines.h"
#include "train/metrics/sinks.h"

namespace lockstep::metrics_detail {
namespace {

bool belongs_before(const std::string& line, int64_t resume_step) {
  const nlohmann::json parsed = nlohmann::json::parse(line, nullptr, false);
  if (!parsed.is_object()) return false;
  const auto step = parsed.find("step");
  return step != parsed.end() && step->is_number_integer() && step->get<int64_t>() <= resume_step;
}

class JsonlSink : public Sink {
 public:
  explicit JsonlSink(const std::string& path) : file_(path) {}
  AppendFile& file() override { return file_; }

  void write(const MetricRecord& record) override {
    nlohmann::ordered_json line;
    line["t"] = record.time;
    line["step"] = record.step;
    line["epoch"] = record.epoch;
    line["kind"] = metric_kind_name(record.kind);
    for (const auto& [key, value] : record.values) {
      std::visit([&, name = key](const auto& v) { line[name] = v; }, value);
    }
    file_.append(line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
  }

 private:
  AppendFile file_;
};

}  // namespace

std::unique_ptr<Sink> make_jsonl_sink(const std::string& path, std::optional<int64_t> resume_step) {
  if (!resume_step) std::remove(path.c_str());
  if (resume_step) keep_lines(path, [&](const std::string& line) { return belongs_before(line, *resume_step); });
  return std::make_unique<JsonlSink>(path);
}

}  // namespace lockstep::metrics_detail
