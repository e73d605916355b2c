// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>

#include "cpu/reference/reference_kernels.h"
#include "ops/dropout.h"
#include "tests/ops/sample_values.h"

namespace lockstep {
namespace {

class Dropout : public ::testing::Test {
 protected:
  Context context(std::uint64_t seed = 3, bool training = true) {
    return {.kernels = *kernels_, .training = training, .dropout = {.seed = seed, .purpose = RandomPurpose::kDropout}};
  }
  std::unique_ptr<Kernels> kernels_ = make_reference_kernels();
  const Tensor x_ = random_tensor({100, 1001}, DType::kF32, 1, 1, 2);  // no zeros
};

TEST_F(Dropout, ZeroesTheAskedFractionAndScalesTheRest) {
  for (const double p : {0.1, 0.5, 0.9}) {
    Context ctx = context();
    const Tensor y = dropout(ctx, {x_}, p).value;
    double zeros = 0;
    for (std::int64_t i = 0; i < x_.numel(); ++i) {
      if (get_value(y, i) == 0) {
        ++zeros;
      } else {
        ASSERT_EQ(get_value(y, i), static_cast<double>(static_cast<float>(get_value(x_, i) / (1 - p))));
      }
    }
    const auto n = static_cast<double>(x_.numel());
    EXPECT_NEAR(zeros, n * p, 5 * std::sqrt(n * p * (1 - p))) << "five standard deviations";
  }
}

TEST_F(Dropout, TheMaskIsAFunctionOfTheKey) {
  Context a = context(), b = context(), other = context(4);
  const std::vector<double> first = to_vector(dropout(a, {x_}, 0.5).value);
  EXPECT_EQ(first, to_vector(dropout(b, {x_}, 0.5).value));
  EXPECT_NE(first, to_vector(dropout(a, {x_}, 0.5).value)) << "the second call has its own mask";
  EXPECT_NE(first, to_vector(dropout(other, {x_}, 0.5).value)) << "another seed";
}

TEST_F(Dropout, ElementsFollowThePhiloxStream) {
  Context ctx = context();
  const RandomKey key = ctx.dropout;
  const Tensor y = dropout(ctx, {x_}, 0.25).value;
  for (std::int64_t i = 0; i < 1000; ++i) {
    const PhiloxBlock block = key.block(static_cast<std::uint32_t>(i / 4));
    ASSERT_EQ(get_value(y, i) != 0, uniform_from_bits(block[static_cast<std::size_t>(i % 4)]) >= 0.25f) << i;
  }
}

TEST_F(Dropout, IsTheIdentityInEvaluationAndForZero) {
  Context evaluation = context(3, false);
  EXPECT_EQ(dropout(evaluation, {x_}, 0.5).value.ptr(), x_.ptr());
  Context training = context();
  EXPECT_EQ(dropout(training, {x_}, 0.0).value.ptr(), x_.ptr());
  EXPECT_EQ(training.dropout.b, 1u) << "the key is taken: later masks do not depend on this p";
}

}  // namespace
}  // namespace lockstep
