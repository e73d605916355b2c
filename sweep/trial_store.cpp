// SPDX-License-Identifier: Apache-2.0
#include "sweep/trial_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/error.h"
#include "sweep/json_integer.h"
#include "train/checkpoint/file_io.h"
#include "train/checkpoint/run_lock.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::uint64_t kFileCap = std::uint64_t{64} << 20;
constexpr const char* kSettings = "sweep.settings";

void make_folder(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error || access(path.c_str(), W_OK) != 0)
    throw EnvironmentError(fmt::format("sweep folder {}: can't be written: {}\n  Give another one with --run-dir, or mend its permissions.", path,
                                       error ? error.message() : std::strerror(errno)),
                           ExitCode::kCantCreate);
}

// Of temporary files: no other process on any machine uses it.
std::string suffix() { return fmt::format("{}.{}", this_process().host, getpid()); }

// Writes aside and links: the first of several that start at the same time wins, the others compare. True: written now.
bool create_once(const std::string& path, const std::string& text) {
  const std::string aside = path + "." + suffix();
  replace_small_file(posix_fs(), aside, text, suffix());
  const bool linked = link(aside.c_str(), path.c_str()) == 0;
  const int why = errno;
  unlink(aside.c_str());
  if (!linked && why != EEXIST) throw_errno("create", path, why, ExitCode::kCantCreate);
  return linked;
}

void refuse_another(const std::string& folder, const std::vector<std::string>& differences) {
  std::string list;
  for (const std::string& each : differences) list += "\n    " + each;
  throw UserError(
      fmt::format("sweep folder {}: holds another sweep; what differs:{}\n  Give another folder with --run-dir, or the settings that it was "
                  "begun with.",
                  folder, list),
      ExitCode::kCantCreate);
}

[[noreturn]] void damaged(const std::string& where, std::string_view why) {
  throw UserError(fmt::format("{}: damaged: {}\n  Remove it: the trial then goes on from its last checkpoint.", where, why), ExitCode::kData);
}

// Rungs and steps index what the plan has.
void check_fits(const SweepPlan& plan, const BatchPlan& batch, const TrialProgress& progress, const std::string& where) {
  if (progress.rung < -1 || progress.rung >= plan.rungs()) damaged(where, fmt::format("there is no rung {}", progress.rung));
  std::int64_t before = 0;
  for (const TrialEvaluation& each : progress.measured.evaluations) {
    if (each.step <= before || each.step > batch.total_steps) damaged(where, fmt::format("an evaluation at step {}", each.step));
    before = each.step;
  }
}

template <class Integer>
Integer read_integer(const json& number, const std::string& where) {
  if (!is_integer<Integer>(number)) damaged(where, "a count is no whole number, or too large");
  return number.get<Integer>();
}

ordered_json optional_number(const std::optional<double>& value) { return value ? ordered_json(*value) : ordered_json(); }

std::optional<double> read_optional(const json& object, const char* key) {
  return object.at(key).is_null() ? std::nullopt : std::optional(object.at(key).get<double>());
}

}  // namespace

TrialClaim::~TrialClaim() {
  if (file_ >= 0) ::close(file_);
}

TrialStore::TrialStore(const SweepPlan& plan) : plan_(plan) {
  make_folder(plan.folder);
  const std::string path = plan.folder + "/" + kSettings, ours = sweep_identity(plan);
  if (!fs::exists(path) && !fs::is_empty(plan.folder) && !fs::exists(plan.folder + "/trials"))
    throw UserError(fmt::format("sweep folder {}: holds something else already\n  Give an empty or new folder with --run-dir.", plan.folder),
                    ExitCode::kCantCreate);
  make_folder(plan.folder + "/trials");
  if (fs::exists(path) || !create_once(path, ours)) {
    const auto differences = identity_differences(read_small_file(posix_fs(), path, kFileCap), ours);
    if (!differences.empty()) refuse_another(plan.folder, differences);
  }
}

SweepProgress TrialStore::load() const {
  SweepProgress progress;
  const auto add = [&](const TrialKey& key) {
    if (auto one = load(key)) progress.emplace(key, std::move(*one));
  };
  if (plan_.probe) add(*plan_.probe);
  for (const BatchPlan& batch : plan_.batches)
    for (const double lr : batch.lrs)
      for (const std::uint64_t seed : plan_.seeds) add({batch.batch, lr, seed});
  return progress;
}

std::optional<TrialProgress> TrialStore::load(const TrialKey& key) const {
  const std::string path = plan_.folder_of(key) + "/trial.json";
  std::error_code none;
  if (!fs::exists(path, none)) return std::nullopt;
  TrialProgress progress = parse_progress(read_small_file(posix_fs(), path, kFileCap), path);
  check_fits(plan_, plan_.of(key.batch), progress, path);
  return progress;
}

std::optional<TrialClaim> TrialStore::claim(const TrialKey& key) const {
  const std::string folder = plan_.folder_of(key);
  make_folder(folder);
  const std::string path = folder + "/trial.lock";
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) throw_errno("open", path, errno, ExitCode::kCantCreate);
  TrialClaim claim(file);
  if (::flock(file, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK || errno == EINTR) return std::nullopt;
    throw EnvironmentError(fmt::format("{}: can't be locked: {}\n  The sweep's folder must lie on a file system with flock (Lustre: mount -o flock).",
                                       path, std::strerror(errno)),
                           ExitCode::kCantCreate);
  }
  // Renewed where it says something else: the sweep's folder, or the data, may lie elsewhere now, or be named from another folder.
  const std::string config = folder + "/trial.pbtxt", text = trial_config_text(plan_, key);
  if (!fs::exists(config) || read_small_file(posix_fs(), config, kFileCap) != text) replace_small_file(posix_fs(), config, text, suffix());
  return claim;
}

void TrialStore::save(const TrialKey& key, const TrialProgress& progress) const {
  replace_small_file(posix_fs(), plan_.folder_of(key) + "/trial.json", progress_json(progress), suffix());
}

void TrialStore::write(const std::string& name, const std::string& text) const {
  replace_small_file(posix_fs(), plan_.folder + "/" + name, text, suffix());
}

std::string progress_json(const TrialProgress& progress) {
  const TrialMeasurement& measured = progress.measured;
  ordered_json object{{"format", "lockstep trial 1"}, {"rung", progress.rung}, {"diverged", progress.diverged}, {"message", progress.message}};
  object["digest"] = measured.digest;
  object["images_per_second"] = optional_number(measured.images_per_second);
  object["peak_memory_bytes"] = optional_number(measured.peak_memory_bytes);
  object["joules_per_image"] = optional_number(measured.joules_per_image);
  object["energy_source"] = measured.energy_source;
  object["evaluations"] = ordered_json::array();
  for (const TrialEvaluation& each : measured.evaluations) object["evaluations"].push_back({each.step, each.epoch, each.top1});
  object["noise"] = ordered_json::array();  // infinity is null
  for (const NoisePoint& each : measured.noise)
    object["noise"].push_back({each.step, std::isfinite(each.noise_scale) ? ordered_json(each.noise_scale) : ordered_json(), each.steps});
  return object.dump(1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

TrialProgress parse_progress(const std::string& text, const std::string& where) {
  try {
    const json object = json::parse(text);
    if (object.at("format") != "lockstep trial 1") throw UserError(where + ": not a trial of this version of lockstep", ExitCode::kData);
    TrialProgress progress{.rung = read_integer<int>(object.at("rung"), where), .diverged = object.at("diverged"), .message = object.at("message")};
    TrialMeasurement& measured = progress.measured;
    measured.digest = object.at("digest");
    measured.images_per_second = read_optional(object, "images_per_second");
    measured.peak_memory_bytes = read_optional(object, "peak_memory_bytes");
    measured.joules_per_image = read_optional(object, "joules_per_image");
    measured.energy_source = object.at("energy_source");
    for (const json& each : object.at("evaluations"))
      measured.evaluations.push_back({read_integer<std::int64_t>(each.at(0), where), each.at(1), each.at(2)});
    for (const json& each : object.at("noise"))
      measured.noise.push_back({read_integer<std::int64_t>(each.at(0), where),
                                each.at(1).is_null() ? std::numeric_limits<double>::infinity() : each.at(1).get<double>(), each.at(2)});
    return progress;
  } catch (const nlohmann::json::exception& error) {
    damaged(where, error.what());
  }
}

}  // namespace lockstep
