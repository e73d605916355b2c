// SPDX-License-Identifier: Apache-2.0
#include "train/checkpoint/save_helper.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "core/memory.h"
#include "train/checkpoint/killpoint.h"

namespace lockstep {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kAnswerCapBytes = std::size_t{1} << 16;
constexpr double kGrace_s = 5;
constexpr int kNiceness = 5;  // training goes first

std::size_t aligned(std::size_t nbytes) { return (nbytes + kAlignment - 1) / kAlignment * kAlignment; }

// --- In the helper process ---

// Holding a copy of a socket would hide this rank's death from its peers; holding stdout would keep the launcher waiting.
void keep_only(int first, int second) {
  const auto low = static_cast<unsigned>(std::min(first, second)), high = static_cast<unsigned>(std::max(first, second));
  const int null = ::open("/dev/null", O_RDWR);
  for (int standard = 0; null >= 0 && standard <= 2; ++standard) ::dup2(null, standard);
  if (low > 3) ::close_range(3, low - 1, 0);
  if (high > low + 1) ::close_range(low + 1, high - 1, 0);
  ::close_range(high + 1, ~0U, 0);
}

SaveAnswer carry_out(CheckpointStore& store, const std::byte* memory, const SaveOrder& order) {
  const Manifest manifest = decode_manifest(
      {reinterpret_cast<const char*>(memory), static_cast<std::size_t>(order.manifest_nbytes)}, "shared memory");
  std::array<std::vector<NamedView>, 2> views;
  for (std::size_t i = 0; i < views.size(); ++i)
    for (const ManifestTensor& tensor : manifest.files.at(i).tensors)
      views[i].push_back({tensor.entry.name, {memory + tensor.entry.offset, tensor.entry.shape, tensor.entry.dtype, {}}});
  SaveAnswer answer;
  answer.report = store.save(manifest.facts, views[0], views[1], manifest.is_best);
  return answer;
}

SaveAnswer carry_out_or_explain(CheckpointStore& store, int memory_file, const SaveOrder& order) {
  SaveAnswer answer;
  void* memory = ::mmap(nullptr, order.memory_nbytes, PROT_READ, MAP_SHARED, memory_file, 0);
  if (memory == MAP_FAILED) {
    answer.error = fmt::format("checkpoint helper: mmap of {} bytes: {}", order.memory_nbytes, std::strerror(errno));
    return answer;
  }
  try {
    answer = carry_out(store, static_cast<const std::byte*>(memory), order);
  } catch (const Error& error) {
    answer.error = error.what();
    answer.code = error.code();
  } catch (const std::exception& error) {
    answer.error = error.what();
    answer.code = ExitCode::kInternal;
  }
  ::munmap(memory, order.memory_nbytes);
  return answer;
}

[[noreturn]] void serve(int socket, int memory_file, const std::string& directory, Fs& fs, CheckpointOptions options) {
  if (::setsid() < 0) errno = 0;  // out of the rank's process group, which mpirun kills as a whole; a child's can't fail
  for (const int ignored : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE}) ::signal(ignored, SIG_IGN);
  kill_point_takes_along(::getppid());
  keep_only(socket, memory_file);
  if (::nice(kNiceness) == -1) errno = 0;  // only a courtesy
  std::vector<std::string> warnings;
  options.warn = [&](const std::string& text) { warnings.push_back(text); };
  CheckpointStore store(directory, fs, options);
  SaveOrder order;
  while (::recv(socket, &order, sizeof order, 0) == static_cast<ssize_t>(sizeof order)) {
    SaveAnswer answer = carry_out_or_explain(store, memory_file, order);
    answer.warnings = std::exchange(warnings, {});
    const std::string text = encode_answer(answer);
    if (::send(socket, text.data(), text.size(), MSG_NOSIGNAL) < 0) break;
  }
  ::_exit(0);
}

}  // namespace

std::string encode_answer(const SaveAnswer& answer) {
  nlohmann::json json = {{"error", answer.error}, {"code", static_cast<int>(answer.code)}, {"step", answer.report.step},
                         {"path", answer.report.path}, {"digest", answer.report.digest}, {"nbytes", answer.report.nbytes},
                         {"seconds", answer.report.seconds}, {"removed", answer.report.removed},
                         {"already_there", answer.report.already_there}, {"warnings", answer.warnings}};
  const auto dump = [&] { return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace); };
  std::string text = dump();
  if (text.size() > kAnswerCapBytes) {
    const std::string first = answer.warnings.empty() ? "" : answer.warnings.front().substr(0, 1000);
    json["warnings"] = {fmt::format("{} warnings, the first: {}", answer.warnings.size(), first)};
    json["error"] = answer.error.substr(0, 4000);
    text = dump();
  }
  return text;
}

SaveAnswer decode_answer(const std::string& text) {
  const auto json = nlohmann::json::parse(text);
  SaveAnswer answer;
  answer.error = json.at("error");
  answer.code = static_cast<ExitCode>(json.at("code").get<int>());
  answer.report.step = json.at("step");
  answer.report.path = json.at("path");
  answer.report.digest = json.at("digest");
  answer.report.nbytes = json.at("nbytes");
  answer.report.seconds = json.at("seconds");
  answer.report.removed = json.at("removed");
  answer.report.already_there = json.at("already_there");
  answer.warnings = json.at("warnings").get<std::vector<std::string>>();
  return answer;
}

SharedMemory::SharedMemory() : file_(::memfd_create("lockstep-checkpoint", MFD_CLOEXEC)) {
  if (file_ < 0) throw_errno("memfd_create", "lockstep-checkpoint", errno, ExitCode::kEnvironment);
}

SharedMemory::~SharedMemory() {
  if (data_ != nullptr) ::munmap(data_, nbytes_);
  ::close(file_);
}

std::byte* SharedMemory::grow(std::size_t nbytes) {
  if (nbytes <= nbytes_) return data_;
  if (data_ != nullptr) ::munmap(std::exchange(data_, nullptr), std::exchange(nbytes_, 0));
  // Reserved now: running out of memory later, in the middle of a copy, would be SIGBUS instead of an error.
  if (const int failed = ::posix_fallocate(file_, 0, static_cast<off_t>(nbytes)); failed != 0)
    throw EnvironmentError(fmt::format("checkpoint: no memory for a copy of the state ({} bytes): {}", nbytes, std::strerror(failed)));
  void* mapped = ::mmap(nullptr, nbytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file_, 0);
  if (mapped == MAP_FAILED) throw_errno("mmap", "lockstep-checkpoint", errno, ExitCode::kEnvironment);
  data_ = static_cast<std::byte*>(mapped);
  nbytes_ = nbytes;
  return data_;
}

SaveOrder snapshot(const TrainingState& state, bool is_best, SharedMemory& memory) {
  Manifest manifest;
  manifest.is_best = is_best;
  manifest.facts = state;
  manifest.facts.model.clear();
  manifest.facts.optimizer.clear();
  std::size_t end = aligned(kManifestCapBytes);
  const auto place = [&](const char* file, const std::vector<NamedTensor>& tensors) {
    ManifestFile listed{file, 0, {}, {}};
    for (const auto& [name, tensor] : tensors) {
      LS_CHECK(tensor.device().kind == DeviceKind::kCpu,
               "checkpoint: '" + name + "' is on " + tensor.device().str() + ", want host memory");
      listed.tensors.push_back({{name, tensor.dtype(), tensor.shape(), end, tensor.nbytes()}, {}});
      end += aligned(tensor.nbytes());
    }
    manifest.files.push_back(std::move(listed));
  };
  place(kModelFileName, state.model);
  place(kOptimizerFileName, state.optimizer);
  manifest.state_digest = digest_of(manifest);
  const std::string encoded = encode_manifest(manifest);
  std::byte* data = memory.grow(end);
  std::memcpy(data, encoded.data(), encoded.size());
  std::size_t at = aligned(kManifestCapBytes);
  for (const auto* tensors : {&state.model, &state.optimizer})
    for (const NamedTensor& tensor : *tensors) {
      std::memcpy(data + at, tensor.tensor.ptr(), tensor.tensor.nbytes());
      at += aligned(tensor.tensor.nbytes());
    }
  return {end, encoded.size()};
}

HelperProcess::HelperProcess(const std::string& directory, Fs& fs, const CheckpointOptions& options, const SharedMemory& memory) {
  int sockets[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0)
    throw_errno("socketpair", "checkpoint helper", errno, ExitCode::kEnvironment);
  const MemoryNotInherited not_inherited;  // the helper works on shared memory alone
  pid_ = ::fork();
  if (pid_ == 0) serve(sockets[1], memory.file(), directory, fs, options);
  const int error_number = errno;
  ::close(sockets[1]);
  socket_ = sockets[0];
  if (pid_ < 0) {
    ::close(socket_);
    throw_errno("fork", "checkpoint helper", error_number, ExitCode::kEnvironment);
  }
}

HelperProcess::~HelperProcess() {
  if (socket_ < 0) return;
  ::close(socket_);
  reap(kGrace_s);
}

std::string HelperProcess::reap(double timeout_s) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(timeout_s);
  int status = 0;
  pid_t ended = 0;
  while ((ended = ::waitpid(pid_, &status, WNOHANG)) == 0 && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  if (ended != pid_) return "";
  if (WIFSIGNALED(status)) return fmt::format("killed by signal {}", WTERMSIG(status));
  return fmt::format("exit code {}", WEXITSTATUS(status));
}

void HelperProcess::send(const SaveOrder& order) {
  if (::send(socket_, &order, sizeof order, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof order))
    throw_errno("send", "checkpoint helper", errno, ExitCode::kIo);
}

std::optional<SaveAnswer> HelperProcess::receive(double timeout_s) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(timeout_s);
  std::string text(2 * kAnswerCapBytes, '\0');
  ssize_t got = -1;
  for (;;) {
    const double left_s = std::chrono::duration<double>(end - std::chrono::steady_clock::now()).count();
    pollfd wanted = {socket_, POLLIN, 0};
    const int ready = ::poll(&wanted, 1, static_cast<int>(std::clamp(left_s, 0.0, 3600.0) * 1000));
    if (ready > 0) got = ::recv(socket_, text.data(), text.size(), MSG_DONTWAIT);
    if (ready > 0 && (got >= 0 || errno != EAGAIN)) break;
    if (left_s <= 0) return std::nullopt;
  }
  if (got > 0) return decode_answer(text.substr(0, static_cast<std::size_t>(got)));
  ::close(std::exchange(socket_, -1));
  SaveAnswer answer;
  answer.error = "the checkpoint helper process ended unexpectedly (" + reap(kGrace_s) + ")";
  return answer;
}

}  // namespace lockstep
