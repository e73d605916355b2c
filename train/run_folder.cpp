// SPDX-License-Identifier: Apache-2.0
#include "train/run_folder.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "proto/config.pb.h"
#include "train/build_info.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kHeartbeat{5};

// Keeps the lock's sign of life fresh, whatever the training is busy with. A failure is not fatal here: if the lock is really
// lost, the fence before the next checkpoint says so.
void beat(const std::stop_token& stop, RunLock& lock) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock guard(mutex);
  while (!wake.wait_for(guard, stop, kHeartbeat, [&] { return stop.stop_requested(); })) {
    try {
      lock.heartbeat();
    } catch (const EnvironmentError&) {
      continue;
    }
  }
}

void make_folders(const std::string& path) {
  std::error_code error;
  fs::create_directories(path + "/logs", error);
  if (!error) fs::create_directories(path + "/ckpt", error);
  if (error || access(path.c_str(), W_OK) != 0)
    throw EnvironmentError(fmt::format("run folder {}: can't be written: {}\n  Give another one with --run-dir, or mend its permissions.", path,
                                       error ? error.message() : std::strerror(errno)),
                           ExitCode::kCantCreate);
}

std::string run_id(std::uint64_t generation) { return fmt::format("{}-{}", generation, getpid()); }

CheckpointOptions store_options(const proto::Checkpoint& config, const std::string& path, std::uint64_t generation,
                                const std::function<void(const std::string&)>& warn) {
  return {.keep_last = config.keep_last(),
          .keep_best = config.keep_best() ? 1 : 0,
          .generation = generation,
          .run_id = run_id(generation),
          .fence = [path, generation] { check_fence(posix_fs(), path, generation); },
          .warn = warn};
}

// A few kilobytes beside the training, replaced atomically.
void write_text(const std::string& path, const std::string& text) {
  const std::string temporary = path + ".tmp";
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file || std::rename(temporary.c_str(), path.c_str()) != 0) throw_errno("write", path, errno, ExitCode::kIo);
}

std::string utc_now() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  char text[32];
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace

ResumeRequest parse_resume(const std::string& text) {
  if (text.empty()) return {};
  if (text == "auto") return {true, Resume::kAuto, ""};
  if (text == "latest") return {true, Resume::kLatest, ""};
  if (text == "best") return {true, Resume::kBest, ""};
  return {true, Resume::kPath, text};
}

RunFolder::RunFolder(const LoadedConfig& loaded, const ResumeRequest& resume, std::function<void(const std::string&)> warn,
                     std::function<void(const SaveReport&)> on_saved)
    : path_(loaded.config().run_dir()) {
  Fs& files = posix_fs();
  // An explicit checkpoint must exist before anything is created.
  if (resume.given && resume.how == Resume::kPath) find_checkpoint(resume.where);
  if (resume.given && (resume.how == Resume::kLatest || resume.how == Resume::kBest) && !fs::exists(checkpoints()))
    throw UserError(fmt::format("--resume {}: {} holds no checkpoint; use --resume auto to start afresh when there is none, or --run-dir for "
                                "another run", resume.how == Resume::kBest ? "best" : "latest", path_),
                    ExitCode::kNoInput);
  make_folders(path_);
  CheckpointStore present(checkpoints(), files, {.warn = warn});
  lock_.emplace(RunLock::acquire(files, path_, {.minimum_generation = present.newest_generation()}));
  const CheckpointOptions options = store_options(loaded.config().checkpoint(), path_, lock_->generation(), warn);
  store_.emplace(checkpoints(), files, options);
  store_->remove_stale();
  if (!resume.given && !store_->list().empty())
    throw UserError(fmt::format("run folder {}: holds a run already (step {})\n  Continue it with --resume auto, or give another folder with --run-dir.",
                                path_, store_->list().front().manifest.facts.step),
                    ExitCode::kCantCreate);
  if (resume.given) resume_from_ = store_->find(resume.how, resume.where);
  saver_ = std::make_unique<CheckpointSaver>(checkpoints(), files, options, SaverOptions{.warn = warn, .on_saved = std::move(on_saved)});
  heartbeat_.emplace([this](const std::stop_token& stop) { beat(stop, *lock_); });  // after the saver's helper was forked
}

void RunFolder::describe(const LoadedConfig& loaded, int ranks, std::int64_t start_step) {
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  nlohmann::ordered_json run{{"started", utc_now()},
                             {"host", host},
                             {"pid", getpid()},
                             {"generation", lock_->generation()},
                             {"ranks", ranks},
                             {"start_step", start_step},
                             {"lockstep", build_id()},
                             {"config_file", loaded.file()},
                             {"config_digest", config_digest(loaded.config())}};
  for (const auto& [name, version] : build_components()) run["components"][name] = version;
  write_text(path_ + "/run.json", run.dump(2) + "\n");
  write_text(path_ + "/config.effective.pbtxt", effective_config_text(loaded));
  std::ifstream given(loaded.file(), std::ios::binary);
  if (given) write_text(path_ + "/config.pbtxt", {std::istreambuf_iterator<char>(given), {}});
}

void RunFolder::name_classes(std::span<const std::string> names) {
  std::string text;
  for (const std::string& name : names) text += name + '\n';
  if (!text.empty()) write_text(path_ + "/classes.txt", text);
}

void RunFolder::list_bad_samples(const std::map<std::string, std::string>& samples) {
  std::string text = "sample\treason\n";
  for (const auto& [name, reason] : samples) text += name + '\t' + reason + '\n';
  write_text(path_ + "/bad_samples.tsv", text);
}

CheckpointInfo find_checkpoint(const std::string& path, bool best) {
  // A run folder's checkpoints lie in its ckpt/; anything else is for the store to recognise.
  const std::string folder = fs::exists(path + "/ckpt") ? path + "/ckpt" : path;
  CheckpointStore store(folder, posix_fs());
  const std::optional<CheckpointInfo> found = best ? store.find(Resume::kBest) : store.find(Resume::kPath, folder);
  return *found;
}

}  // namespace lockstep
