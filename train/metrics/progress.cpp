// Rates over a sliding window, the rows, and the bar that gives up pieces as the terminal gets narrow.
// SPDX-License-Identifier: Apache-2.0
#include "train/metrics/progress.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "core/digits.h"

namespace lockstep {
namespace {

constexpr double kWindowSeconds = 15;
constexpr double kRedrawSeconds = 0.1;
constexpr int kMinBar = 8, kMaxBar = 30;

double steady_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int terminal_width(int fd) {
  winsize size{};
  return ::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

bool has_value(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0';
}

// The terminal behind fd, or "". mpirun gives its ranks a pseudo-terminal whatever its own output is (a file, a pipe),
// so a rank's fd says nothing: what counts is where mpirun, its parent, writes.
std::string terminal_behind(int fd) {
  if (::isatty(fd) != 1) return "";
  std::string link = "/proc/self/fd/" + std::to_string(fd);
  if (has_value("OMPI_COMM_WORLD_RANK")) link = "/proc/" + std::to_string(::getppid()) + "/fd/" + std::to_string(fd);
  char target[256] = "";
  if (::readlink(link.c_str(), target, sizeof target - 1) <= 0) return "";
  const std::string_view name(target);
  return name.starts_with("/dev/pts/") || name.starts_with("/dev/tty") || name == "/dev/console" ? link : "";
}

int width_of_terminal(const std::string& link) {
  const int terminal = ::open(link.c_str(), O_WRONLY | O_NOCTTY | O_CLOEXEC);
  if (terminal < 0) return 80;
  const int width = terminal_width(terminal);
  ::close(terminal);
  return width;
}

bool locale_is_utf8() {
  for (const char* variable : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    if (!has_value(variable)) continue;
    const std::string value = std::getenv(variable);
    return value.find("UTF-8") != std::string::npos || value.find("utf8") != std::string::npos;
  }
  return false;
}

// 12345.6 -> "12,346"; small rates keep a digit.
std::string grouped(double value) {
  if (value < 100) return fmt::format("{:.1f}", value);
  return grouped_digits(fmt::format("{:.0f}", value));
}

std::string figure(double value, const char* format) {
  return std::isnan(value) ? "-" : fmt::format(fmt::runtime(format), value);
}

std::string duration(double seconds) {
  const auto whole = static_cast<int64_t>(std::min(seconds, 1e9) + 0.5);
  if (whole >= 3600) return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

}  // namespace

ProgressOptions detect_progress_options(int fd) {
  ProgressOptions options;
  const char* terminal = std::getenv("TERM");
  const std::string link = terminal_behind(fd);
  options.bar = !link.empty() && terminal != nullptr && std::string_view(terminal) != "dumb";
  options.colour = options.bar && !has_value("NO_COLOR");
  options.utf8 = locale_is_utf8();
  options.width = [link] { return width_of_terminal(link); };
  return options;
}

ProgressDisplay::ProgressDisplay(Write write, ProgressOptions options)
    : write_(std::move(write)), options_(std::move(options)) {
  if (!options_.now) options_.now = steady_now;
  if (!options_.width) options_.width = [] { return 80; };
}

ProgressDisplay::~ProgressDisplay() { finish(); }

double ProgressDisplay::active_time() const {
  return (paused_since_ >= 0 ? paused_since_ : options_.now()) - paused_total_;
}

void ProgressDisplay::start(int64_t first_step, int64_t last_step, double epochs, int64_t images_per_step) {
  const std::lock_guard lock(mutex_);
  step_ = first_step;
  last_step_ = last_step;
  epochs_ = epochs;
  images_per_step_ = images_per_step;
  marks_.assign(1, {active_time(), first_step});
  last_report_ = marks_.back();
}

void ProgressDisplay::mark(int64_t step) {
  if (marks_.empty() || step <= marks_.back().step) return;
  const double now = active_time();
  marks_.push_back({now, step});
  while (marks_.size() > 2 && marks_[1].time < now - kWindowSeconds) marks_.pop_front();
}

double ProgressDisplay::steps_per_second() const {
  if (marks_.size() < 2) return 0;
  const double seconds = marks_.back().time - marks_.front().time;
  return seconds > 0 ? static_cast<double>(marks_.back().step - marks_.front().step) / seconds : 0;
}

double ProgressDisplay::rate() const { return steps_per_second() * static_cast<double>(images_per_step_); }

double ProgressDisplay::images_per_second() const {
  const std::lock_guard lock(mutex_);
  return rate();
}

std::string ProgressDisplay::eta() const {
  const double rate = steps_per_second();
  return rate > 0 ? duration(static_cast<double>(std::max<int64_t>(0, last_step_ - step_)) / rate) : "-";
}

void ProgressDisplay::step_done(int64_t step, double epoch) {
  const std::lock_guard lock(mutex_);
  mark(step);
  step_ = step;
  epoch_ = epoch;
  if (options_.bar && options_.now() - drawn_at_ >= kRedrawSeconds) draw();
}

void ProgressDisplay::report(int64_t step, double epoch, const ProgressFigures& figures) {
  const std::lock_guard lock(mutex_);
  mark(step);
  step_ = step;
  epoch_ = epoch;
  figures_ = figures;
  const Mark now{active_time(), step};
  const double seconds = now.time - last_report_.time;
  row_rate_ = seconds > 0 ? static_cast<double>((step - last_report_.step) * images_per_step_) / seconds : 0;
  last_report_ = now;
  if (options_.bar) return draw();
  if (!header_shown_) {
    write_(fmt::format("{:>9} {:>8} {:>9} {:>7} {:>10} {:>9} {:>7} {:>9}\n", "step", "epoch", "loss", "top-1", "lr",
                       "images/s", "wait", "ETA"));
  }
  header_shown_ = true;
  write_(row());
}

std::string ProgressDisplay::row() const {
  return fmt::format("{:>9} {:>8.2f} {:>9} {:>7} {:>10} {:>9} {:>7} {:>9}\n", step_, epoch_,
                     figure(figures_.loss, "{:.4f}"), figure(figures_.top1 * 100, "{:.2f}%"),
                     figure(figures_.lr, "{:.3e}"), grouped(row_rate_), figure(figures_.wait_frac * 100, "{:.1f}%"),
                     eta());
}

void ProgressDisplay::message(std::string_view text) {
  const std::lock_guard lock(mutex_);
  const bool had_bar = drawn_columns_ > 0;
  erase();
  write_(fmt::format("{}\n", text));
  if (had_bar) draw();
}

void ProgressDisplay::pause() {
  const std::lock_guard lock(mutex_);
  if (paused_since_ < 0) paused_since_ = options_.now();
}

void ProgressDisplay::resume() {
  const std::lock_guard lock(mutex_);
  if (paused_since_ < 0) return;
  paused_total_ += options_.now() - paused_since_;
  paused_since_ = -1;
}

void ProgressDisplay::finish() {
  const std::lock_guard lock(mutex_);
  erase();
  drawn_at_ = -1;
}

// The bar may have been drawn on a wider terminal; then it now covers several rows.
void ProgressDisplay::erase() {
  if (drawn_columns_ == 0) return;
  const int rows_above = (drawn_columns_ - 1) / std::max(1, options_.width());
  write_((rows_above > 0 ? fmt::format("\x1b[{}A", rows_above) : "") + "\r\x1b[J");
  drawn_columns_ = 0;
}

void ProgressDisplay::draw() {
  erase();
  const int columns = std::max(1, options_.width() - 1);  // writing the last column would wrap on some terminals
  write_(bar_line(columns));
  drawn_columns_ = columns;
  drawn_at_ = options_.now();
}

std::string ProgressDisplay::bar_line(int columns) const {
  const double share =
      last_step_ > 0 ? std::clamp(static_cast<double>(step_) / static_cast<double>(last_step_), 0.0, 1.0) : 0;
  // The most dispensable piece stands last.
  std::vector<std::string> pieces = {
      fmt::format("{:3.0f} %", std::floor(share * 100)), "ETA " + eta(),
      grouped(rate()) + " img/s",           "loss " + figure(figures_.loss, "{:.4f}"),
      "top-1 " + figure(figures_.top1 * 100, "{:.2f}%"), fmt::format("epoch {:.1f}/{:g}", epoch_, epochs_)};
  const auto text_columns = [&] {
    size_t sum = 0;
    for (const std::string& piece : pieces) sum += piece.size() + 2;
    return static_cast<int>(sum);
  };
  while (pieces.size() > 1 && kMinBar + text_columns() > columns) pieces.pop_back();
  const int bar = std::min(kMaxBar, columns - text_columns());
  if (bar < 1) return pieces.front().substr(0, static_cast<size_t>(columns));
  const int full = static_cast<int>(share * bar);
  std::string line = options_.colour ? "\x1b[32m" : "";
  for (int i = 0; i < bar; ++i) line += i < full ? (options_.utf8 ? "█" : "#") : (options_.utf8 ? "░" : "-");
  if (options_.colour) line += "\x1b[0m";
  for (const std::string& piece : pieces) line += "  " + piece;
  return line;
}

}  // namespace lockstep
