// Softmax cross-entropy on the device against the f64 reference: its values, its gradient, and who counts as a hit.
// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/loss.h"

#include "core/mix_row.h"
#include "cpu/reference/reference_kernels.h"
#include "tests/cuda/host_tensors.h"

namespace lockstep {
namespace {

using namespace host_tensors;

struct LossCase {
  LossCase(std::int64_t n, std::int64_t k, float spread, bool mixed = false)
      : logits(random_host({n, k}, 1, DType::kF32, -spread, spread)), labels(Tensor::empty({n}, DType::kI32)) {
    RandomStream random({.seed = 9});
    for (auto& label : labels.host<std::int32_t>()) label = static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(k)));
    if (n > 2) labels.host<std::int32_t>()[1] = -1;
    if (!mixed) return;
    mix = Tensor::zeros({n, kMixRowWords}, DType::kI32);
    for (std::int64_t i = 0; i < n; ++i)  // every fourth row unmixed
      static_cast<MixRow*>(mix.ptr())[i] = {.label = static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(k))),
                                            .weight = i % 4 == 3 ? 1.0f : random.uniform()};
  }
  Tensor logits, labels, mix;
};

struct LossResults {
  Tensor loss, sums, dlogits;
};

class CudaLoss : public ::testing::Test {
 protected:
  LossResults on_device(const LossCase& in, double smoothing, bool gradient = true) {
    const Tensor logits = on_gpu(in.logits), labels = on_gpu(in.labels), mix = in.mix ? on_gpu(in.mix) : Tensor();
    Tensor loss = on_gpu(filled({}, 7)), sums = on_gpu(filled({4}, 7, DType::kF64));
    Tensor dlogits = gradient ? on_gpu(filled(in.logits.shape(), 7)) : Tensor();
    cuda::softmax_cross_entropy(gpu_stream(), logits, labels, mix, smoothing, loss, dlogits, sums);
    return {to_host(loss), to_host(sums), to_host(dlogits)};
  }
  LossResults reference(const LossCase& in, double smoothing) {
    LossResults want{filled({}, 0, DType::kF64), Tensor::zeros({4}, DType::kF64), Tensor::zeros(in.logits.shape(), DType::kF64)};
    reference_->softmax_cross_entropy({}, widened(in.logits), in.labels, in.mix, smoothing, want.loss, want.dlogits, want.sums);
    return want;
  }
  void expect_same_hits(const LossCase& in) {
    const LossResults got = on_device(in, 0, false), want = reference(in, 0);
    for (const std::size_t i : {1u, 2u, 3u}) EXPECT_EQ(got.sums.host<double>()[i], want.sums.host<double>()[i]) << "sum " << i;
  }
  const std::unique_ptr<Kernels> reference_ = make_reference_kernels();
};

// The device computes powers and sums in f64 and rounds results to f32: some roundings of f64 of numbers up to `spread`, then one.
TEST_F(CudaLoss, LossAndGradientAreTheReferences) {
  for (const auto& [n, k] : std::vector<std::pair<std::int64_t, std::int64_t>>{{1, 1}, {1, 2}, {64, 10}, {5, 17}, {3, 257}, {16, 1000}, {300, 5}})
    for (const double smoothing : {0.0, 0.1})
      for (const auto& [spread, mixed] : {std::pair{1.0f, false}, std::pair{60.0f, false}, std::pair{1.0f, true}, std::pair{60.0f, true}}) {
        const LossCase in(n, k, spread, mixed);
        const LossResults got = on_device(in, smoothing), again = on_device(in, smoothing), want = reference(in, smoothing);
        EXPECT_TRUE(same_bits(got.dlogits, again.dlogits) && same_bits(got.sums, again.sums) && same_bits(got.loss, again.loss));
        const double size = 2 * static_cast<double>(spread) + std::log(static_cast<double>(k)) + 1;
        const double relative = error_bound(DType::kF64, k + n + 10, size);  // of a loss; of a power, whose exponent has it absolutely
        for (std::size_t i = 0; i < size_of(got.dlogits); ++i) {
          const double w = want.dlogits.host<double>()[i];
          ASSERT_TRUE(within(value_of(got.dlogits, i), w, error_bound(DType::kF32, 0, w) + 2 * relative)) << n << " " << k << " element " << i;
        }
        const double mean = want.loss.host<double>()[0], counted = want.sums.host<double>()[3];
        EXPECT_TRUE(within(value_of(got.loss, 0), mean, error_bound(DType::kF32, 0, mean) + relative));
        EXPECT_TRUE(within(value_of(got.sums, 0), value_of(want.sums, 0), 2 * counted * relative));
        for (const std::size_t i : {1u, 2u, 3u}) EXPECT_EQ(value_of(got.sums, i), value_of(want.sums, i)) << "n " << n << " k " << k << " sum " << i;
      }
}

TEST_F(CudaLoss, EqualLogitsRankByIndex) {
  LossCase in(8, 8, 1);
  in.logits = filled({8, 8}, 0.5);
  for (std::int32_t i = 0; i < 8; ++i) in.labels.host<std::int32_t>()[static_cast<std::size_t>(i)] = i % 3;
  const LossResults got = on_device(in, 0);
  EXPECT_EQ(got.sums.host<double>()[1], 3);  // label 0
  EXPECT_EQ(got.sums.host<double>()[2], 8);
  LossCase ties(40, 20, 1);
  for (float& z : ties.logits.host<float>()) z = std::round(z * 2);
  expect_same_hits(ties);
}

TEST_F(CudaLoss, ANaNLogitNeverHitsAndShowsInTheLoss) {
  for (const std::int64_t k : {3, 10, 300})
    for (std::int64_t at = 0; at < k; at += 1 + k / 7) {
      LossCase in(1, k, 1);
      in.logits.host<float>()[static_cast<std::size_t>(at)] = std::nanf("");
      const LossResults got = on_device(in, 0);
      EXPECT_TRUE(std::isnan(value_of(got.loss, 0)) && std::isnan(value_of(got.sums, 0))) << k << " classes, NaN at " << at;
      EXPECT_TRUE(std::isnan(value_of(got.dlogits, 0)));
      expect_same_hits(in);
    }
}

TEST_F(CudaLoss, InfiniteLogits) {
  LossCase in(3, 6, 1);
  in.labels.host<std::int32_t>()[0] = 0;
  in.labels.host<std::int32_t>()[1] = -1;
  in.labels.host<std::int32_t>()[2] = 2;
  in.logits.host<float>()[5] = -INFINITY;  // a power of 0
  const LossResults got = on_device(in, 0), want = reference(in, 0);
  EXPECT_TRUE(within(value_of(got.loss, 0), value_of(want.loss, 0), error_bound(DType::kF32, 1, value_of(want.loss, 0))));
  EXPECT_EQ(value_of(got.dlogits, 5), 0);
  in.logits.host<float>()[0] = -INFINITY;  // its own class's
  EXPECT_EQ(value_of(on_device(in, 0).loss, 0), INFINITY);
  in.logits.host<float>()[0] = INFINITY;
  EXPECT_TRUE(std::isnan(value_of(on_device(in, 0).loss, 0)));
}

TEST_F(CudaLoss, NothingCountedIsZero) {
  LossCase in(4, 20, 1);
  for (auto& label : in.labels.host<std::int32_t>()) label = -1;
  const LossResults got = on_device(in, 0.1);
  EXPECT_EQ(value_of(got.loss, 0), 0);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(value_of(got.sums, i), 0);
  for (std::size_t i = 0; i < size_of(got.dlogits); ++i) ASSERT_EQ(value_of(got.dlogits, i), 0);
  const LossResults empty = on_device(LossCase(0, 5, 1), 0);
  EXPECT_EQ(value_of(empty.loss, 0), 0);
  EXPECT_EQ(value_of(empty.sums, 3), 0);
}

TEST_F(CudaLoss, SixteenBitLogitsThrowByName) {
  const Tensor logits = empty_on_gpu({2, 3}, DType::kBF16), labels = on_gpu(Tensor::zeros({2}, DType::kI32));
  Tensor loss = empty_on_gpu({}, DType::kF32), sums = empty_on_gpu({4}, DType::kF64);
  const std::string message =
      message_of<EnvironmentError>([&] { cuda::softmax_cross_entropy(gpu_stream(), logits, labels, {}, 0, loss, {}, sums); });
  EXPECT_NE(message.find("softmax_cross_entropy can't take bf16; use f32"), std::string::npos) << message;
}

}  // namespace
}  // namespace lockstep
