// The log: on rank 0 plain messages on the console and logs/rank0000.log, on other ranks logs/rankNNNN.log only.
//
// Callers need no logging library. Thread-safe. Before init_logging everything goes to the console.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace lockstep {

enum class LogLevel { kInfo, kWarning, kError };

// Opens run_dir/logs/rankNNNN.log for appending (the folders are made); "" for run_dir: no file. A file that can't be
// written later (disk full) is reported once and the run goes on. Throws EnvironmentError (kCantCreate).
void init_logging(int rank, const std::string& run_dir);

// The lines for the console go to `write` (without line end) instead of to standard output (kInfo) and standard error
// (the others): for the progress display. nullptr: back again. Called under a lock; it must not log.
void set_log_console(std::function<void(LogLevel level, std::string_view line)> write);

void log_info(std::string_view message);
void log_warning(std::string_view message);  // the console line begins with "warning: "
void log_error(std::string_view message);    // "error: "

// Closes the file; later messages go to the console again.
void close_logging();

}  // namespace lockstep
