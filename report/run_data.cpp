// SPDX-License-Identifier: Apache-2.0
#include "report/run_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "report/read_lines.h"
#include "train/checkpoint/checkpoint_store.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using report_detail::for_each_line;
using report_detail::LineCount;
using report_detail::read_small_file;

constexpr std::size_t kMostLogEvents = 400, kMostBadSamples = 400;
constexpr std::uint64_t kMostSteps = std::uint64_t{1} << 53;  // beyond it a record is damaged: differences would overflow
constexpr double kNotFinite = std::numeric_limits<double>::quiet_NaN();

std::string text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

std::int64_t integer_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? found->get<std::int64_t>() : 0;
}

double number_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : kNotFinite;
}

void read_facts(RunData& run) {
  const auto text = read_small_file(run.path + "/run.json");
  if (!text) {
    run.problems.emplace_back("run.json is missing or can't be read: when and where it ran is not known.");
    return;
  }
  const json facts = json::parse(*text, nullptr, false);
  if (!facts.is_object()) {
    run.problems.emplace_back("run.json is damaged: when and where it ran is not known.");
    return;
  }
  run.started = text_of(facts, "started");
  run.host = text_of(facts, "host");
  run.build = text_of(facts, "lockstep");
  run.config_digest = text_of(facts, "config_digest");
  run.ranks = integer_of(facts, "ranks");
  run.start_step = integer_of(facts, "start_step");
  run.generation = integer_of(facts, "generation");
  if (const auto components = facts.find("components"); components != facts.end() && components->is_object())
    run.processor = text_of(*components, "processor");
}

void read_config(RunData& run) {
  const auto text = read_small_file(run.path + "/config.effective.pbtxt");
  if (text) run.config = parse_effective_config(*text);
  if (run.config.empty()) run.problems.emplace_back("config.effective.pbtxt is missing or damaged: its settings are not known.");
}

// One line of metrics.jsonl; false: it is none.
bool read_record(RunData& run, std::string_view line) {
  const json record = json::parse(line, nullptr, false);
  if (!record.is_object()) return false;
  const std::string kind = text_of(record, "kind");
  const auto step = record.find("step");
  const double epoch = number_of(record, "epoch"), time = number_of(record, "t");
  if (kind.empty() || step == record.end() || !step->is_number_unsigned() || !std::isfinite(epoch)) return false;
  const auto at = step->get<std::uint64_t>();
  if (at > kMostSteps) return false;
  for (const auto& [key, value] : record.items()) {
    if (key == "t" || key == "step" || key == "epoch" || key == "kind") continue;
    if (value.is_string())
      run.texts[kind + "." + key].push_back({static_cast<std::int64_t>(at), epoch, time, value.get<std::string>()});
    else if (value.is_number() || value.is_null())
      run.numbers[kind + "." + key].push_back({static_cast<std::int64_t>(at), epoch, time, value.is_null() ? kNotFinite : value.get<double>()});
  }
  return true;
}

void read_metrics(RunData& run) {
  std::size_t bad = 0;
  bool cut = false;
  const LineCount count = for_each_line(run.path + "/metrics.jsonl", [&](std::string_view line, bool whole) {
    if (line.empty() || read_record(run, line)) return;
    bad += whole;
    cut = cut || !whole;
  });
  if (!count.readable && count.lines == 0) {
    run.problems.emplace_back("metrics.jsonl is missing or can't be read: there are no curves (logging.jsonl writes it).");
    return;
  }
  if (!count.readable) run.problems.emplace_back("metrics.jsonl could not be read to its end.");
  if (bad + count.too_long > 0)
    run.problems.push_back(fmt::format("metrics.jsonl: {} of {} lines are damaged and left out.", bad + count.too_long, count.lines));
  if (cut) run.problems.emplace_back("metrics.jsonl ends within a line, which is left out: the run was killed, or is writing.");
  if (run.numbers.empty()) run.problems.emplace_back("metrics.jsonl holds no records yet.");
}

// Lines are "2026-11-29 22:41:09.947 warning text". A banner goes over several, of which the first has the time.
class LogReader {
 public:
  explicit LogReader(RunData& run) : run_(run) {}

  void read(std::string_view line) {
    constexpr std::size_t kTime = 23, kSeconds = 19;
    constexpr std::string_view kStart = "  start ", kMemory = "  memory ";
    if (line.starts_with(kStart)) tell("start", line.substr(kStart.size()));
    if (line.starts_with(kMemory)) run_.memory_plan = without_indent(line.substr(kMemory.size()));
    if (line.size() < kTime + 2 || line[4] != '-' || line[10] != ' ' || line[kTime] != ' ') return;
    time_ = line.substr(0, kSeconds);
    const std::string_view rest = line.substr(kTime + 1);
    for (const std::string_view level : {"warning", "error"})
      if (rest.starts_with(level)) tell(level, rest.substr(level.size()));
  }

 private:
  static std::string without_indent(std::string_view text) { return std::string(text.substr(std::min(text.find_first_not_of(' '), text.size()))); }

  void tell(std::string_view level, std::string_view text) {
    if (run_.log.size() < kMostLogEvents)
      run_.log.push_back({time_, std::string(level), without_indent(text)});
    else
      ++run_.more_log_events;
  }

  RunData& run_;
  std::string time_;  // of the last line that had one
};

void read_log(RunData& run) {
  LogReader reader(run);
  const LineCount count = for_each_line(run.path + "/logs/rank0000.log", [&](std::string_view line, bool) { reader.read(line); });
  if (!count.readable) run.problems.emplace_back("logs/rank0000.log is missing or can't be read: starts and warnings come from the metrics alone.");
}

void read_bad_samples(RunData& run) {
  bool first = true;
  for_each_line(run.path + "/bad_samples.tsv", [&](std::string_view line, bool) {
    if (std::exchange(first, false)) return;  // the heading
    const std::size_t tab = line.rfind('\t');
    if (tab == std::string_view::npos) return;
    if (run.bad_samples.size() >= kMostBadSamples) return static_cast<void>(++run.more_bad_samples);
    run.bad_samples.push_back({std::string(line.substr(0, tab)), std::string(line.substr(tab + 1))});
  });
}

void read_checkpoints(RunData& run) {
  std::error_code error;
  if (!fs::is_directory(run.path + "/ckpt", error)) return;
  try {
    std::vector<std::string> unreadable;
    const std::vector<CheckpointInfo> list = CheckpointStore(run.path + "/ckpt", posix_fs()).list(&unreadable);
    run.checkpoints = list.size();
    for (const std::string& each : unreadable) run.problems.push_back("A checkpoint is damaged: " + each);
    if (list.empty()) return;
    run.digest = list.front().manifest.state_digest;
    run.checkpoint = list.front().path;
    run.checkpoint_step = static_cast<std::int64_t>(list.front().manifest.facts.step);
  } catch (const std::exception& failure) {
    run.problems.push_back(std::string("The checkpoints can't be read: ") + failure.what());
  }
}

}  // namespace

const std::vector<MetricSample>& RunData::samples(std::string_view key) const {
  static const std::vector<MetricSample> kNone;
  const auto found = numbers.find(std::string(key));
  return found == numbers.end() ? kNone : found->second;
}

const std::vector<MetricText>& RunData::notes(std::string_view key) const {
  static const std::vector<MetricText> kNone;
  const auto found = texts.find(std::string(key));
  return found == texts.end() ? kNone : found->second;
}

std::string RunData::config_value(std::string_view path_of_leaf) const {
  for (const ConfigLeaf& leaf : config) {
    if (leaf.path != path_of_leaf) continue;
    const bool quoted = leaf.value.size() >= 2 && leaf.value.front() == '"' && leaf.value.back() == '"';
    return quoted ? leaf.value.substr(1, leaf.value.size() - 2) : leaf.value;
  }
  return "";
}

bool is_run_folder(const std::string& folder) {
  std::error_code error;
  const auto has = [&](const char* name) { return fs::exists(folder + "/" + name, error); };
  return has("run.json") || has("metrics.jsonl") || has("config.effective.pbtxt") || has("ckpt");
}

RunData read_run(const std::string& folder) {
  RunData run;
  run.path = folder;
  read_facts(run);
  read_config(run);
  read_metrics(run);
  read_log(run);
  read_bad_samples(run);
  read_checkpoints(run);
  const fs::path path = (folder + "/").ends_with("//") ? fs::path(folder).parent_path() : fs::path(folder);
  run.name = path.lexically_normal().filename().string();
  if (run.name.empty() || run.name == "." || run.name == "..") run.name = folder;
  return run;
}

}  // namespace lockstep
