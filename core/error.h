// Errors: three kinds, one exit code each, and the checks that throw them.
//
// User error: bad command, config or data (exit 64-66, 76). Environment error: MPI, disk, CUDA (71-75). Internal
// error: a bug of ours (70, "please report"). Library code only throws; tools/main.cpp alone turns an Error into an exit.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <source_location>
#include <stdexcept>
#include <string>
#include <string_view>

namespace lockstep {

// The process's exit codes. They are a contract with schedulers: docs/exit_codes.md is its counterpart.
enum class ExitCode : int {
  kOk = 0,
  kUsage = 64,        // bad command line or config: fix it, do not retry
  kData = 65,         // bad data: corrupt file, label out of range, damaged checkpoint that was named explicitly
  kNoInput = 66,      // a named file, folder or checkpoint does not exist
  kInternal = 70,     // a bug of ours
  kEnvironment = 71,  // MPI, driver, library or system call failed
  kCantCreate = 73,   // the run folder can't be created or is held by another run
  kIo = 74,           // writing failed (disk full, I/O error)
  kTempFail = 75,     // stopped on request or a peer was lost: state is saved, run me again
  kNumeric = 76,      // non-finite loss or gradient, or replicas that disagree
};

class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }
  // "error" for users and environments; "internal error" for bugs: the first word that the user reads.
  virtual std::string_view kind() const = 0;

 private:
  ExitCode code_;
};

// The user can fix it. The message says what, where, got, want and how to fix.
class UserError : public Error {
 public:
  explicit UserError(const std::string& message, ExitCode code = ExitCode::kUsage) : Error(code, message) {}
  std::string_view kind() const override { return "error"; }
};

// The machine, the network or a library failed. The message says call, rank and host.
class EnvironmentError : public Error {
 public:
  explicit EnvironmentError(const std::string& message, ExitCode code = ExitCode::kEnvironment)
      : Error(code, message) {}
  std::string_view kind() const override { return "environment error"; }
};

class InternalError : public Error {
 public:
  explicit InternalError(const std::string& message) : Error(ExitCode::kInternal, message) {}
  std::string_view kind() const override { return "internal error"; }
};

// EnvironmentError from errno: "open /data/x: No such file or directory".
[[noreturn]] void throw_errno(std::string_view call, std::string_view path, int error_number,
                              ExitCode code = ExitCode::kIo);

namespace detail {
[[noreturn]] void check_failed(const char* condition, const std::string& message, std::source_location where);
}  // namespace detail

}  // namespace lockstep

// An invariant of ours. `message` is only evaluated on failure and should print the compared values.
#define LS_CHECK(condition, message)                                                                       \
  do {                                                                                                     \
    if (!(condition)) [[unlikely]]                                                                         \
      ::lockstep::detail::check_failed(#condition, (message), std::source_location::current());            \
  } while (false)
