// Runs commands as a user would and looks at what they print and how they exit.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace lockstep::testing {

struct CommandResult {
  int exit_code = -1;  // 128 + signal if a signal ended it
  std::string out;     // stdout
  std::string err;     // stderr
  double seconds = 0;
};

// A started command; its destructor kills what still runs.
class Command {
 public:
  // argv[0] is looked up in PATH. `env` holds NAME=value additions.
  explicit Command(std::vector<std::string> argv, std::vector<std::string> env = {});
  ~Command();
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;

  int pid() const { return pid_; }
  void send(int signal_number) const;
  // Waits for the end; after `timeout_s` the whole process group is killed and exit_code is 124.
  CommandResult wait(double timeout_s = 120);
  std::string out_so_far() const;

 private:
  int pid_ = -1;
  std::filesystem::path folder_;
  double started_s_ = 0;
};

CommandResult run(std::vector<std::string> argv, std::vector<std::string> env = {}, double timeout_s = 120);

std::string lockstep_binary();            // $LOCKSTEP_BINARY
std::filesystem::path source_dir();       // $LOCKSTEP_SOURCE_DIR
std::string tiny();                       // the config of a run of seconds
CommandResult expect_ok(const CommandResult& result);  // the result; anything but exit 0 fails the test
// {"tools/mpi.sh", ranks, lockstep, args...}
std::vector<std::string> mpi(int ranks, std::vector<std::string> args);
std::vector<std::string> lockstep(std::vector<std::string> args);

// Polls every 10 ms; false after timeout_s.
bool wait_for(const std::function<bool()>& condition, double timeout_s);

// A folder of its own for a test, removed at the end.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

std::string read_file(const std::filesystem::path& path);
void write_file(const std::filesystem::path& path, const std::string& text);

}  // namespace lockstep::testing
