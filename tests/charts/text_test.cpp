// Numbers, ticks and the width of text.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "charts/chart_text.h"
#include "charts/number_text.h"
#include "charts/scale.h"

namespace lockstep::testing {
namespace {

using namespace chart_detail;

TEST(NumberText, ReadsAsPeopleWrite) {
  EXPECT_EQ(number_text(0), "0");
  EXPECT_EQ(number_text(1234567), "1,234,567");
  EXPECT_EQ(number_text(-1234.56), "-1,235");
  EXPECT_EQ(number_text(0.01234567), "0.01235");
  EXPECT_EQ(number_text(0.5), "0.5");
  EXPECT_EQ(number_text(1.25e-7), "1.25e-7");
  EXPECT_EQ(number_text(3.21e15, 2), "3.2e15");
  EXPECT_EQ(number_text(1870.4, 3), "1,870");
  EXPECT_EQ(number_text(std::nan("")), "-");
  EXPECT_EQ(number_text(std::numeric_limits<double>::infinity()), "infinity");
}

TEST(NumberText, UnitsOfTimeBytesAndShares) {
  EXPECT_EQ(duration_text(8.24), "8.2 s");
  EXPECT_EQ(duration_text(200), "3 min 20 s");
  EXPECT_EQ(duration_text(7500), "2 h 05 min");
  EXPECT_EQ(duration_text(3600 * 76), "3 d 4 h");
  EXPECT_EQ(duration_text(-1), "-");
  EXPECT_EQ(duration_text(1e300).back(), 'd');
  EXPECT_EQ(bytes_text(12'345'678), "12.3 MB");
  EXPECT_EQ(bytes_text(999.6), "1 kB");
  EXPECT_EQ(percent_text(0.9312), "93.12 %");
  EXPECT_EQ(percent_text(std::nan("")), "-");
}

std::vector<std::string> numbers_of(const Axis& axis, double low, double high, int most, Scale::Room room = Scale::Room::kRound) {
  Extent data(axis.log);
  data.include(low);
  data.include(high);
  std::vector<std::string> texts;
  const Scale scale(axis, data, room, most);
  for (const Tick& tick : scale.ticks())
    if (!tick.text.empty()) texts.push_back(tick.text);
  return texts;
}
using Texts = std::vector<std::string>;

TEST(Scale, TicksAreRoundNumbers) {
  EXPECT_EQ(numbers_of({}, 0.02, 0.93, 5), (Texts{"0", "0.2", "0.4", "0.6", "0.8", "1.0"}));
  EXPECT_EQ(numbers_of({}, 0, 10000, 5), (Texts{"0", "2,000", "4,000", "6,000", "8,000", "10,000"}));
  EXPECT_EQ(numbers_of({}, -3, 3, 4), (Texts{"-4", "-2", "0", "2", "4"}));
  EXPECT_EQ(numbers_of({.percent = true}, 0.925, 0.936, 4), (Texts{"92.5 %", "93.0 %", "93.5 %", "94.0 %"}));
  EXPECT_EQ(numbers_of({}, 0, 3e12, 3), (Texts{"0", "1T", "2T", "3T"}));
}

TEST(Scale, LogTicksAreDecadesAndFinerWhereThereIsRoom) {
  EXPECT_EQ(numbers_of({.log = true}, 1, 1e4, 6), (Texts{"1", "10", "100", "1,000", "10,000"}));
  EXPECT_EQ(numbers_of({.log = true}, 0.01, 1, 9), (Texts{"0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1"}));
  EXPECT_EQ(numbers_of({.log = true}, 1e-30, 1e30, 6), (Texts{"1e-30", "1e-15", "1", "1e15", "1e30"}));
  EXPECT_GE(numbers_of({.log = true}, 92, 94, 5, Scale::Room::kNone).size(), 2U);
}

// Any extent gives an axis with ticks on it, all of them finite and in order.
TEST(Scale, WorksForAnyExtent) {
  const double values[] = {0, 1, -1, 1e-300, 1e300, -1e300, 5e-324, 0.1, 0.1 + 1e-17, 123456789, 123456789.0001, 64, 8192};
  for (const bool log : {false, true}) {
    for (const double low : values) {
      for (const double high : values) {
        for (const int most : {1, 2, 5, 9}) {
          for (const auto room : {Scale::Room::kNone, Scale::Room::kMargin, Scale::Room::kRound}) {
            Extent data(log);
            data.include(low);
            data.include(high);
            const Scale scale({.log = log}, data, room, most);
            ASSERT_LT(scale.low(), scale.high()) << low << " to " << high;
            ASSERT_TRUE(std::isfinite(scale.low()) && std::isfinite(scale.high())) << low << " to " << high;
            for (std::size_t i = 0; i < scale.ticks().size(); ++i) {
              const double value = scale.ticks()[i].value;
              ASSERT_TRUE(std::isfinite(value) && std::isfinite(scale.at(value))) << low << " to " << high;
              ASSERT_TRUE(i == 0 || scale.ticks()[i - 1].value < value);
            }
            for (const double value : {low, high}) {
              const bool shown = scale.contains(value) && std::isfinite(scale.at(value));
              ASSERT_TRUE(shown || !is_drawable(value, log)) << value << " of " << low << " to " << high;
            }
          }
        }
      }
    }
  }
}

TEST(ChartText, EllipsisAndWrapKeepTheWidth) {
  const std::string text = "The quick brown fox j\u00fcmps over the lazy dog and says Pneumonoultramicroscopicsilicovolcanoconiosis";
  for (const double width : {40.0, 75.0, 120.0, 400.0, 5000.0}) {
    EXPECT_LE(text_width(ellipsis(text, 12, width), 12), width);
    const auto lines = wrap(text, 12, width, 3);
    EXPECT_LE(lines.size(), 3U);
    for (const std::string& line : lines) EXPECT_LE(text_width(line, 12), width);
  }
  EXPECT_EQ(ellipsis(text, 12, 5000), text);
  EXPECT_EQ(wrap(text, 12, 5000, 3), Texts{text});
  EXPECT_TRUE(wrap("", 12, 100, 3).empty());
}

TEST(ChartText, CutsBetweenCodePoints) {
  const std::string text = "\u00fc\u00fc\u00fc\u00fc\u00fc\u00fc\u00fc\u00fc";
  for (double width = 12; width < 120; width += 1) {
    const std::string cut = ellipsis(text, 12, width);
    const std::string kept = cut == text ? text : cut.substr(0, cut.size() - 3);
    EXPECT_EQ(kept.size() % 2, 0U) << width;
  }
}

}  // namespace
}  // namespace lockstep::testing
