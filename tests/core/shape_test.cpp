// SPDX-License-Identifier: Apache-2.0
#include "core/shape.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace lockstep {
namespace {

TEST(Shape, CountsAndPrints) {
  EXPECT_EQ((Shape{2, 3, 224, 224}).numel(), 2 * 3 * 224 * 224);
  EXPECT_EQ((Shape{2, 3, 224, 224}).str(), "(2, 3, 224, 224)");
  EXPECT_EQ(Shape{}.numel(), 1) << "a scalar";
  EXPECT_EQ(Shape{}.str(), "()");
  EXPECT_EQ((Shape{4, 0, 5}).numel(), 0);
}

TEST(Shape, NegativeAxesCountFromTheEnd) {
  const Shape shape{2, 3, 4};
  EXPECT_EQ(shape[-1], 4);
  EXPECT_EQ(shape[-3], 2);
  EXPECT_THROW((void)shape[3], InternalError);
  EXPECT_THROW((void)shape[-4], InternalError);
}

TEST(Shape, ComparesRankAndExtents) {
  EXPECT_EQ((Shape{2, 3}), (Shape{2, 3}));
  EXPECT_FALSE((Shape{2, 3}) == (Shape{3, 2}));
  EXPECT_FALSE((Shape{2}) == (Shape{2, 1}));
}

TEST(Shape, OverflowIsAUserErrorNotAWrap) {
  const std::int64_t big = std::int64_t{1} << 32;
  EXPECT_EQ((Shape{big, big / 4}).numel(), std::int64_t{1} << 62);
  for (const Shape& shape : {Shape{big, big}, Shape{big, big / 2, 1}, Shape{3, big, big}, Shape{-1, 2}}) {
    try {
      (void)shape.numel();
      ADD_FAILURE() << shape.str() << " was accepted";
    } catch (const UserError& error) {
      EXPECT_EQ(error.what(), "shape " + shape.str() + ": got a negative extent or more than 2^63 elements");
    }
  }
}

}  // namespace
}  // namespace lockstep
