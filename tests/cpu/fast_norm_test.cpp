// Batch norm of the fast backend against the f64 reference.
// SPDX-License-Identifier: Apache-2.0
#include "tests/cpu/fast_test_util.h"

namespace lockstep {
namespace {

class FastNorm : public FastBackend {};
INSTANTIATE_TEST_SUITE_P(EachSimd, FastNorm, ::testing::ValuesIn(available_simd().begin(), available_simd().end()), simd_name);

// Channels below, at and above the vector width, odd ones, more than one block of rows, tails of a period.
std::vector<Shape> shapes() {
  return {{1, 1, 1, 2},  {2, 3, 5, 7},    {1, 16, 1, 3},  {4, 16, 9, 9},  {2, 17, 6, 5},  {3, 24, 7, 7},
          {2, 64, 8, 8}, {1, 100, 13, 3}, {2, 256, 3, 3}, {2, 1000, 2, 2}, {1, 2048, 7, 7}, {5, 1, 31, 33}};
}
std::int64_t per_channel(const Shape& s) { return s[0] * s[2] * s[3]; }
std::size_t channel(const Shape& s, std::size_t i) { return i % static_cast<std::size_t>(s[1]); }

struct Inputs {
  explicit Inputs(const Shape& s)
      : x(random_tensor(s, 1, -2, 4)), dy(random_tensor(s, 2)), residual(random_tensor(s, 3)), mean(random_tensor({s[1]}, 4, 0, 2)),
        inv_std(random_tensor({s[1]}, 5, 0.3f, 2)), gamma(random_tensor({s[1]}, 6)), beta(random_tensor({s[1]}, 7)),
        mask(Tensor::empty({(s.numel() + 7) / 8}, DType::kU8)) {
    RandomStream random({.seed = 3});
    for (auto& byte : mask.host<std::uint8_t>()) byte = static_cast<std::uint8_t>(random.bits());
  }
  double g(std::size_t i, bool masked) const {
    return masked && ((mask.host<std::uint8_t>()[i / 8] >> (i % 8)) & 1) == 0 ? 0.0 : dy.host<float>()[i];
  }
  Tensor x, dy, residual, mean, inv_std, gamma, beta, mask;
};

TEST_P(FastNorm, MomentsAreStableAtAnyMean) {
  for (const Shape& shape : shapes())
    for (const float offset : {0.0f, 1000.0f}) {
      const Tensor x = random_tensor(shape, 1, offset - 1, offset + 1), x64 = widened(x);
      const Tensor mean = run(filled({shape[1]}, 7), [&](Kernels& k, Tensor& out) {
        Tensor m2 = filled({shape[1]}, 7);
        k.batch_norm_moments(kStream, x, out, m2);
      });
      const Tensor m2 = run(filled({shape[1]}, 7), [&](Kernels& k, Tensor& out) {
        Tensor unused = filled({shape[1]}, 7);
        k.batch_norm_moments(kStream, x, unused, out);
      });
      Tensor mean64 = widened(mean), m2_64 = widened(mean);
      reference_->batch_norm_moments(kStream, x64, mean64, m2_64);
      const std::int64_t n = per_channel(shape);
      expect_close("mean " + shape.str(), mean, mean64, map_f64(mean, [&](double) { return offset + 1.0; }), 2);
      expect_close("m2 " + shape.str(), m2, m2_64, m2_64, n + 4);
    }
}

// Several segments and threads: 3.2 million elements.
TEST_P(FastNorm, LongReductions) {
  const Shape shape{4, 64, 112, 112};
  const Tensor x = random_tensor(shape, 1, 99, 101), dy = random_tensor(shape, 2), center = filled({64}, 100), one = filled({64}, 1);
  const Tensor m2 = run(filled({64}, 7), [&](Kernels& k, Tensor& out) {
    Tensor mean = filled({64}, 7);
    k.batch_norm_moments(kStream, x, mean, out);
  });
  const Tensor sum = run(filled({64}, 7), [&](Kernels& k, Tensor& out) {
    Tensor other = filled({64}, 7);
    k.batch_norm_backward_sums(kStream, dy, {}, x, center, one, other, out);
  });
  const Tensor bias = run(filled({64}, 7), [&](Kernels& k, Tensor& out) { k.bias_backward(kStream, dy, out, GradMode::kOverwrite); });
  Tensor mean64 = widened(m2), m2_64 = widened(m2), g64 = widened(m2), sum64 = widened(m2), size = widened(m2);
  const Tensor x64 = widened(x), dy64 = widened(dy);
  reference_->batch_norm_moments(kStream, x64, mean64, m2_64);
  reference_->batch_norm_backward_sums(kStream, dy64, {}, x64, widened(center), widened(one), g64, sum64);
  reference_->bias_backward(kStream, magnitudes(dy), size, GradMode::kOverwrite);  // also bounds sum |g xhat|: |xhat| <= 1
  expect_close("m2", m2, m2_64, m2_64, per_channel(shape));
  expect_close("sum_g", bias, g64, size, per_channel(shape));
  expect_close("sum_g_xhat", sum, sum64, size, per_channel(shape));
}

// The control for the stability test: one pass over x and x^2 in f32 is not within those bounds.
TEST(FastNormControl, NaiveMomentsFailTheBound) {
  const Tensor x = random_tensor({4096}, 1, 999, 1001);
  float sum = 0, squares = 0;
  double sum64 = 0, m2 = 0;
  for (const float value : x.host<float>()) sum += value, squares += value * value, sum64 += value;
  for (const float value : x.host<float>()) m2 += (value - sum64 / 4096) * (value - sum64 / 4096);
  EXPECT_FALSE(within(squares - sum * sum / 4096, m2, error_bound(DType::kF32, 4096 + 4, m2)));
}

TEST_P(FastNorm, InverseDeviationAndUnbiasedVariance) {
  const Tensor m2 = random_tensor({37}, 1, 0, 50);
  for (const double count : {1.0, 2.0, 300.0}) {
    Tensor unbiased = filled({37}, 0);
    const Tensor inv_std = run(filled({37}, 0), [&](Kernels& k, Tensor& out) {
      k.batch_norm_inv_std(kStream, m2, count, 1e-5, out, count > 1 ? View(unbiased) : View{});
    });
    Tensor want = widened(m2), want_unbiased = widened(unbiased);
    reference_->batch_norm_inv_std(kStream, widened(m2), count, 1e-5, want, count > 1 ? View(want_unbiased) : View{});
    expect_close("inv_std", inv_std, want, want, 1);
    expect_close("unbiased", unbiased, want_unbiased, want_unbiased, 1);
  }
}

TEST_P(FastNorm, ApplyWithResidualReluAndMask) {
  for (const Shape& shape : shapes())
    for (const bool relu : {false, true})
      for (const bool with_residual : {false, true}) {
        const Inputs in(shape);
        const ConstView residual = with_residual ? ConstView(in.residual) : ConstView{};
        Tensor mask = Tensor::empty(in.mask.shape(), DType::kU8);
        const Tensor y = run(filled(shape, 9), [&](Kernels& k, Tensor& out) {
          k.batch_norm_apply(kStream, in.x, in.mean, in.inv_std, in.gamma, in.beta, residual, relu, out, relu ? View(mask) : View{});
        });
        Tensor want = widened(y), size = widened(y);
        reference_->batch_norm_apply(kStream, widened(in.x), widened(in.mean), widened(in.inv_std), widened(in.gamma), widened(in.beta),
                                     with_residual ? ConstView(widened(in.residual)) : ConstView{}, relu, want, {});
        for (std::size_t i = 0; i < y.host<float>().size(); ++i) {
          const std::size_t c = channel(shape, i);
          size.host<double>()[i] = std::fabs((double{in.x.host<float>()[i]} - in.mean.host<float>()[c]) * in.inv_std.host<float>()[c] *
                                             in.gamma.host<float>()[c]) +
                                   std::fabs(in.beta.host<float>()[c]) + (with_residual ? std::fabs(in.residual.host<float>()[i]) : 0);
          const bool bit = (mask.host<std::uint8_t>()[i / 8] >> (i % 8)) & 1;
          ASSERT_TRUE(!relu || bit == (y.host<float>()[i] > 0)) << shape.str() << i;
        }
        expect_close("apply " + shape.str(), y, want, size, 5);
      }
}

TEST_P(FastNorm, ApplyInPlaceAndOnTheResidualGiveTheSameBits) {
  for (const Shape& shape : shapes()) {
    const Inputs in(shape);
    Tensor apart = filled(shape, 9), over_x = in.x.clone(), over_residual = in.residual.clone();
    const auto apply = [&](const Tensor& x, const Tensor& residual, Tensor& y) {
      fast_->batch_norm_apply(kStream, x, in.mean, in.inv_std, in.gamma, in.beta, residual, true, y, {});
    };
    apply(in.x, in.residual, apart);
    apply(over_x, in.residual, over_x);
    apply(in.x, over_residual, over_residual);
    EXPECT_TRUE(same_bits(apart, over_x) && same_bits(apart, over_residual)) << shape.str();
  }
}

TEST_P(FastNorm, ReluKeepsNaN) {
  Tensor x = random_tensor({1, 16, 3, 3}, 1);
  x.host<float>()[20] = std::nanf("");
  const Inputs in({1, 16, 3, 3});
  Tensor y = filled(x.shape(), 0), mask = in.mask.clone();
  fast_->batch_norm_apply(kStream, x, in.mean, in.inv_std, in.gamma, in.beta, {}, true, y, mask);
  EXPECT_TRUE(std::isnan(y.host<float>()[20]));
  EXPECT_EQ((mask.host<std::uint8_t>()[2] >> 4) & 1, 0);
}

TEST_P(FastNorm, MaskIsClearAtZero) {
  Tensor x = filled({1, 24, 1, 1}, 0), y = filled(x.shape(), 1), mask = Tensor::empty({3}, DType::kU8), zero = filled({24}, 0),
         one = filled({24}, 1);
  x.host<float>()[17] = 0x1p-149f;
  fast_->batch_norm_apply(kStream, x, zero, one, one, zero, {}, true, y, mask);
  EXPECT_EQ(mask.host<std::uint8_t>()[0] | mask.host<std::uint8_t>()[1], 0);
  EXPECT_EQ(mask.host<std::uint8_t>()[2], 2);
}

TEST_P(FastNorm, BackwardSums) {
  for (const Shape& shape : shapes())
    for (const bool masked : {false, true}) {
      const Inputs in(shape);
      const ConstView mask = masked ? ConstView(in.mask) : ConstView{};
      Tensor sums[2];
      for (const int which : {0, 1})
        sums[which] = run(filled({shape[1]}, 7), [&](Kernels& k, Tensor& out) {
          Tensor other = filled({shape[1]}, 7);
          k.batch_norm_backward_sums(kStream, in.dy, mask, in.x, in.mean, in.inv_std, which == 0 ? out : other, which == 0 ? other : out);
        });
      Tensor want[2] = {widened(sums[0]), widened(sums[1])},
             size[2] = {Tensor::zeros({shape[1]}, DType::kF64), Tensor::zeros({shape[1]}, DType::kF64)};
      reference_->batch_norm_backward_sums(kStream, widened(in.dy), mask, widened(in.x), widened(in.mean), widened(in.inv_std),
                                           want[0], want[1]);
      for (std::size_t i = 0; i < in.x.host<float>().size(); ++i) {
        const std::size_t c = channel(shape, i);
        const double g = std::fabs(in.g(i, masked));
        size[0].host<double>()[c] += g;
        size[1].host<double>()[c] += g * std::fabs(double{in.x.host<float>()[i]} - in.mean.host<float>()[c]) * in.inv_std.host<float>()[c];
      }
      expect_close("sum_g " + shape.str(), sums[0], want[0], size[0], per_channel(shape));
      expect_close("sum_g_xhat " + shape.str(), sums[1], want[1], size[1], per_channel(shape) + 3);
    }
}

// The whole of batch_norm_backward_apply's arguments, so that one function can call either backend in either precision.
struct ApplyCase {
  const Inputs& in;
  Tensor sum_g, sum_g_xhat;
  double count;
  bool masked;
  GradMode dx_mode, dresidual_mode;  // kSkip: no residual

  void call(Kernels& k, bool wide, Tensor& dx, Tensor& dresidual) const {
    const auto view = [&](const Tensor& t) { return wide ? widened(t) : t; };
    k.batch_norm_backward_apply(kStream, view(in.dy), masked ? ConstView(in.mask) : ConstView{}, view(in.x), view(in.mean),
                                view(in.inv_std), view(in.gamma), view(sum_g), view(sum_g_xhat), count, dx, dx_mode,
                                dresidual_mode == GradMode::kSkip ? View{} : View(dresidual), dresidual_mode);
  }
  double size(std::size_t i) const {
    const std::size_t c = channel(in.x.shape(), i);
    const double inverse = in.inv_std.host<float>()[c], xhat = (double{in.x.host<float>()[i]} - in.mean.host<float>()[c]) * inverse;
    return std::fabs(in.gamma.host<float>()[c] * inverse) *
           (std::fabs(in.g(i, masked)) + std::fabs(sum_g.host<float>()[c] / count) + std::fabs(xhat * sum_g_xhat.host<float>()[c] / count));
  }
};

TEST_P(FastNorm, BackwardApplyInAllModes) {
  const GradMode over = GradMode::kOverwrite, on = GradMode::kAccumulate, skip = GradMode::kSkip;
  for (const Shape& shape : shapes())
    for (const bool masked : {false, true})
      for (const double count : {static_cast<double>(per_channel(shape)), static_cast<double>(INFINITY)})
        for (const auto& [dx_mode, dresidual_mode] :
             std::vector<std::pair<GradMode, GradMode>>{{over, skip}, {on, over}, {over, on}, {on, on}}) {
          const Inputs in(shape);
          const ApplyCase test{in,
                               random_tensor({shape[1]}, 8, -9, 9),
                               random_tensor({shape[1]}, 9, -9, 9),
                               count,
                               masked,
                               dx_mode,
                               dresidual_mode};
          const Tensor start = random_tensor(shape, 10);
          Tensor dresidual = start.clone(), ignored = start.clone();
          const Tensor dx = run(start, [&](Kernels& k, Tensor& out) {
            dresidual = start.clone();
            test.call(k, false, out, dresidual);
          });
          Tensor want = widened(start), want_residual = widened(start), size = widened(start), residual_size = widened(start);
          test.call(*reference_, true, want, want_residual);
          for (std::size_t i = 0; i < dx.host<float>().size(); ++i) {
            const double before = std::fabs(start.host<float>()[i]);
            size.host<double>()[i] = test.size(i) + (dx_mode == on ? before : 0);
            residual_size.host<double>()[i] = std::fabs(in.dy.host<float>()[i]) + before;
          }
          expect_close("dx " + shape.str(), dx, want, size, 8);
          expect_close("dresidual " + shape.str(), dresidual, want_residual, residual_size, 1);
        }
}

TEST_P(FastNorm, BackwardApplyMayWriteOverItsGradient) {
  const Inputs in({3, 24, 7, 7});
  ApplyCase test{in, random_tensor({24}, 8), random_tensor({24}, 9), 147, true, GradMode::kOverwrite, GradMode::kOverwrite};
  Tensor dx = filled(in.x.shape(), 0), dresidual = dx.clone(), dresidual_in_place = dx.clone(), over = in.dy.clone();
  test.call(*fast_, false, dx, dresidual);
  fast_->batch_norm_backward_apply(kStream, over, in.mask, in.x, in.mean, in.inv_std, in.gamma, test.sum_g, test.sum_g_xhat, 147,
                                   over, GradMode::kOverwrite, dresidual_in_place, GradMode::kOverwrite);
  EXPECT_TRUE(same_bits(dx, over) && same_bits(dresidual, dresidual_in_place));
}

TEST_P(FastNorm, SixteenBitThrowsByName) {
  Tensor x = Tensor::empty({1, 8, 2, 2}, DType::kBF16), stats = filled({8}, 0);
  try {
    fast_->batch_norm_moments(kStream, x, stats, stats);
    FAIL() << "no error";
  } catch (const EnvironmentError& error) {
    EXPECT_NE(std::string(error.what()).find("batch_norm_moments"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("bf16"), std::string::npos);
  }
}

}  // namespace
}  // namespace lockstep
