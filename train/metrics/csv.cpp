// metrics.csv: a row per train, val and perf record, in columns that never change within a run: a resumed run goes on
// with the header that it finds. A value that a record lacks is an empty cell; values without a column are left out.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "train/metrics/keep_lines.h"
#include "train/metrics/sinks.h"

namespace lockstep::metrics_detail {
namespace {

constexpr const char* kHeader =
    "step,epoch,kind,t,loss,top1,top5,lr,grad_norm,noise_scale,gradient_norm2,gradient_variance,images_per_sec,input_wait_frac,"
    "allreduce_exposed_ms,host_peak_gb,gpu_peak_gb";

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> cells;
  std::istringstream stream(line);
  for (std::string cell; std::getline(stream, cell, ',');) cells.push_back(cell);
  return cells;
}

std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string result = "\"";
  for (char c : text) {
    if (c == '\n' || c == '\r') c = ' ';  // a row is a line
    result += c;
    if (c == '"') result += c;
  }
  return result + "\"";
}

std::string cell_text(const MetricValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return quoted(*text);
  if (const auto* integer = std::get_if<int64_t>(&value)) return fmt::format("{}", *integer);
  return fmt::format("{}", std::get<double>(value));
}

class CsvSink : public Sink {
 public:
  CsvSink(const std::string& path, const std::string& header) : file_(path, header + "\n"), columns_(split(header)) {}
  AppendFile& file() override { return file_; }

  void write(const MetricRecord& record) override {
    if (record.kind != MetricKind::kTrain && record.kind != MetricKind::kVal && record.kind != MetricKind::kPerf) return;
    std::string row;
    for (const std::string& column : columns_) {
      if (!row.empty()) row += ",";
      row += cell(record, column);
    }
    file_.append(row + "\n");
  }

 private:
  static std::string cell(const MetricRecord& record, const std::string& column) {
    if (column == "step") return fmt::format("{}", record.step);
    if (column == "epoch") return fmt::format("{:.6g}", record.epoch);
    if (column == "kind") return std::string(metric_kind_name(record.kind));
    if (column == "t") return fmt::format("{:.3f}", record.time);
    for (const auto& [key, value] : record.values) {
      if (key == column) return cell_text(value);
    }
    return "";
  }

  AppendFile file_;
  std::vector<std::string> columns_;
};

// The header of an existing file that begins with our first column; else "".
std::string existing_header(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return !file.eof() && line.starts_with("step,") ? line : "";
}

bool belongs_before(const std::string& row, int64_t resume_step) {
  int64_t step = 0;
  const char* end = row.data() + row.size();
  const auto [rest, error] = std::from_chars(row.data(), end, step);
  return error == std::errc() && rest != end && *rest == ',' && step <= resume_step;
}

}  // namespace

std::unique_ptr<Sink> make_csv_sink(const std::string& path, std::optional<int64_t> resume_step) {
  const std::string header = resume_step ? existing_header(path) : "";
  if (header.empty()) {
    std::remove(path.c_str());
    return std::make_unique<CsvSink>(path, kHeader);
  }
  bool first = true;
  keep_lines(path, [&](const std::string& line) {
    const bool keep = first || belongs_before(line, *resume_step);
    first = false;
    return keep;
  });
  return std::make_unique<CsvSink>(path, header);
}

}  // namespace lockstep::metrics_detail
