// Thinning and clipping.
// SPDX-License-Identifier: Apache-2.0
#include "charts/geometry.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace lockstep::testing {
namespace {

using namespace chart_detail;
constexpr Box kBox{0, 0, 100, 50};

TEST(Clip, KeepsWhatIsInside) {
  const auto whole = clip({10, 10}, {20, 40}, kBox);
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->first.x, 10);
  EXPECT_EQ(whole->second.y, 40);
  const auto across = clip({-50, 25}, {150, 25}, kBox);
  ASSERT_TRUE(across);
  EXPECT_EQ(across->first.x, 0);
  EXPECT_EQ(across->second.x, 100);
  const auto corner = clip({50, -25}, {125, 50}, kBox);  // enters at the top, leaves at the right
  ASSERT_TRUE(corner);
  EXPECT_NEAR(corner->first.x, 75, 1e-9);
  EXPECT_NEAR(corner->second.y, 25, 1e-9);
  EXPECT_FALSE(clip({-10, 10}, {-5, 40}, kBox));
  EXPECT_FALSE(clip({10, 60}, {90, 60}, kBox));
  EXPECT_FALSE(clip({-60, 25}, {50, -60}, kBox));  // past a corner
}

TEST(Thin, KeepsFirstLowestHighestAndLastOfEachColumn) {
  std::vector<Pixel> line;
  for (int i = 0; i < 10000; ++i) line.push_back({i / 100.0, 25 + 20 * std::sin(i * 0.37)});
  line[5050].y = 49;
  line[5051].y = 1;
  const std::vector<Pixel> kept = thin(line, kBox, 50);
  EXPECT_LE(kept.size(), 4U * 50);
  EXPECT_EQ(kept.front().x, line.front().x);
  EXPECT_EQ(kept.back().x, line.back().x);
  EXPECT_TRUE(std::is_sorted(kept.begin(), kept.end(), [](const Pixel& a, const Pixel& b) { return a.x < b.x; }));
  for (const double y : {49.0, 1.0}) EXPECT_TRUE(std::any_of(kept.begin(), kept.end(), [&](const Pixel& p) { return p.y == y; })) << y;
}

TEST(Thin, LeavesShortLinesAlone) {
  const std::vector<Pixel> line{{0, 1}, {30, 2}, {60, 3}, {30, 4}};  // goes back, too
  EXPECT_EQ(thin(line, kBox, 50).size(), line.size());
  EXPECT_TRUE(thin({}, kBox, 50).empty());
}

}  // namespace
}  // namespace lockstep::testing
