// SPDX-License-Identifier: Apache-2.0
#include "sweep/trial_metrics.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "train/noise_scale.h"

namespace lockstep {
namespace {

using nlohmann::json;

constexpr double kMostSteps = 0x1p53;  // beyond it a line is damaged

std::optional<double> number(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return std::nullopt;
  const double value = found->get<double>();
  return std::isfinite(value) ? std::optional(value) : std::nullopt;
}

std::string text(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

json read_object(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return json::parse(std::string(std::istreambuf_iterator<char>(file), {}), nullptr, false);
}

// images/s over several log lines: each counts by the time that its steps took.
class Speed {
 public:
  void add(double step, double rate) {
    const double steps = step - last_step_;
    if (steps <= 0 || rate <= 0) return;
    last_step_ = step;
    steps_ += steps;
    weighted_seconds_ += steps / rate;
  }
  std::optional<double> images_per_second() const { return weighted_seconds_ > 0 ? std::optional(steps_ / weighted_seconds_) : std::nullopt; }

 private:
  double last_step_ = 0, steps_ = 0, weighted_seconds_ = 0;
};

// The lines of metrics.jsonl, as far as a sweep looks at them.
class Lines {
 public:
  void add(const json& line) {
    const auto step = number(line, "step");
    if (!step || *step < 0 || *step > kMostSteps) return;
    const auto at = static_cast<std::int64_t>(*step);
    const std::string kind = text(line, "kind");
    if (kind == "val") add_evaluation(at, line);
    if (kind == "noise") add_noise(at, line);
    if (kind != "perf") return;
    if (const auto rate = number(line, "images_per_sec")) speed_.add(*step, *rate);
    if (const auto peak = number(line, "host_peak_gb")) peak_bytes_ = std::max(peak_bytes_.value_or(0), *peak * 1e9);
  }

  TrialMeasurement measured() const {
    TrialMeasurement measured{.images_per_second = speed_.images_per_second(), .peak_memory_bytes = peak_bytes_};
    for (const auto& [step, evaluation] : evaluations_) measured.evaluations.push_back(evaluation);
    for (const auto& [step, point] : noise_) measured.noise.push_back(point);
    return measured;
  }

 private:
  void add_evaluation(std::int64_t step, const json& line) {
    if (const auto top1 = number(line, "top1")) evaluations_[step] = {step, number(line, "epoch").value_or(0), *top1};
  }

  // Without a scale one of its parts was not above 0: the gradient drowned in noise, or (few steps) the noise vanished.
  void add_noise(std::int64_t step, const json& line) {
    const bool drowned = number(line, kGradientNorm2Key).value_or(0) <= 0;
    const double scale = number(line, kNoiseScaleKey).value_or(drowned ? std::numeric_limits<double>::infinity() : 0);
    noise_[step] = {step, scale, number(line, "steps").value_or(1)};
  }

  std::map<std::int64_t, TrialEvaluation> evaluations_;  // a resumed run may evaluate a step again, to the same result
  std::map<std::int64_t, NoisePoint> noise_;
  Speed speed_;
  std::optional<double> peak_bytes_;
};

}  // namespace

TrialMeasurement read_measurement(const std::string& run_folder, const std::string& summary, std::int64_t global_batch) {
  Lines lines;
  std::ifstream file(run_folder + "/metrics.jsonl");
  for (std::string line; std::getline(file, line);) {
    const json record = json::parse(line, nullptr, false);
    if (record.is_object()) lines.add(record);
  }
  TrialMeasurement measured = lines.measured();
  const json object = json::parse(summary, nullptr, false);
  if (!object.is_object()) return measured;
  measured.digest = text(object, "digest");
  measured.energy_source = text(object, "energy_source");
  const json run = read_object(run_folder + "/run.json");
  const auto joules = number(object, "energy_joules"), end = number(object, "step");
  const auto begin = run.is_object() ? number(run, "start_step") : std::nullopt;
  if (joules && begin && end && *end > *begin) measured.joules_per_image = *joules / ((*end - *begin) * static_cast<double>(global_batch));
  return measured;
}

std::optional<TrialEvaluation> first_reaching(std::span<const TrialEvaluation> evaluations, double target) {
  const auto found = std::find_if(evaluations.begin(), evaluations.end(), [&](const TrialEvaluation& each) { return each.top1 >= target; });
  return found == evaluations.end() ? std::nullopt : std::optional(*found);
}

std::optional<double> predicted_critical_batch(std::span<const NoisePoint> noise, std::int64_t batch, std::int64_t until_step) {
  double samples = 0, steps = 0;  // E_min and S_min, in units of the way's
  std::int64_t begin = 0;
  for (const NoisePoint& point : noise) {
    if (begin >= until_step) break;
    const double within = point.step <= until_step ? 1 : static_cast<double>(until_step - begin) / static_cast<double>(point.step - begin);
    const double measured = point.steps * within;
    const double progress = measured / (1 + point.noise_scale / static_cast<double>(batch));
    steps += progress;
    samples += std::isinf(point.noise_scale) ? measured * static_cast<double>(batch) : point.noise_scale * progress;
    begin = point.step;
  }
  return steps > 0 ? std::optional(samples / steps) : std::nullopt;
}

}  // namespace lockstep
