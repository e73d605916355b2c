// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "cpu/reference/reference_kernels.h"
#include "ops/softmax_cross_entropy.h"
#include "tests/ops/sample_values.h"
#include "tests/tolerance.h"

namespace lockstep {
namespace {

struct Loss {
  double loss;
  std::vector<double> sums, gradient;
};

Loss evaluate(const Tensor& logits, const std::vector<double>& labels, double smoothing = 0) {
  const auto kernels = make_reference_kernels();
  Tape tape;
  Context ctx{.kernels = *kernels, .tape = &tape, .training = true};
  const Var x = tape.input(logits);
  const LossResult result = softmax_cross_entropy(ctx, x, from_vector({logits.shape()[0]}, DType::kI32, labels), smoothing);
  tape.backward(result.loss, from_vector({}, logits.dtype(), {1}), nullptr);
  return {get_value(result.loss.value, 0), to_vector(result.sums), to_vector(tape.gradient_of(x))};
}

TEST(SoftmaxCrossEntropy, EqualLogitsCostTheLogarithmOfTheClasses) {
  const Loss r = evaluate(Tensor::zeros({1, 4}, DType::kF64), {2});
  EXPECT_PRED3(within, r.loss, std::log(4.0), error_bound(DType::kF64, 4, std::log(4.0)));
  EXPECT_EQ(r.gradient, (std::vector<double>{0.25, 0.25, -0.75, 0.25}));
}

TEST(SoftmaxCrossEntropy, SmoothedLossMatchesItsDefinition) {
  const std::int64_t n = 3, k = 5;
  const double smoothing = 0.1;
  const Tensor logits = random_tensor({n, k}, DType::kF64, 1, -4, 4);
  const std::vector<double> labels{4, 0, 2};
  long double total = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    long double z = 0;
    for (std::int64_t j = 0; j < k; ++j) z += std::exp(static_cast<long double>(get_value(logits, i * k + j)));
    for (std::int64_t j = 0; j < k; ++j) {
      const double t = (j == static_cast<std::int64_t>(labels[static_cast<std::size_t>(i)]) ? 1 - smoothing : 0) + smoothing / k;
      total -= static_cast<long double>(t) * std::log(std::exp(static_cast<long double>(get_value(logits, i * k + j))) / z);
    }
  }
  const auto want = static_cast<double>(total);
  const Loss r = evaluate(logits, labels, smoothing);
  EXPECT_PRED3(within, r.loss, want / n, error_bound(DType::kF64, n * k * 4, want));  // exp, add, log, multiply
  EXPECT_PRED3(within, r.sums[0], want, error_bound(DType::kF64, n * k * 4, want));
  EXPECT_NE(evaluate(logits, labels, 0.0).loss, r.loss);
}

TEST(SoftmaxCrossEntropy, UncountedLabelsChangeNothing) {
  const Tensor counted = from_vector({2, 3}, DType::kF64, {1, 2, 0, 0, 1, -1});
  const Tensor padded = from_vector({4, 3}, DType::kF64, {9, 9, 9, 1, 2, 0, 7, 8, 9, 0, 1, -1});
  const Loss a = evaluate(counted, {0, 1}), b = evaluate(padded, {-1, 0, -1, 1});
  EXPECT_EQ(a.loss, b.loss);
  EXPECT_EQ(a.sums, b.sums);
  EXPECT_EQ(a.sums[3], 2);
  for (const std::size_t i : {0u, 1u, 2u, 6u, 7u, 8u}) EXPECT_EQ(b.gradient[i], 0);
  EXPECT_EQ(std::vector(a.gradient.begin(), a.gradient.begin() + 3), std::vector(b.gradient.begin() + 3, b.gradient.begin() + 6));
}

TEST(SoftmaxCrossEntropy, NothingCountedIsZeroNotNan) {
  const Loss r = evaluate(random_tensor({2, 3}, DType::kF32, 1), {-1, -1}, 0.1);
  EXPECT_EQ(r.loss, 0);
  EXPECT_EQ(r.sums, (std::vector<double>{0, 0, 0, 0}));
  EXPECT_EQ(r.gradient, std::vector<double>(6, 0.0));
}

TEST(SoftmaxCrossEntropy, TiesGoToTheLowerIndex) {
  const Tensor equal = Tensor::zeros({7, 7}, DType::kF64);
  const Loss r = evaluate(equal, {0, 1, 2, 3, 4, 5, 6});
  EXPECT_EQ(r.sums[1], 1) << "only label 0 is first among equals";
  EXPECT_EQ(r.sums[2], 5) << "labels 0 to 4 are among the first five";
}

TEST(SoftmaxCrossEntropy, CountsTopOneAndTopFive) {
  const std::vector<double> row{6, 5, 4, 3, 2, 1};
  std::vector<double> rows;
  for (int i = 0; i < 6; ++i) rows.insert(rows.end(), row.begin(), row.end());
  const Loss r = evaluate(from_vector({6, 6}, DType::kF32, rows), {0, 1, 2, 3, 4, 5});
  EXPECT_EQ(r.sums[1], 1);
  EXPECT_EQ(r.sums[2], 5);
  EXPECT_EQ(r.sums[3], 6);
}

TEST(SoftmaxCrossEntropy, FewerThanFiveClassesAlwaysHitTheTopFive) {
  EXPECT_EQ(evaluate(random_tensor({4, 3}, DType::kF64, 2), {0, 1, 2, 0}).sums[2], 4);
}

TEST(SoftmaxCrossEntropy, ANanNeverHitsAndShowsInTheLoss) {
  const Loss r = evaluate(from_vector({1, 2}, DType::kF64, {std::nan(""), 0}), {0});
  EXPECT_TRUE(std::isnan(r.loss));
  EXPECT_EQ(r.sums[1], 0);
  EXPECT_EQ(r.sums[2], 0);
}

TEST(SoftmaxCrossEntropy, LargeLogitsDoNotOverflow) {
  const Loss r = evaluate(from_vector({1, 2}, DType::kF32, {3e4, -3e4}), {1});
  EXPECT_EQ(r.loss, 6e4);
  EXPECT_EQ(r.gradient, (std::vector<double>{1, -1}));
}

}  // namespace
}  // namespace lockstep
