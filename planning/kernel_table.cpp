// SPDX-License-Identifier: Apache-2.0
#include "planning/kernel_table.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"

namespace lockstep {
namespace {

using nlohmann::json;

constexpr std::uintmax_t kLargestFile = std::uintmax_t{64} << 20;
constexpr double kLongestStepMs = 1e7;

class Reader {
 public:
  Reader(const json& object, std::string file) : object_(object), file_(std::move(file)) {}

  std::string text(const char* key) const {
    if (!object_.contains(key) || !object_[key].is_string()) fail(key, "a text");
    return object_[key].get<std::string>();
  }
  std::int64_t count(const char* key) const {
    if (!object_.contains(key) || !object_[key].is_number_integer()) fail(key, "a whole number");
    const auto value = object_[key].get<std::int64_t>();
    if (value < 1 || value > 1'000'000'000) fail(key, "1 or more");
    return value;
  }
  double seconds(const char* key) const {
    if (!object_.contains(key) || !object_[key].is_number()) fail(key, "milliseconds");
    const auto value = object_[key].get<double>();
    if (!(value >= 0 && value < kLongestStepMs)) fail(key, "milliseconds, 0 or more");
    return value * 1e-3;
  }
  double seconds_or_0(const char* key) const { return object_.contains(key) ? seconds(key) : 0; }

 private:
  [[noreturn]] void fail(const char* key, const char* want) const {
    const std::string got = object_.contains(key) ? object_[key].dump().substr(0, 40) : "nothing";
    throw UserError(fmt::format("{}: {}: got {}, want {}\n  make the file with: lockstep bench step --json ... > {}", file_, key, got, want, file_));
  }

  const json& object_;
  std::string file_;
};

// Of `bench ops`: every kernel with its own time; its passes are told by the kernels' names.
void add_ops(const json& object, const std::string& file, KernelTable& table) {
  for (const json& op : object["ops"]) {
    if (!op.is_object()) throw UserError(file + ": ops: want objects with name, class and ms");
    const Reader reader(op, file);
    const std::string name = reader.text("name");
    const double seconds = reader.seconds("ms");
    if (reader.text("class") == "optimizer")
      table.update_s += seconds;
    else if (name.find("backward") != std::string::npos)
      table.backward_s += seconds;
    else
      table.forward_s += seconds;
  }
}

// What lies between the kernels is spread over all of them: the step is what was measured.
void scale_to_step(KernelTable& table) {
  const double kernels = table.forward_s + table.backward_s + table.update_s;
  if (!(kernels > 0)) return;
  for (double* part : {&table.forward_s, &table.backward_s, &table.update_s}) *part *= table.step_s / kernels;
}

}  // namespace

KernelTable parse_kernel_table(std::string_view text, const std::string& file) {
  const json object = json::parse(text, nullptr, false);
  if (!object.is_object())
    throw UserError(file + ": is no JSON object\n  make it with: lockstep bench step --json ... > " + file, ExitCode::kData);
  const Reader reader(object, file);
  KernelTable table{.file = file, .model = reader.text("model"), .dtype = reader.text("dtype")};
  table.height = static_cast<int>(reader.count("height"));
  table.width = static_cast<int>(reader.count("width"));
  table.ranks = static_cast<int>(reader.count("ranks"));
  table.threads = static_cast<int>(reader.count("threads_per_rank"));
  table.batch = reader.count("batch");
  table.step_s = reader.seconds("step_ms");
  if (object.contains("ops") && object["ops"].is_array()) {
    table.step_s -= reader.seconds_or_0("waiting_ms");
    add_ops(object, file, table);
  } else if (reader.seconds_or_0("device_ms") > 0) {
    table.step_s = reader.seconds("device_ms");  // the host's phases overlap with the device's work
  } else {
    table.step_s -= reader.seconds("data_ms") + reader.seconds("reduce_ms");
    table.forward_s = reader.seconds("forward_ms");
    table.backward_s = reader.seconds("backward_ms");
    table.update_s = reader.seconds("update_ms");
  }
  if (!(table.step_s > 0)) throw UserError(file + ": step_ms: nothing is left of the step without waiting\n  measure more steps", ExitCode::kData);
  scale_to_step(table);
  return table;
}

KernelTable load_kernel_table(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error))
    throw UserError(fmt::format("--kernels {}: there is no such file\n  make it with: lockstep bench step --json ... > {}", path, path),
                    ExitCode::kNoInput);
  if (std::filesystem::file_size(path, error) > kLargestFile)
    throw UserError(path + ": larger than 64 MiB: it is no table of kernels", ExitCode::kData);
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) throw UserError(path + ": can't be read", ExitCode::kNoInput);
  return parse_kernel_table(text.str(), path);
}

ComputeTime measured_time(const KernelTable& table, const TableSubject& subject, const ComputeTime& shape) {
  const auto differ = [&](const char* what, const std::string& measured, const std::string& wanted) {
    throw UserError(fmt::format("{}: {}: measured {}, and the config has {}\n  measure this config: lockstep bench step --json --config ...",
                                table.file, what, measured, wanted));
  };
  if (table.model != subject.model) differ("model", table.model, subject.model);
  if (table.dtype != subject.dtype) differ("dtype", table.dtype, subject.dtype);
  if (table.height != subject.height || table.width != subject.width)
    differ("image size", fmt::format("{} x {}", table.height, table.width), fmt::format("{} x {}", subject.height, subject.width));
  const double batches = static_cast<double>(subject.shard_batch) / static_cast<double>(table.batch);
  const double passes = table.step_s - table.update_s;
  const double all = shape.forward_s() + shape.backward_s();
  const bool split = table.forward_s > 0 && table.backward_s > 0;
  const double forward = (split ? table.forward_s / shape.forward_s() : passes / all) * batches;
  const double backward = (split ? table.backward_s / shape.backward_s() : passes / all) * batches;
  ComputeTime result = shape;
  for (LayerTime& layer : result.layers) {
    layer.forward_s *= forward;
    layer.backward_s *= backward;
  }
  result.update_s = table.update_s;
  result.add_shard_s = table.update_s > 0 ? 0.6 * table.update_s : 0;  // three accesses per gradient against the optimizer's five
  result.overhead_s = 0;
  result.basis = fmt::format("measured: {}, {} images in {:.1f} ms{}", table.file, table.batch, table.step_s * 1e3,
                             table.batch == subject.shard_batch ? "" : fmt::format(", scaled to {}", subject.shard_batch));
  return result;
}

}  // namespace lockstep
