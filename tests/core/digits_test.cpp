// SPDX-License-Identifier: Apache-2.0
#include "core/digits.h"

#include <gtest/gtest.h>

namespace lockstep {
namespace {

TEST(GroupedDigits, GroupsTheWholeDigitsOnly) {
  EXPECT_EQ(grouped_digits("512"), "512");
  EXPECT_EQ(grouped_digits("-512"), "-512");
  EXPECT_EQ(grouped_digits("65536"), "65,536");
  EXPECT_EQ(grouped_digits("-1234567.5678"), "-1,234,567.5678");
  EXPECT_EQ(grouped_digits(""), "");
}

}  // namespace
}  // namespace lockstep
