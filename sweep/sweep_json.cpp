// sweep.json: SweepResult as JSON and back. Each struct's fields are listed once, for writing and for reading.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "sweep/json_integer.h"
#include "sweep/sweep_result.h"
#include "train/checkpoint/file_io.h"

namespace lockstep {
namespace {

using nlohmann::ordered_json;
using Parsed = nlohmann::json;  // not ordered_json, which copies its values as it grows: a value nested deep would overflow the stack

constexpr const char* kFormat = "lockstep sweep 1";
constexpr std::uint64_t kFileCap = std::uint64_t{256} << 20;

// Of a field: does it depend on clocks and meters?
enum class Basis : std::uint8_t { kTraining, kClock };

template <class Visitor>
void fields(TrialEvaluation& each, Visitor& v) {
  v("step", each.step);
  v("epoch", each.epoch);
  v("top1", each.top1);
}

template <class Visitor>
void fields(ToTarget& way, Visitor& v) {
  v("steps", way.steps);
  v("samples", way.samples);
  v("epochs", way.epochs);
  v("seconds", way.seconds, Basis::kClock);
  v("joules", way.joules, Basis::kClock);
}

template <class Visitor>
void fields(TrialRecord& trial, Visitor& v) {
  v("batch", trial.batch);
  v("shard_batch", trial.shard_batch);
  v("lr", trial.lr);
  v("seed", trial.seed);
  v("role", trial.role);
  v("status", trial.status);
  v("rung", trial.rung);
  v("folder", trial.folder);
  v("message", trial.message);
  v("steps", trial.steps);
  v("total_steps", trial.total_steps);
  v("samples", trial.samples);
  v("epochs", trial.epochs);
  v("final_top1", trial.final_top1);
  v("best_top1", trial.best_top1);
  v("to_target", trial.to_target);
  v("images_per_second", trial.images_per_second, Basis::kClock);
  v("seconds", trial.seconds, Basis::kClock);
  v("joules_per_image", trial.joules_per_image, Basis::kClock);
  v("energy_source", trial.energy_source, Basis::kClock);
  v("peak_memory_bytes", trial.peak_memory_bytes, Basis::kClock);
  v("noise_scale", trial.noise_scale);
  v("digest", trial.digest);
  v("evaluations", trial.evaluations);
}

template <class Visitor>
void fields(BatchSummary& batch, Visitor& v) {
  v("batch", batch.batch);
  v("shard_batch", batch.shard_batch);
  v("complete", batch.complete);
  v("linear_lr", batch.linear_lr);
  v("sqrt_lr", batch.sqrt_lr);
  v("best_lr", batch.best_lr);
  v("at_edge", batch.at_edge);
  v("candidates", batch.candidates);
  v("diverged", batch.diverged);
  v("seeds", batch.seeds);
  v("reached", batch.reached);
  v("mean_top1", batch.mean_top1);
  v("sd_top1", batch.sd_top1);
  v("min_top1", batch.min_top1);
  v("max_top1", batch.max_top1);
  v("steps_to_target", batch.steps_to_target);
  v("epochs_to_target", batch.epochs_to_target);
  v("samples_to_target", batch.samples_to_target);
  v("seconds_to_target", batch.seconds_to_target, Basis::kClock);
  v("joules_to_target", batch.joules_to_target, Basis::kClock);
  v("images_per_second", batch.images_per_second, Basis::kClock);
  v("milliseconds_per_step", batch.milliseconds_per_step, Basis::kClock);
  v("difference", batch.difference);
  v("difference_low", batch.difference_low);
  v("difference_high", batch.difference_high);
  v("without_loss", batch.without_loss);
}

template <class Visitor>
void fields(BatchLaw& fit, Visitor& v) {
  v("min_samples", fit.min_samples);
  v("critical_batch", fit.critical_batch);  // null: infinity
  v("critical_low", fit.critical_low);
  v("critical_high", fit.critical_high);
  v("worst_residual", fit.worst_residual);
  v("points", fit.points);
}

template <class Visitor>
void fields(SweepVerdict& verdict, Visitor& v) {
  v("tolerance", verdict.tolerance);
  v("spread", verdict.spread);
  v("spread_is_sampling", verdict.spread_is_sampling);
  v("best_batch", verdict.best_batch);
  v("largest_without_loss", verdict.largest_without_loss);
  v("fastest", verdict.fastest, Basis::kClock);
  v("fewest_samples", verdict.fewest_samples);
  v("lr_exponent", verdict.lr_exponent);
  v("lr_rule", verdict.lr_rule);
  v("linear_error", verdict.linear_error);
  v("sqrt_error", verdict.sqrt_error);
  v("fit", verdict.fit);
  v("predicted_critical", verdict.predicted_critical);
  v("predicted_over_fitted", verdict.predicted_over_fitted);
  v("text", verdict.text, Basis::kClock);
}

template <class Visitor>
void fields(SweepResult& result, Visitor& v) {
  v("name", result.name);
  v("model", result.model);
  v("base_batch", result.base_batch);
  v("base_lr", result.base_lr);
  v("train_samples", result.train_samples);
  v("eval_samples", result.eval_samples);
  v("schedule_epochs", result.schedule_epochs);
  v("target", result.target);
  v("rungs", result.rungs);
  v("seeds", result.seeds);
  v("select", result.select);
  v("stop_at_target", result.stop_at_target);
  v("evaluation_epochs", result.evaluation_epochs);
  v("complete", result.complete);
  v("missing", result.missing);
  v("best_config", result.best_config);
  v("verdict", result.verdict);
  v("batches", result.batches);
  v("trials", result.trials);
}

template <class Enum>
constexpr int kCount = 0;
template <>
constexpr int kCount<TrialStatus> = 5;
template <>
constexpr int kCount<TrialRole> = 3;

std::string_view name_of(TrialStatus status) { return trial_status_name(status); }
std::string_view name_of(TrialRole role) { return trial_role_name(role); }

class Writer {
 public:
  explicit Writer(bool times) : times_(times) {}

  template <class Value>
  void operator()(const char* key, Value& value, Basis source = Basis::kTraining) {
    if (times_ || source == Basis::kTraining) object_[key] = to_json(value);
  }
  ordered_json take() { return std::move(object_); }

 private:
  template <class Value>
  ordered_json to_json(Value& value) const {
    if constexpr (std::is_enum_v<Value>)
      return std::string(name_of(value));
    else if constexpr (requires(Writer& writer) { fields(value, writer); })
      return object(value);
    else
      return value;
  }
  template <class Value>
  ordered_json to_json(std::optional<Value>& value) const {
    return value ? to_json(*value) : ordered_json();
  }
  template <class Value>
  ordered_json to_json(std::vector<Value>& values) const {
    ordered_json list = ordered_json::array();
    for (Value& value : values) list.push_back(to_json(value));
    return list;
  }
  template <class Value>
  ordered_json object(Value& value) const {
    Writer writer(times_);
    fields(value, writer);
    return writer.take();
  }

  bool times_;
  ordered_json object_ = ordered_json::object();
};

// A value as an error shows it: cut where it is long; of lists and objects, which may be nested deep, only what they are.
std::string shown(const Parsed& json) {
  constexpr std::size_t kLongest = 60;
  if (json.is_structured()) return std::string("an ") + json.type_name();
  const std::string text = json.dump(-1, ' ', false, Parsed::error_handler_t::replace);
  return text.size() <= kLongest ? text : text.substr(0, kLongest) + "...";
}

// Fields that depend on clocks may be absent.
class Reader {
 public:
  Reader(const Parsed& object, const std::string& where) : object_(object), where_(where) {
    if (!object.is_object()) throw UserError(fmt::format("{}: got {}, want an object", where, object.type_name()), ExitCode::kData);
  }

  template <class Value>
  void operator()(const char* key, Value& value, Basis source = Basis::kTraining) {
    const auto found = object_.find(key);
    const std::string where = where_ + "." + key;
    if (found != object_.end())
      from_json(*found, value, where);
    else if (source == Basis::kTraining)
      throw UserError(where + ": missing", ExitCode::kData);
  }

 private:
  template <class Value>
  void from_json(const Parsed& json, Value& value, const std::string& where) const {
    if constexpr (std::is_enum_v<Value>) {
      for (int i = 0; i < kCount<Value>; ++i)
        if (json == name_of(static_cast<Value>(i))) return void(value = static_cast<Value>(i));
      throw UserError(fmt::format("{}: unknown word {}", where, shown(json)), ExitCode::kData);
    } else if constexpr (requires(Reader& reader) { fields(value, reader); }) {
      Reader reader(json, where);
      fields(value, reader);
    } else if constexpr (std::is_same_v<Value, double>) {
      value = json.is_null() ? std::numeric_limits<double>::infinity() : plain<double>(json, where);
    } else {
      value = plain<Value>(json, where);
    }
  }
  template <class Value>
  void from_json(const Parsed& json, std::optional<Value>& value, const std::string& where) const {
    if (!json.is_null()) from_json(json, value.emplace(), where);
  }
  template <class Value>
  void from_json(const Parsed& json, std::vector<Value>& values, const std::string& where) const {
    if (!json.is_array()) throw UserError(fmt::format("{}: got {}, want a list", where, json.type_name()), ExitCode::kData);
    for (const Parsed& each : json) from_json(each, values.emplace_back(), fmt::format("{}[{}]", where, values.size() - 1));
  }
  template <class Value>
  Value plain(const Parsed& json, const std::string& where) const {
    bool fits = false;
    if constexpr (std::is_same_v<Value, bool>)
      fits = json.is_boolean();
    else if constexpr (std::is_integral_v<Value>)
      fits = is_integer<Value>(json);
    else
      fits = std::is_same_v<Value, double> ? json.is_number() : json.is_string();
    if (!fits) throw UserError(fmt::format("{}: got {}", where, shown(json)), ExitCode::kData);
    return json.get<Value>();
  }

  const Parsed& object_;
  std::string where_;
};

}  // namespace

std::string_view trial_status_name(TrialStatus status) {
  switch (status) {
    case TrialStatus::kWaiting: return "waiting";
    case TrialStatus::kPartial: return "partial";
    case TrialStatus::kDropped: return "dropped";
    case TrialStatus::kFinished: return "finished";
    case TrialStatus::kDiverged: return "diverged";
  }
  return "?";
}

std::string_view trial_role_name(TrialRole role) {
  switch (role) {
    case TrialRole::kProbe: return "probe";
    case TrialRole::kSearch: return "search";
    case TrialRole::kSeed: return "seed";
  }
  return "?";
}

std::string sweep_json(const SweepResult& result, bool times) {
  SweepResult copy = result;  // one list of fields serves reading, too
  Writer writer(times);
  std::string format = kFormat;
  writer("format", format);
  fields(copy, writer);
  return writer.take().dump(1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

SweepResult parse_sweep_json(std::string_view text, const std::string& where) {
  const Parsed object = Parsed::parse(text, nullptr, false);
  if (object.is_discarded()) throw UserError(where + ": damaged: it is not JSON", ExitCode::kData);
  Reader reader(object, where);
  std::string format;
  reader("format", format);
  if (format != kFormat) throw UserError(fmt::format("{}: format is '{}', want '{}'", where, format, kFormat), ExitCode::kData);
  SweepResult result;
  fields(result, reader);
  return result;
}

bool is_sweep_folder(const std::string& folder) {
  std::error_code none;
  return std::filesystem::exists(folder + "/sweep.json", none) || std::filesystem::exists(folder + "/sweep.settings", none);
}

SweepResult load_sweep(const std::string& folder) {
  const std::string path = folder + "/sweep.json";
  std::error_code none;
  if (!std::filesystem::exists(path, none))
    throw UserError(fmt::format("{}: no sweep.json; `lockstep tune` writes it when it ends, also when it is stopped", folder), ExitCode::kNoInput);
  return parse_sweep_json(read_small_file(posix_fs(), path, kFileCap), path);
}

}  // namespace lockstep
