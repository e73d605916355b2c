// SPDX-License-Identifier: Apache-2.0
#include "sweep/sweep_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "core/error.h"

namespace lockstep {
namespace {

constexpr std::int64_t kLargestBatch = std::int64_t{1} << 40;
constexpr std::size_t kMostValues = 64;  // of a list: a sweep of more is a mistake

[[noreturn]] void refuse(std::string_view option, std::string_view got, std::string_view want) {
  throw UserError(fmt::format("{}: got '{}', want {}", option, got, want));
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

template <class Number>
std::optional<Number> number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> positive(std::string_view text) {
  const auto value = number<double>(text);
  return value && std::isfinite(*value) && *value > 0 ? value : std::nullopt;
}

template <class Number>
void check_ascending(const std::vector<Number>& values, std::string_view option, std::string_view text) {
  if (values.size() > kMostValues) refuse(option, text, fmt::format("at most {} values", kMostValues));
  for (std::size_t i = 1; i < values.size(); ++i)
    if (values[i] <= values[i - 1]) refuse(option, text, "different values in ascending order");
}

constexpr std::string_view kBatchesWant = "64..8192 (doubling), 64..4096x4 (times 4) or 64,128,512; whole numbers from 1 to 2^40";

std::int64_t batch_number(std::string_view text, std::string_view all) {
  const auto value = number<std::int64_t>(text);
  if (!value || *value < 1 || *value > kLargestBatch) refuse("--batches", all, kBatchesWant);
  return *value;
}

}  // namespace

std::vector<std::int64_t> parse_batches(std::string_view text) {
  std::vector<std::int64_t> batches;
  const std::size_t dots = text.find("..");
  if (dots == std::string_view::npos) {
    for (const std::string_view part : split(text, ',')) batches.push_back(batch_number(part, text));
    check_ascending(batches, "--batches", text);
    return batches;
  }
  const std::size_t times = text.find('x', dots);
  const std::int64_t first = batch_number(text.substr(0, dots), text);
  const std::string_view end = text.substr(dots + 2, times == std::string_view::npos ? times : times - dots - 2);
  const std::int64_t last = batch_number(end, text);
  const std::int64_t factor = times == std::string_view::npos ? 2 : batch_number(text.substr(times + 1), text);
  if (factor < 2 || factor > 1024 || last < first) refuse("--batches", text, kBatchesWant);
  for (std::int64_t batch = first; batch <= last; batch *= factor) batches.push_back(batch);  // at most 2^50
  return batches;
}

std::vector<double> parse_positive(std::string_view text, std::string_view option) {
  std::vector<double> values;
  for (const std::string_view part : split(text, ',')) {
    const auto value = positive(part);
    if (!value) refuse(option, text, "positive numbers, separated by commas, e.g. 0.5,1,2");
    values.push_back(*value);
  }
  check_ascending(values, option, text);
  return values;
}

std::vector<double> parse_rungs(std::string_view text) {
  constexpr std::string_view want = "ascending shares of the schedule that end with 1, e.g. 1/9,1/3,1";
  std::vector<double> rungs;
  for (const std::string_view part : split(text, ',')) {
    const std::size_t slash = part.find('/');
    const auto above = positive(part.substr(0, slash));
    const auto below = slash == std::string_view::npos ? std::optional(1.0) : positive(part.substr(slash + 1));
    if (!above || !below) refuse("--rungs", text, want);
    rungs.push_back(*above / *below);
  }
  check_ascending(rungs, "--rungs", text);
  if (rungs.back() != 1) refuse("--rungs", text, want);
  return rungs;
}

double parse_target(std::string_view text) {
  const bool percent = text.ends_with('%');
  const auto value = positive(percent ? text.substr(0, text.size() - 1) : text);
  const double share = value ? (percent ? *value / 100 : *value) : 0;
  if (share <= 0 || share > 1) refuse("--target", text, "an accuracy above 0 and at most 1, or in percent: 0.93 or 93%");
  return share;
}

double parse_seconds(std::string_view text, std::string_view option) {
  constexpr std::string_view want = "a time above 0 with its unit: 45s, 90m, 2h or 1.5d";
  if (text.size() < 2) refuse(option, text, want);
  const char unit = text.back();
  const double seconds = unit == 's' ? 1 : unit == 'm' ? 60 : unit == 'h' ? 3600 : unit == 'd' ? 86400 : 0;
  const auto value = positive(text.substr(0, text.size() - 1));
  if (!value || seconds == 0 || *value * seconds > 1e9) refuse(option, text, want);
  return *value * seconds;
}

ScalingRule parse_rule(std::string_view text) {
  if (text == "linear") return ScalingRule::kLinear;
  if (text == "sqrt") return ScalingRule::kSqrt;
  if (text == "both") return ScalingRule::kBoth;
  refuse("--rule", text, "linear, sqrt or both");
}

Select parse_select(std::string_view text) {
  if (text == "accuracy") return Select::kAccuracy;
  if (text == "target") return Select::kTarget;
  refuse("--select", text, "accuracy or target");
}

ShardOf parse_shard(std::string_view text) {
  const std::size_t slash = text.find('/');
  const auto index = number<int>(text.substr(0, slash));
  const auto count = slash == std::string_view::npos ? std::nullopt : number<int>(text.substr(slash + 1));
  if (!index || !count || *index < 0 || *index >= *count) refuse("--shard", text, "I/N with 0 <= I < N, e.g. 0/4");
  return {*index, *count};
}

std::string lr_text(double lr) { return fmt::format("{:.6g}", lr); }

double round_lr(double lr) { return std::strtod(lr_text(lr).c_str(), nullptr); }

}  // namespace lockstep
