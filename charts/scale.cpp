// SPDX-License-Identifier: Apache-2.0
#include "charts/scale.h"

#include <algorithm>
#include <cmath>

#include "charts/number_text.h"

namespace lockstep::chart_detail {
namespace {

constexpr double kMargin = 0.035;      // of the axis, on both sides
constexpr double kSmallestSpan = 1e-9;  // of the values' size: less is shown as one value, for ticks would repeat
constexpr int kMostMinorDecades = 6;   // beyond that, minor ticks are only grey
constexpr double kMostDecadesWithUnits = 12;  // "1M"; beyond that, "1e6"
constexpr double kSlack = 1e-9;        // of a step, for rounding

double next_125(double value, bool up) {
  const double decade = std::pow(10, std::floor(std::log10(value)));
  const double digit = value / decade;
  constexpr double kDigits[] = {1, 2, 5, 10};
  if (up) {
    for (const double d : kDigits)
      if (d >= digit * (1 - kSlack)) return d * decade;
  }
  for (int i = 3; i >= 0; --i)
    if (kDigits[i] <= digit * (1 + kSlack)) return kDigits[i] * decade;
  return decade;
}

// Between numbered decades: at least `least`.
int round_stride(int least) {
  for (const int stride : {1, 2, 3, 5, 10, 15, 20, 25, 50, 100})
    if (stride >= least) return stride;
  return 200;
}

}  // namespace

bool is_drawable(double value, bool log) { return std::abs(value) <= kLargestValue && (!log || value >= kSmallestPositive); }  // false for NaN

bool is_power_of_two(double value) {
  int exponent = 0;
  return value >= 1 && std::frexp(value, &exponent) == 0.5;
}

void Extent::include(double value) {
  if (!is_drawable(value, log)) return;
  low = empty ? value : std::min(low, value);
  high = empty ? value : std::max(high, value);
  empty = false;
}

double round_step(double span, int most) {
  const double least = span / std::max(1, most);
  const double decade = std::pow(10, std::floor(std::log10(least)));
  for (const double digit : {1.0, 2.0, 5.0})
    if (digit * decade >= least * (1 - kSlack)) return digit * decade;
  return 10 * decade;
}

Scale::Scale(const Axis& axis, const Extent& data, Room room, int most_ticks)
    : log_(axis.log), percent_(axis.percent), powers_of_two_(axis.log && !data.empty && data.powers_of_two && data.high > data.low) {
  low_ = data.empty ? (log_ ? 1 : 0) : data.low;
  high_ = data.empty ? (log_ ? 10 : 1) : data.high;
  if (!log_ && room == Room::kRound && low_ > 0 && low_ < 0.3 * high_) low_ = 0;  // a rate is read against zero
  if (!log_ && high_ - low_ <= std::max(std::max(std::abs(low_), std::abs(high_)) * kSmallestSpan, kSmallestPositive)) {
    const double half = low_ == 0 ? 0.5 : std::max(std::abs(low_) * 0.1, 2 * kSmallestPositive);
    low_ -= half, high_ += half;
  }
  if (log_ && high_ <= low_ * (1 + kSmallestSpan)) low_ /= 2, high_ *= 2;
  if (room == Room::kRound && !powers_of_two_) round_outwards(most_ticks);
  if (room == Room::kMargin || powers_of_two_) add_margin();
  const double low = axis.min && is_drawable(*axis.min, log_) ? *axis.min : low_;
  const double high = axis.max && is_drawable(*axis.max, log_) ? *axis.max : high_;
  if (low < high) low_ = low, high_ = high;
  make_ticks(most_ticks);
}

void Scale::round_outwards(int most_ticks) {
  if (log_) {
    low_ = std::min(low_, next_125(low_, false));
    high_ = std::max(high_, next_125(high_, true));
    return;
  }
  const double step = round_step(high_ - low_, most_ticks);
  low_ = std::min(low_, std::floor(low_ / step + kSlack) * step);
  high_ = std::max(high_, std::ceil(high_ / step - kSlack) * step);
}

void Scale::add_margin() {
  if (!log_) {
    const double margin = (high_ - low_) * kMargin;
    low_ -= margin, high_ += margin;
    return;
  }
  const double factor = std::exp((std::log(high_) - std::log(low_)) * kMargin);
  low_ = std::max(low_ / factor, kSmallestPositive / 10);
  high_ = std::min(high_ * factor, kLargestValue * 10);
}

double Scale::bend(double value) const { return log_ ? std::log10(value) : value; }

double Scale::at(double value) const {
  // Far beyond the axis' ends the exact place does not matter, but it must stay a number that can be written.
  const double part = (bend(value) - bend(low_)) / (bend(high_) - bend(low_));
  return from_ + std::clamp(part, -1e6, 1e6) * (to_ - from_);
}

std::string Scale::text_of(double value, double step) const {
  if (step == 0 && std::log10(high_) - std::log10(low_) > kMostDecadesWithUnits) return number_text(value, 3);
  return percent_ ? tick_text(value * 100, step * 100) + " %" : tick_text(value, step);
}

void Scale::make_ticks(int most_ticks) {
  ticks_.clear();
  most_ticks = std::max(2, most_ticks);
  if (!log_) return linear_ticks(most_ticks);
  if (powers_of_two_) return powers_of_two_ticks(most_ticks);
  log_ticks(most_ticks);
  const auto numbered = std::count_if(ticks_.begin(), ticks_.end(), [](const Tick& tick) { return !tick.text.empty(); });
  if (numbered >= 4 || high_ / low_ > 10) return;
  ticks_.clear();  // less than a decade: round numbers in even steps say more
  linear_ticks(most_ticks);
}

void Scale::linear_ticks(int most_ticks) {
  const double step = round_step(high_ - low_, most_ticks);
  const double first = std::ceil(low_ / step - kSlack);
  for (int i = 0; i <= most_ticks + 1; ++i) {
    const double value = (first + i) * step;
    if (value > high_ + step * kSlack) break;
    ticks_.push_back({value, text_of(value, step)});
  }
}

void Scale::log_ticks(int most_ticks) {
  const int first = static_cast<int>(std::floor(std::log10(low_) + kSlack));
  const int last = static_cast<int>(std::floor(std::log10(high_) + kSlack));
  const int decades = last - first + 1;
  const int stride = round_stride((decades + most_ticks - 1) / most_ticks);
  const bool many = decades * 3 <= most_ticks + 2 || (decades <= 2 && most_ticks >= 3);  // room for 2 and 5 too
  for (int exponent = first; exponent <= last; ++exponent) {
    const double decade = std::pow(10, exponent);
    for (int digit = 1; digit <= 9; ++digit) {
      const double value = digit * decade;
      if (value < low_ * (1 - kSlack) || value > high_ * (1 + kSlack)) continue;
      const bool numbered = digit == 1 ? exponent % stride == 0 : many && (digit == 2 || digit == 5);
      if (numbered)
        ticks_.push_back({value, text_of(value, 0)});
      else if (decades <= kMostMinorDecades || digit == 1)
        ticks_.push_back({value, ""});
    }
  }
}

void Scale::powers_of_two_ticks(int most_ticks) {
  const int first = static_cast<int>(std::ceil(std::log2(low_) - kSlack));
  const int last = static_cast<int>(std::floor(std::log2(high_) + kSlack));
  const int stride = std::max(1, (last - first + most_ticks) / most_ticks);
  for (int exponent = first; exponent <= last; ++exponent) {
    const double value = std::ldexp(1.0, exponent);
    ticks_.push_back({value, (last - exponent) % stride == 0 ? text_of(value, 0) : ""});
  }
}

}  // namespace lockstep::chart_detail
