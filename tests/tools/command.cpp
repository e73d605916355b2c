// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/command.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace lockstep::testing {
namespace {

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string require_env(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) throw std::runtime_error(std::string(name) + " is not set: run the tests through ctest");
  return value;
}

std::filesystem::path make_temp_dir() {
  std::string name = (std::filesystem::temp_directory_path() / "lockstep-test-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  return name;
}

[[noreturn]] void run_child(const std::vector<std::string>& argv, const std::vector<std::string>& env, const std::filesystem::path& folder) {
  setpgid(0, 0);
  const auto redirect = [&](const char* name, int fd) {
    const int file = open((folder / name).c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    dup2(file, fd);
    close(file);
  };
  redirect("out", STDOUT_FILENO);
  redirect("err", STDERR_FILENO);
  const int null = open("/dev/null", O_RDONLY);
  dup2(null, STDIN_FILENO);
  for (const std::string& entry : env) putenv(const_cast<char*>(entry.c_str()));
  unsetenv("GTEST_OUTPUT");
  std::vector<char*> args;
  for (const std::string& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
  args.push_back(nullptr);
  execvp(args[0], args.data());
  _exit(127);
}

}  // namespace

Command::Command(std::vector<std::string> argv, std::vector<std::string> env) : folder_(make_temp_dir()), started_s_(now_s()) {
  pid_ = fork();
  if (pid_ == 0) run_child(argv, env, folder_);
}

Command::~Command() {
  if (pid_ > 0) {
    kill(-pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  std::filesystem::remove_all(folder_);
}

void Command::send(int signal_number) const { kill(pid_, signal_number); }

CommandResult Command::wait(double timeout_s) {
  int status = 0;
  const bool ended = wait_for([&] { return waitpid(pid_, &status, WNOHANG) == pid_; }, timeout_s);
  CommandResult result;
  result.seconds = now_s() - started_s_;
  if (!ended) {
    kill(-pid_, SIGKILL);
    waitpid(pid_, &status, 0);
    result.exit_code = 124;
  } else {
    result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  pid_ = -1;
  result.out = read_file(folder_ / "out");
  result.err = read_file(folder_ / "err");
  return result;
}

std::string Command::out_so_far() const { return read_file(folder_ / "out"); }

CommandResult run(std::vector<std::string> argv, std::vector<std::string> env, double timeout_s) {
  return Command(std::move(argv), std::move(env)).wait(timeout_s);
}

std::string lockstep_binary() { return require_env("LOCKSTEP_BINARY"); }
std::filesystem::path source_dir() { return require_env("LOCKSTEP_SOURCE_DIR"); }
std::string tiny() { return (source_dir() / "tests/tools/tiny.pbtxt").string(); }

CommandResult expect_ok(const CommandResult& result) {
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  return result;
}

std::vector<std::string> lockstep(std::vector<std::string> args) {
  args.insert(args.begin(), lockstep_binary());
  return args;
}

std::vector<std::string> mpi(int ranks, std::vector<std::string> args) {
  std::vector<std::string> argv{(source_dir() / "tools/mpi.sh").string(), std::to_string(ranks), lockstep_binary()};
  argv.insert(argv.end(), args.begin(), args.end());
  return argv;
}

bool wait_for(const std::function<bool()>& condition, double timeout_s) {
  const double end = now_s() + timeout_s;
  while (!condition()) {
    if (now_s() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

TempDir::TempDir() : path_(make_temp_dir()) {}
TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void write_file(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

}  // namespace lockstep::testing
