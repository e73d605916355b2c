// SPDX-License-Identifier: Apache-2.0
#include "sweep/process_runner.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <thread>

#include "train/clock.h"

namespace lockstep {
namespace {

constexpr int kStopSignal = SIGUSR1;  // the clean stop of a single process, of mpirun and of tools/mpi.sh alike
constexpr double kRetryEvery_s = 1;
constexpr std::streamoff kLogTail = 16384;

double now_s() { return static_cast<double>(steady_ns()) * 1e-9; }

// The end of a file, not more than what stands at `begin` and behind it.
std::string read_tail(const std::string& path, std::int64_t begin = 0) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const std::streamoff size = file ? static_cast<std::streamoff>(file.tellg()) : 0;
  file.seekg(std::max<std::streamoff>(begin, size - kLogTail));
  return {std::istreambuf_iterator<char>(file), {}};
}

// The first line of the last message; "" without one.
std::string last_error(const std::string& log) {
  std::size_t begin = 0;
  for (const std::string_view kind : {"lockstep: error: ", "lockstep: environment error: ", "lockstep: internal error: "}) {
    const std::size_t at = log.rfind(kind);
    if (at != std::string::npos) begin = std::max(begin, at + kind.size());
  }
  return begin > 0 ? log.substr(begin, log.find('\n', begin) - begin) : "";
}

bool is_at_its_end(const TrialRequest& request, const std::vector<TrialEvaluation>& evaluations) {
  if (request.stop_at_top1 && first_reaching(evaluations, *request.stop_at_top1)) return true;
  return !evaluations.empty() && evaluations.back().step == request.until_step;
}

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> result;
  for (const std::string& word : words) result.push_back(const_cast<char*>(word.c_str()));
  result.push_back(nullptr);
  return result;
}

// Until the end of the scope signals wait: one that comes between fork and exec would be lost in the handler that the child inherits.
class SignalsWait {
 public:
  SignalsWait() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsWait() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsWait(const SignalsWait&) = delete;
  SignalsWait& operator=(const SignalsWait&) = delete;

 private:
  sigset_t before_;
};

// In the child, between fork and exec, where only that may be done which a signal handler may do: signals as a program wants to
// find them, whatever this process or its parents made of them.
void reset_signals() {
  for (const int signal_number : {SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGPIPE, SIGCHLD}) signal(signal_number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

// In the child, too.
[[noreturn]] void become(const std::vector<char*>& argv, const std::vector<char*>& env, int in, int out, int log, int lock, int parent) {
  setpgid(0, 0);  // Ctrl-C reaches the sweep alone, which then stops its trials
  prctl(PR_SET_PDEATHSIG, kStopSignal);
  if (getppid() != parent) _exit(static_cast<int>(ExitCode::kTempFail));
  dup2(in, STDIN_FILENO);
  dup2(out, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  if (lock >= 0) fcntl(lock, F_SETFD, 0);  // stays open in the trial
  reset_signals();
  execvpe(argv[0], argv.data(), env.data());
  _exit(127);
}

class File {
 public:
  File(const std::string& path, int flags) : file_(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {
    if (file_ < 0) throw_errno("open", path, errno, ExitCode::kIo);
  }
  ~File() { ::close(file_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int number() const { return file_; }

 private:
  int file_;
};

}  // namespace

ExitMeaning meaning_of_exit(int code, std::string_view error, bool was_stopped) {
  using Kind = TrialEnd::Kind;
  if (code == 0) return {Kind::kReached, ExitCode::kOk};
  const bool replicas = error.find("replicas disagree") != std::string_view::npos;
  if (code == static_cast<int>(ExitCode::kNumeric) && !replicas) return {Kind::kDiverged, ExitCode::kNumeric};
  if (was_stopped) return {Kind::kStopped, ExitCode::kTempFail};
  switch (code) {
    case static_cast<int>(ExitCode::kUsage):
    case static_cast<int>(ExitCode::kData):
    case static_cast<int>(ExitCode::kNoInput):
    case static_cast<int>(ExitCode::kInternal):
    case static_cast<int>(ExitCode::kCantCreate):
    case static_cast<int>(ExitCode::kIo): return {Kind::kFailed, static_cast<ExitCode>(code)};
    case 127: return {Kind::kFailed, ExitCode::kEnvironment};  // no such program
    default: return {Kind::kLost, code == static_cast<int>(ExitCode::kNumeric) ? ExitCode::kNumeric : ExitCode::kEnvironment};
  }
}

// An ignored SIGCHLD, which processes inherit, would have the kernel take the children's exit codes away.
ProcessRunner::ProcessRunner(ProcessRunnerOptions options) : options_(std::move(options)) { signal(SIGCHLD, SIG_DFL); }

ProcessRunner::~ProcessRunner() {
  for (const Child& child : children_) {
    if (child.pid <= 0) continue;
    kill(-child.pid, SIGKILL);
    waitpid(child.pid, nullptr, 0);
  }
}

std::vector<std::string> ProcessRunner::command(const TrialRequest& request) const {
  std::vector<std::string> words;
  if (options_.ranks > 1) {
    words = options_.launcher;
    words.push_back(std::to_string(options_.ranks));
  }
  for (const std::string& word : {options_.binary, std::string("train"), request.folder + "/trial.pbtxt", std::string("--resume"),
                                  std::string("auto"), std::string("--max-steps"), std::to_string(request.until_step), std::string("--json")})
    words.push_back(word);
  if (request.stop_at_top1) words.insert(words.end(), {"--set", fmt::format("evaluation.stop_at_top1={}", 100 * *request.stop_at_top1)});
  return words;
}

void ProcessRunner::start(const TrialRequest& request) {
  Child child{.request = request, .begun_s = now_s()};
  spawn(child);
  children_.push_back(std::move(child));
}

void ProcessRunner::spawn(Child& child) const {
  const std::vector<std::string> words = command(child.request);
  std::vector<std::string> ours;
  for (char** entry = environ; *entry != nullptr; ++entry) ours.emplace_back(*entry);
  const std::vector<std::string> environment = trial_environment(ours, options_, child.request.slot);
  const File in("/dev/null", O_RDONLY);
  const File out(child.request.folder + "/summary.json", O_WRONLY | O_CREAT | O_TRUNC);
  const File log(child.request.folder + "/trial.log", O_WRONLY | O_CREAT | O_APPEND);
  const std::vector<char*> argv = pointers(words), env = pointers(environment);
  child.log_begin = lseek(log.number(), 0, SEEK_END);
  const SignalsWait until_exec;
  const int parent = getpid();
  child.pid = fork();
  if (child.pid == 0) become(argv, env, in.number(), out.number(), log.number(), child.request.lock_file, parent);
  if (child.pid < 0) throw_errno("fork", words.front(), errno, ExitCode::kEnvironment);
  setpgid(child.pid, child.pid);  // here too: a signal may follow at once
}

std::optional<TrialEnd> ProcessRunner::poll(double timeout_s) {
  const double until = now_s() + timeout_s;
  do {
    for (std::size_t i = 0; i < children_.size(); ++i) {
      std::optional<TrialEnd> end = ended(children_[i]);
      if (!end) continue;
      children_.erase(children_.begin() + static_cast<std::ptrdiff_t>(i));
      if (children_.empty()) stopping_ = false;
      return end;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  } while (now_s() < until);
  return std::nullopt;
}

std::optional<TrialEnd> ProcessRunner::ended(Child& child) {
  if (child.pid < 0) {
    if (stopping_) return TrialEnd{.key = child.request.key, .kind = TrialEnd::Kind::kStopped, .code = ExitCode::kTempFail};
    if (now_s() >= child.retry_s) spawn(child);
    return std::nullopt;
  }
  int status = 0;
  if (waitpid(child.pid, &status, WNOHANG) != child.pid) return std::nullopt;
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  // What is left of an earlier process may hold the run folder for a moment; nobody else can: the trial is claimed.
  if (code == static_cast<int>(ExitCode::kCantCreate) && !stopping_ && now_s() - child.begun_s < options_.held_s) {
    child.pid = -1;
    child.retry_s = now_s() + kRetryEvery_s;
    return std::nullopt;
  }
  return describe(child, code);
}

TrialEnd ProcessRunner::describe(const Child& child, int code) const {
  const std::string& folder = child.request.folder;
  const std::string error = last_error(read_tail(folder + "/trial.log", child.log_begin));
  const ExitMeaning meaning = meaning_of_exit(code, error, stopping_);
  TrialEnd end{.key = child.request.key, .kind = meaning.kind, .code = meaning.code};
  if (end.kind == TrialEnd::Kind::kStopped) return end;
  end.measured = read_measurement(folder, end.kind == TrialEnd::Kind::kReached ? read_tail(folder + "/summary.json") : "", child.request.key.batch);
  const auto& evaluations = end.measured.evaluations;
  if (end.kind != TrialEnd::Kind::kReached) {
    end.message = !error.empty() ? error : fmt::format("exit code {}{}", code, code == 137 ? " (killed; out of memory?)" : "");
  } else if (!is_at_its_end(child.request, evaluations)) {
    end.kind = TrialEnd::Kind::kLost;  // the next try evaluates again
    end.code = ExitCode::kIo;
    end.message = "metrics.jsonl lacks the last evaluation: was the disk full?";
  }
  return end;
}

void ProcessRunner::stop_all() {
  stopping_ = !children_.empty();
  for (const Child& child : children_)
    if (child.pid > 0) kill(child.pid, kStopSignal);
}

}  // namespace lockstep
