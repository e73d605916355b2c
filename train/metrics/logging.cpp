// spdlog behind three functions: a sink of our own for the console, its file sink for the rest.
// SPDX-License-Identifier: Apache-2.0
#include "train/metrics/logging.h"

#include <fmt/format.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <mutex>

#include "core/error.h"

namespace lockstep {
namespace {

using Console = std::function<void(LogLevel, std::string_view)>;

void to_standard_streams(LogLevel level, std::string_view line) {
  std::FILE* stream = level == LogLevel::kInfo ? stdout : stderr;
  std::fprintf(stream, "%.*s\n", static_cast<int>(line.size()), line.data());
  std::fflush(stream);
}

class ConsoleSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  void set_write(Console write) {
    const std::lock_guard lock(mutex_);
    write_ = write ? std::move(write) : Console(to_standard_streams);
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    const std::string_view text(message.payload.data(), message.payload.size());
    if (message.level >= spdlog::level::err) return write_(LogLevel::kError, fmt::format("error: {}", text));
    if (message.level == spdlog::level::warn) return write_(LogLevel::kWarning, fmt::format("warning: {}", text));
    write_(LogLevel::kInfo, text);
  }
  void flush_() override {}

 private:
  Console write_ = to_standard_streams;
};

struct Log {
  std::shared_ptr<ConsoleSink> console = std::make_shared<ConsoleSink>();
  std::mutex mutex;  // guards logger
  std::shared_ptr<spdlog::logger> logger = std::make_shared<spdlog::logger>("lockstep", console);

  std::shared_ptr<spdlog::logger> current() {
    const std::lock_guard lock(mutex);
    return logger;
  }
  void replace(std::shared_ptr<spdlog::logger> next) {
    const std::lock_guard lock(mutex);
    logger = std::move(next);
  }
};

Log& log() {
  static Log instance;
  return instance;
}

void warn_once_about_file(std::atomic<bool>* warned, const std::string& path, const std::string& what) {
  if (warned->exchange(true)) return;
  std::fprintf(stderr, "warning: the log %s is incomplete: %s\n", path.c_str(), what.c_str());
}

}  // namespace

void init_logging(int rank, const std::string& run_dir) {
  std::vector<spdlog::sink_ptr> sinks;
  if (rank == 0) sinks.push_back(log().console);
  std::string path;
  if (!run_dir.empty()) {
    const std::filesystem::path folder = std::filesystem::path(run_dir) / "logs";
    std::error_code code;
    std::filesystem::create_directories(folder, code);
    if (code) throw_errno("mkdir", folder.string(), code.value(), ExitCode::kCantCreate);
    path = (folder / fmt::format("rank{:04}.log", rank)).string();
    try {
      sinks.push_back(std::make_shared<spdlog::sinks::basic_file_sink_mt>(path));
    } catch (const spdlog::spdlog_ex&) {
      throw_errno("open", path, errno, ExitCode::kCantCreate);
    }
    sinks.back()->set_pattern("%Y-%m-%d %H:%M:%S.%e %l %v");
  }
  auto logger = std::make_shared<spdlog::logger>("lockstep", sinks.begin(), sinks.end());
  logger->flush_on(spdlog::level::info);  // a write, not an fsync: messages are rare
  auto warned = std::make_shared<std::atomic<bool>>(false);
  logger->set_error_handler(
      [warned, path](const std::string& what) { warn_once_about_file(warned.get(), path, what); });
  log().replace(std::move(logger));
}

void set_log_console(std::function<void(LogLevel level, std::string_view line)> write) {
  log().console->set_write(std::move(write));
}

void log_info(std::string_view message) { log().current()->log(spdlog::level::info, message); }
void log_warning(std::string_view message) { log().current()->log(spdlog::level::warn, message); }
void log_error(std::string_view message) { log().current()->log(spdlog::level::err, message); }

void close_logging() { log().replace(std::make_shared<spdlog::logger>("lockstep", log().console)); }

}  // namespace lockstep
