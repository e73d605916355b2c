// Scale: from values to pixels, and the ticks of an axis. Private to charts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "charts/chart.h"

namespace lockstep::chart_detail {

inline constexpr double kLargestValue = 1e300;       // beyond it differences overflow: not finite
inline constexpr double kSmallestPositive = 1e-300;  // on a logarithmic axis; below it ratios do

// What an axis can show.
bool is_drawable(double value, bool log);
bool is_power_of_two(double value);  // from 1

// The extent of an axis' data; grows by include().
struct Extent {
  bool log = false;
  double low = 0, high = 0;
  bool empty = true;
  bool powers_of_two = false;  // of a log axis: ticks at powers of two

  explicit Extent(bool is_log) : log(is_log) {}
  void include(double value);
};

struct Tick {
  double value = 0;
  std::string text;  // empty: a minor tick, without a number
};

class Scale {
 public:
  // How far the axis goes beyond its data.
  enum class Room { kNone, kMargin, kRound };  // not at all; a little, so that markers are whole; to the next round number

  // `most_ticks`: with numbers, at least 2. Axis limits win over the data where they make sense (finite, min < max, positive if log).
  Scale(const Axis& axis, const Extent& data, Room room, int most_ticks);

  void set_pixels(double from, double to) { from_ = from, to_ = to; }
  double at(double value) const;  // pixels; beyond the axis' ends for values beyond them
  bool contains(double value) const { return value >= low_ && value <= high_; }
  double clamp(double value) const { return value < low_ ? low_ : value > high_ ? high_ : value; }
  double low() const { return low_; }
  double high() const { return high_; }
  const std::vector<Tick>& ticks() const { return ticks_; }
  // The same axis with other ticks.
  void make_ticks(int most_ticks);

 private:
  void round_outwards(int most_ticks);
  void add_margin();
  void linear_ticks(int most_ticks);
  void log_ticks(int most_ticks);
  void powers_of_two_ticks(int most_ticks);
  double bend(double value) const;  // to where the axis is even
  std::string text_of(double value, double step) const;

  bool log_, percent_, powers_of_two_;
  double low_ = 0, high_ = 1;
  double from_ = 0, to_ = 1;
  std::vector<Tick> ticks_;
};

// The round step (1, 2 or 5 times a power of ten) that divides `span` into at most `most` parts.
double round_step(double span, int most);

}  // namespace lockstep::chart_detail
