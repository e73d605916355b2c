// SPDX-License-Identifier: Apache-2.0
#include "train/checkpoint/run_lock.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <optional>
#include <sstream>
#include <utility>
#include <vector>

#include "train/checkpoint/file_io.h"

namespace lockstep {
namespace {

constexpr std::string_view kPrefix = "run.lock.";
constexpr std::uint64_t kLockCapBytes = 4096;
constexpr double kStartingUp_s = 10;  // an unreadable lock that is younger is being written by its owner
constexpr int kClaims = 100;          // more races than this in a row is a bug

// 0 when there is no such process, or only its remains: a zombie, whose parent has not asked for its exit code, is dead.
std::uint64_t start_ticks_of(std::int64_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string text((std::istreambuf_iterator<char>(file)), {});
  // The second field is the command in brackets and may hold anything; after it, start time is the 20th.
  const std::size_t bracket = text.rfind(')');
  if (bracket == std::string::npos) return 0;
  std::istringstream fields(text.substr(bracket + 1));
  std::string field;
  fields >> field;
  if (field == "Z" || field == "X") return 0;
  for (int i = 1; i < 20; ++i) fields >> field;
  std::uint64_t ticks = 0;
  std::from_chars(field.data(), field.data() + field.size(), ticks);
  return ticks;
}

std::string read_line(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string lock_text(const ProcessIdentity& id, std::uint64_t generation) {
  return fmt::format("lockstep run lock 1\nhost {}\npid {}\nstart_ticks {}\nboot_id {}\ngeneration {}\n", id.host, id.pid,
                     id.start_ticks, id.boot_id, generation);
}

// Nothing when the text is not (yet) a lock.
std::optional<ProcessIdentity> parse_lock(const std::string& text) {
  std::istringstream in(text);
  std::string line, word;
  ProcessIdentity id;
  std::uint64_t generation = 0;
  if (!std::getline(in, line) || line != "lockstep run lock 1") return std::nullopt;
  const bool complete = (in >> word) && word == "host" && (in >> id.host) && (in >> word) && word == "pid" && (in >> id.pid) &&
                        (in >> word) && word == "start_ticks" && (in >> id.start_ticks) && (in >> word) && word == "boot_id" &&
                        (in >> id.boot_id) && (in >> word) && word == "generation" && (in >> generation);
  return complete ? std::optional(id) : std::nullopt;
}

// Generations whose lock file exists, ascending.
std::vector<std::uint64_t> generations_in(Fs& fs, const std::string& folder) {
  std::vector<std::uint64_t> found;
  for (const DirectoryEntry& entry : fs.list(folder)) {
    if (!entry.name.starts_with(kPrefix) || entry.kind != FileKind::kFile) continue;
    std::uint64_t generation = 0;
    const char* end = entry.name.data() + entry.name.size();
    const auto parsed = std::from_chars(entry.name.data() + kPrefix.size(), end, generation);
    if (parsed.ec == std::errc{} && parsed.ptr == end) found.push_back(generation);
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::string lock_path(const std::string& folder, std::uint64_t generation) {
  return join_path(folder, std::string(kPrefix) + std::to_string(generation));
}

// Seconds since the lock was renewed, by the file system's own clock: hosts' clocks may differ.
double silence_of(Fs& fs, const std::string& folder, const FileStatus& lock, std::int64_t pid) {
  const std::string probe = join_path(folder, fmt::format("run.probe.{}", pid));
  if (fs.status(probe)) fs.unlink(probe);
  fs.close(fs.open_new(probe));
  const auto now = fs.status(probe);
  fs.unlink(probe);
  return now ? now->modified_s - lock.modified_s : 0;
}

// Throws when the lock `path` is held by somebody who lives; returns when it may be replaced.
void refuse_if_held(Fs& fs, const std::string& folder, const std::string& path, const RunLockOptions& options) {
  const auto status = fs.status(path);
  if (!status) return;
  const double silence = silence_of(fs, folder, *status, options.identity.pid);
  std::optional<ProcessIdentity> holder;
  try {
    holder = parse_lock(read_small_file(fs, path, kLockCapBytes));
  } catch (const UserError&) {
    return;  // gone in the meantime, or nothing that lockstep wrote
  } catch (const FsError& error) {
    if (error.error_number() == ENOENT) return;
    throw;
  }
  if (!holder) {
    if (silence > kStartingUp_s) return;
    throw UserError(fmt::format("{}: another job is starting in this run folder ({}); wait for it or use another --run-dir",
                                folder, path), ExitCode::kCantCreate);
  }
  const bool same_host = holder->host == options.identity.host;
  const bool alive = same_host ? holder->boot_id == options.identity.boot_id && is_alive(*holder) : silence <= options.silent_s;
  if (!alive) return;
  std::string hint = "wait for it to end or stop it";
  if (!same_host) hint = fmt::format("if that host is gone, wait until it has been silent for {:.0f} s", options.silent_s);
  throw UserError(fmt::format("{}: the run folder is held by process {} on {} (lock {}, last sign of life {:.0f} s ago): {}, or "
                              "use another --run-dir", folder, holder->pid, holder->host, path, std::max(0.0, silence), hint),
                  ExitCode::kCantCreate);
}

// False when somebody else was faster.
bool claim(Fs& fs, const std::string& path, const std::string& text) {
  try {
    OutputFile file(fs, path, text.size());
    file.append(text.data(), text.size());
    file.finish();
    return true;
  } catch (const FsError& error) {
    if (error.error_number() == EEXIST) return false;
    try {
      if (fs.status(path)) fs.unlink(path);
    } catch (const FsError&) {
      // An unreadable lock counts as abandoned after a few seconds.
    }
    throw;
  }
}

}  // namespace

ProcessIdentity this_process() {
  char host[256] = {};
  if (::gethostname(host, sizeof host - 1) != 0) throw_errno("gethostname", "", errno, ExitCode::kEnvironment);
  const std::int64_t pid = ::getpid();
  return {host, pid, start_ticks_of(pid), read_line("/proc/sys/kernel/random/boot_id")};
}

bool is_alive(const ProcessIdentity& process) {
  if (process.pid <= 0 || (::kill(static_cast<pid_t>(process.pid), 0) != 0 && errno == ESRCH)) return false;
  return start_ticks_of(process.pid) == process.start_ticks;
}

RunLock RunLock::acquire(Fs& fs, const std::string& run_folder, const RunLockOptions& options) {
  try {
    return claim_next(fs, run_folder, options);
  } catch (const FsError& error) {
    throw EnvironmentError(run_folder + ": the run folder can't be locked: " + error.what(), ExitCode::kCantCreate);
  }
}

RunLock RunLock::claim_next(Fs& fs, const std::string& run_folder, const RunLockOptions& options) {
  for (int attempt = 0; attempt < kClaims; ++attempt) {
    const std::vector<std::uint64_t> existing = generations_in(fs, run_folder);
    if (!options.force)
      for (const std::uint64_t generation : existing) refuse_if_held(fs, run_folder, lock_path(run_folder, generation), options);
    const std::uint64_t mine = std::max(options.minimum_generation, existing.empty() ? 0 : existing.back()) + 1;
    const std::string path = lock_path(run_folder, mine);
    if (!claim(fs, path, lock_text(options.identity, mine))) continue;
    RunLock lock(fs, path, mine);
    if (generations_in(fs, run_folder).back() != mine) continue;  // overtaken meanwhile: ~RunLock removes this claim
    for (const std::uint64_t generation : existing)
      if (fs.status(lock_path(run_folder, generation))) fs.unlink(lock_path(run_folder, generation));
    fs.sync_directory(run_folder);
    return lock;
  }
  throw InternalError(run_folder + ": no lock after " + std::to_string(kClaims) + " attempts");
}

RunLock::RunLock(RunLock&& other) noexcept
    : fs_(other.fs_), path_(std::exchange(other.path_, {})), generation_(other.generation_) {}

RunLock::~RunLock() {
  try {
    release();
  } catch (const FsError&) {
    // The lock stays; the next start sees that its holder is gone.
  }
}

void RunLock::heartbeat() { fs_->touch(path_); }

void RunLock::release() {
  const std::string path = std::exchange(path_, {});
  if (!path.empty() && fs_->status(path)) fs_->unlink(path);
}

void check_fence(Fs& fs, const std::string& run_folder, std::uint64_t generation) {
  const std::vector<std::uint64_t> existing = generations_in(fs, run_folder);
  if (!existing.empty() && existing.back() == generation) return;
  throw EnvironmentError(
      existing.empty() ? fmt::format("{}: this job's lock {} is gone; nothing more is written here", run_folder,
                                     lock_path(run_folder, generation))
                       : fmt::format("{}: another job has taken over this run folder (generation {}, this one is {}); nothing "
                                     "more is written here", run_folder, existing.back(), generation), ExitCode::kCantCreate);
}

}  // namespace lockstep
