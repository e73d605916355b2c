// What rank 0 shows while a run goes on: on a terminal one line that is rewritten (bar, images/s, ETA, loss, accuracy),
// elsewhere a plain row with fixed columns at each log interval.
//
// Time spent between pause() and resume() (evaluation, checkpoints) does not count into rates. Thread-safe: messages
// may come from any thread; `write` and `width` are called under a lock and must not call back.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <mutex>
#include <string>
#include <string_view>

namespace lockstep {

struct ProgressOptions {
  bool bar = false;             // rewrite one line; otherwise rows
  bool colour = false;          // ANSI colours in the bar
  bool utf8 = false;            // block characters in the bar, else # and -
  std::function<double()> now;  // seconds on a monotonic clock; absent: std::chrono::steady_clock
  std::function<int()> width;   // columns of the terminal, asked at each redraw; absent: 80
};

// For an open file: a bar if it is a terminal and TERM is not "dumb", colour unless NO_COLOR is set.
ProgressOptions detect_progress_options(int fd);

// The latest figures. NaN: not known yet, shown as "-"; so a NaN loss reads "-" here and is an error elsewhere.
struct ProgressFigures {
  double loss = std::numeric_limits<double>::quiet_NaN();
  double top1 = std::numeric_limits<double>::quiet_NaN();  // share, 0 to 1
  double lr = std::numeric_limits<double>::quiet_NaN();
  double wait_frac = std::numeric_limits<double>::quiet_NaN();  // share of the time waiting for data
};

class ProgressDisplay {
 public:
  using Write = std::function<void(std::string_view)>;
  ProgressDisplay(Write write, ProgressOptions options);
  ~ProgressDisplay();  // finish()
  ProgressDisplay(const ProgressDisplay&) = delete;
  ProgressDisplay& operator=(const ProgressDisplay&) = delete;

  // images_per_step: global_batch. epochs: of the whole run.
  void start(int64_t first_step, int64_t last_step, double epochs, int64_t images_per_step);
  // After each step; redraws the bar at most ten times a second, prints nothing otherwise.
  void step_done(int64_t step, double epoch);
  // At each log interval: a row, or new figures in the bar.
  void report(int64_t step, double epoch, const ProgressFigures& figures);
  // A line of text that stays.
  void message(std::string_view text);
  void pause();
  void resume();
  // Takes the bar away. Rows and messages stay.
  void finish();

  // Global images per second over the last seconds; 0 before the second step.
  double images_per_second() const;

 private:
  struct Mark {
    double time;
    int64_t step;
  };
  double active_time() const;
  void mark(int64_t step);
  double steps_per_second() const;
  double rate() const;  // images_per_second, lock held
  std::string eta() const;
  void erase();
  void draw();
  std::string bar_line(int columns) const;
  std::string row() const;

  mutable std::mutex mutex_;  // guards all below
  Write write_;
  ProgressOptions options_;
  std::deque<Mark> marks_;  // newest last
  Mark last_report_{0, 0};
  double paused_since_ = -1, paused_total_ = 0;
  double drawn_at_ = -1;
  int drawn_columns_ = 0;  // 0: no bar on the screen
  bool header_shown_ = false;
  int64_t last_step_ = 0, images_per_step_ = 0, step_ = 0;
  double epochs_ = 0, epoch_ = 0, row_rate_ = 0;
  ProgressFigures figures_;
};

}  // namespace lockstep
