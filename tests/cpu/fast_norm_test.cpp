// Batch norm of the fast backend, f32 and bf16, against the f64 reference on the same (widened) inputs.
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
std::size_t numel(const Shape& s) { return static_cast<std::size_t>(s.numel()); }

struct Inputs {
  Inputs(const Shape& s, DType dtype)
      : x(random_tensor(s, 1, -2, 4, dtype)), dy(random_tensor(s, 2, -1, 1, dtype)), residual(random_tensor(s, 3, -1, 1, dtype)),
        mean(random_tensor({s[1]}, 4, 0, 2)), inv_std(random_tensor({s[1]}, 5, 0.3f, 2)), gamma(random_tensor({s[1]}, 6)),
        beta(random_tensor({s[1]}, 7)), mask(Tensor::empty({(s.numel() + 7) / 8}, DType::kU8)) {
    RandomStream random({.seed = 3});
    for (auto& byte : mask.host<std::uint8_t>()) byte = static_cast<std::uint8_t>(random.bits());
  }
  NormVectors norm() const { return {mean, inv_std, gamma, beta}; }
  bool bit(std::size_t i) const { return (mask.host<std::uint8_t>()[i / 8] >> (i % 8)) & 1; }
  double g(std::size_t i, bool masked) const { return masked && !bit(i) ? 0.0 : value_of(dy, i); }
  double centred(std::size_t i) const { return value_of(x, i) - mean.host<float>()[channel(x.shape(), i)]; }
  Tensor x, dy, residual, mean, inv_std, gamma, beta, mask;
};

struct WideNorm {
  explicit WideNorm(const Inputs& in)
      : mean(widened(in.mean)), inv_std(widened(in.inv_std)), gamma(widened(in.gamma)), beta(widened(in.beta)) {}
  operator NormVectors() const { return {mean, inv_std, gamma, beta}; }
  Tensor mean, inv_std, gamma, beta;
};

TEST_P(FastNorm, MomentsAreStableAtAnyMean) {
  for (const Shape& shape : shapes())
    for (const DType dtype : kActivationTypes)
      for (const float offset : {0.0f, 1000.0f}) {
        const Tensor x = random_tensor(shape, 1, offset - 1, offset + 1, dtype), x64 = widened(x);
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
        expect_close("mean " + shape.str(), mean, mean64, map_f64(mean, [&](double) { return offset + 4.0; }), 2);
        // The shift of a block of 64 rows is the mean of 8 of them, which it misses by at most 8 roundings: cancellation is
        // at most 1 + 64 / 8 fold, and of the squared roundings.
        const double missed = 8 * dtype_epsilon(DType::kF32) * (offset + 4), squares = static_cast<double>(n) * missed * missed;
        expect_close("m2 " + shape.str(), m2, m2_64, map_f64(m2_64, [&](double v) { return 9 * v + squares; }), n + 4);
      }
}

// The rows that give a block its shift are unlike all others: the worst case of the bound above.
TEST_P(FastNorm, MomentsBesideOutliersInTheFirstRows) {
  Tensor x = random_tensor({64, 16, 8, 8}, 1, -1e-3f, 1e-3f), mean = filled({16}, 0), m2 = filled({16}, 0);
  for (std::size_t i = 0; i < 8 * 256; ++i) x.host<float>()[i] += 1000;
  fast_->batch_norm_moments(kStream, x, mean, m2);
  Tensor mean64 = widened(mean), m2_64 = widened(m2);
  reference_->batch_norm_moments(kStream, widened(x), mean64, m2_64);
  expect_close("m2", m2, m2_64, map_f64(m2_64, [](double v) { return 9 * v; }), 4096 + 4);
}

// Several segments and threads: 3.2 million elements.
TEST_P(FastNorm, LongReductions) {
  const Shape shape{4, 64, 112, 112};
  const Tensor center = filled({64}, 100), one = filled({64}, 1), zero = filled({64}, 0);
  const NormVectors norm{center, one, one, zero};
  for (const DType dtype : kActivationTypes) {
    const Tensor x = random_tensor(shape, 1, 99, 101, dtype), dy = random_tensor(shape, 2, -1, 1, dtype);
    const Tensor m2 = run(filled({64}, 7), [&](Kernels& k, Tensor& out) {
      Tensor mean = filled({64}, 7);
      k.batch_norm_moments(kStream, x, mean, out);
    });
    const Tensor sum = run(filled({64}, 7), [&](Kernels& k, Tensor& out) {
      Tensor other = filled({64}, 7);
      k.batch_norm_backward_sums(kStream, dy, ReluGate::none(), x, norm, other, out);
    });
    const Tensor bias = run(filled({64}, 7), [&](Kernels& k, Tensor& out) { k.bias_backward(kStream, dy, out, GradMode::kOverwrite); });
    Tensor mean64 = widened(m2), m2_64 = widened(m2), g64 = widened(m2), sum64 = widened(m2), size = widened(m2);
    const Tensor x64 = widened(x), dy64 = widened(dy), center64 = widened(center), one64 = widened(one), zero64 = widened(zero);
    reference_->batch_norm_moments(kStream, x64, mean64, m2_64);
    reference_->batch_norm_backward_sums(kStream, dy64, ReluGate::none(), x64, {center64, one64, one64, zero64}, g64, sum64);
    reference_->bias_backward(kStream, magnitudes(dy), size, GradMode::kOverwrite);  // also bounds sum |g xhat|: |xhat| <= 1
    expect_close("m2", m2, m2_64, m2_64, per_channel(shape));
    expect_close("sum_g", bias, g64, size, per_channel(shape));
    expect_close("sum_g_xhat", sum, sum64, size, per_channel(shape));
  }
}

// The control for the stability test: one pass over x and x^2 in f32 is not within those bounds.
TEST(FastNormControl, NaiveMomentsFailTheBound) {
  const Tensor x = random_tensor({4096}, 1, 999, 1001);
  float sum = 0, squares = 0;
  double sum64 = 0, m2 = 0;
  for (const float value : x.host<float>()) sum += value, squares += value * value, sum64 += value;
  for (const float value : x.host<float>()) m2 += (value - sum64 / 4096) * (value - sum64 / 4096);
  EXPECT_FALSE(within(squares - sum * sum / 4096, m2, error_bound(DType::kF32, 4096 + 4, 9 * m2)));
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

void check_apply(const Inputs& in, const Tensor& y, const Tensor& mask, const Tensor& want, bool relu, bool with_residual) {
  const Shape& shape = y.shape();
  Tensor size = widened(y);
  for (std::size_t i = 0; i < numel(shape); ++i) {
    const std::size_t c = channel(shape, i);
    size.host<double>()[i] = std::fabs(in.centred(i) * in.inv_std.host<float>()[c] * in.gamma.host<float>()[c]) +
                             std::fabs(in.beta.host<float>()[c]) + (with_residual ? std::fabs(value_of(in.residual, i)) : 0);
    const bool bit = (mask.host<std::uint8_t>()[i / 8] >> (i % 8)) & 1;
    ASSERT_TRUE(!relu || bit == (value_of(y, i) > 0)) << shape.str() << i;
  }
  expect_close("apply " + shape.str(), y, want, size, 5);
}

TEST_P(FastNorm, ApplyWithResidualReluAndMask) {
  for (const Shape& shape : shapes())
    for (const DType dtype : kActivationTypes)
      for (const bool relu : {false, true})
        for (const bool with_residual : {false, true}) {
          const Inputs in(shape, dtype);
          const ConstView residual = with_residual ? ConstView(in.residual) : ConstView{};
          Tensor mask = Tensor::empty(in.mask.shape(), DType::kU8);
          const Tensor y = run(filled(shape, 9, dtype), [&](Kernels& k, Tensor& out) {
            k.batch_norm_apply(kStream, in.x, in.norm(), residual, relu, out, relu ? View(mask) : View{});
          });
          Tensor want = widened(y);
          const Tensor residual64 = widened(in.residual);
          reference_->batch_norm_apply(kStream, widened(in.x), WideNorm(in), with_residual ? ConstView(residual64) : ConstView{}, relu,
                                       want, {});
          check_apply(in, y, mask, want, relu, with_residual);
        }
}

TEST_P(FastNorm, ApplyInPlaceAndOnTheResidualGiveTheSameBits) {
  for (const Shape& shape : shapes())
    for (const DType dtype : kActivationTypes) {
      const Inputs in(shape, dtype);
      Tensor apart = filled(shape, 9, dtype), over_x = in.x.clone(), over_residual = in.residual.clone();
      const auto apply = [&](const Tensor& x, const Tensor& residual, Tensor& y) {
        fast_->batch_norm_apply(kStream, x, in.norm(), residual, true, y, {});
      };
      apply(in.x, in.residual, apart);
      apply(over_x, in.residual, over_x);
      apply(in.x, over_residual, over_residual);
      EXPECT_TRUE(same_bits(apart, over_x) && same_bits(apart, over_residual)) << shape.str();
    }
}

TEST_P(FastNorm, ReluKeepsNaNAndInfinity) {
  for (const DType dtype : kActivationTypes) {
    const Shape shape{1, 16, 3, 3};
    Inputs in(shape, dtype);
    in.gamma = filled({16}, 0.5f);
    set_value(in.x, 20, std::nanf(""));
    set_value(in.x, 21, INFINITY);
    set_value(in.x, 22, -INFINITY);
    Tensor y = filled(shape, 0, dtype), mask = in.mask.clone();
    fast_->batch_norm_apply(kStream, in.x, in.norm(), {}, true, y, mask);
    EXPECT_TRUE(std::isnan(value_of(y, 20)));
    EXPECT_EQ(value_of(y, 21), INFINITY);
    EXPECT_EQ(value_of(y, 22), 0);
    EXPECT_EQ((mask.host<std::uint8_t>()[2] >> 4) & 7, 2);
  }
}

// Zero, the smallest output of each dtype, and an f32 value that bf16 stores as zero: mask and recomputed gate agree.
TEST_P(FastNorm, GateIsClosedAtZero) {
  for (const DType dtype : kActivationTypes) {
    Tensor x = filled({1, 24, 1, 1}, 0, dtype), y = filled(x.shape(), 1, dtype), mask = Tensor::empty({3}, DType::kU8),
           dy = filled(x.shape(), 1, dtype), zero = filled({24}, 0), one = filled({24}, 1), tiny = filled({24}, 0);
    set_value(x, 17, dtype == DType::kF32 ? 0x1p-149f : 0x1p-133f);
    tiny.host<float>()[18] = 0x1p-134f;
    const NormVectors norm{zero, one, one, tiny};
    fast_->batch_norm_apply(kStream, x, norm, {}, true, y, mask);
    EXPECT_EQ(mask.host<std::uint8_t>()[0] | mask.host<std::uint8_t>()[1], 0);
    EXPECT_EQ(mask.host<std::uint8_t>()[2], dtype == DType::kF32 ? 6 : 2);
    Tensor sum = filled({24}, 0), unused = filled({24}, 0);
    fast_->batch_norm_backward_sums(kStream, dy, ReluGate::recompute(), x, norm, sum, unused);
    for (std::size_t c = 0; c < 24; ++c) EXPECT_EQ(sum.host<float>()[c], c == 17 || (c == 18 && dtype == DType::kF32) ? 1 : 0) << c;
  }
}

TEST_P(FastNorm, BackwardSums) {
  for (const Shape& shape : shapes())
    for (const DType dtype : kActivationTypes)
      for (const bool masked : {false, true}) {
        const Inputs in(shape, dtype);
        const ReluGate gate = masked ? ReluGate::from_bits(in.mask) : ReluGate::none();
        Tensor sums[2];
        for (const int which : {0, 1})
          sums[which] = run(filled({shape[1]}, 7), [&](Kernels& k, Tensor& out) {
            Tensor other = filled({shape[1]}, 7);
            k.batch_norm_backward_sums(kStream, in.dy, gate, in.x, in.norm(), which == 0 ? out : other, which == 0 ? other : out);
          });
        Tensor want[2] = {widened(sums[0]), widened(sums[1])},
               size[2] = {Tensor::zeros({shape[1]}, DType::kF64), Tensor::zeros({shape[1]}, DType::kF64)};
        reference_->batch_norm_backward_sums(kStream, widened(in.dy), gate, widened(in.x), WideNorm(in), want[0], want[1]);
        for (std::size_t i = 0; i < numel(shape); ++i) {
          const std::size_t c = channel(shape, i);
          size[0].host<double>()[c] += std::fabs(in.g(i, masked));
          size[1].host<double>()[c] += std::fabs(in.g(i, masked) * in.centred(i)) * in.inv_std.host<float>()[c];
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
  ReluGate gate;
  GradMode dx_mode, dresidual_mode;  // kSkip: no residual

  void call(Kernels& k, Tensor& dx, Tensor& dresidual) const {
    k.batch_norm_backward_apply(kStream, in.dy, gate, in.x, in.norm(), sum_g, sum_g_xhat, count, dx, dx_mode,
                                dresidual_mode == GradMode::kSkip ? View{} : View(dresidual), dresidual_mode);
  }
  void call_wide(Kernels& k, Tensor& dx, Tensor& dresidual) const {
    k.batch_norm_backward_apply(kStream, widened(in.dy), gate, widened(in.x), WideNorm(in), widened(sum_g), widened(sum_g_xhat), count,
                                dx, dx_mode, dresidual_mode == GradMode::kSkip ? View{} : View(dresidual), dresidual_mode);
  }
  double size(std::size_t i) const {
    const std::size_t c = channel(in.x.shape(), i);
    const double inverse = in.inv_std.host<float>()[c], xhat = in.centred(i) * inverse;
    return std::fabs(in.gamma.host<float>()[c] * inverse) *
           (std::fabs(value_of(in.dy, i)) + std::fabs(sum_g.host<float>()[c] / count) +
            std::fabs(xhat * sum_g_xhat.host<float>()[c] / count));
  }
};

TEST_P(FastNorm, BackwardApplyInAllModes) {
  const GradMode over = GradMode::kOverwrite, on = GradMode::kAccumulate, skip = GradMode::kSkip;
  const std::pair<GradMode, GradMode> modes[] = {{over, skip}, {on, over}, {over, on}, {on, on}};
  for (const Shape& shape : shapes())
    for (const DType dtype : kActivationTypes)
      for (const bool masked : {false, true})
        for (const double count : {static_cast<double>(per_channel(shape)), static_cast<double>(INFINITY)})
          for (const auto& [dx_mode, dresidual_mode] : modes) {
            const Inputs in(shape, dtype);
            const ApplyCase test{in, random_tensor({shape[1]}, 8, -9, 9), random_tensor({shape[1]}, 9, -9, 9), count,
                                 masked ? ReluGate::from_bits(in.mask) : ReluGate::none(), dx_mode, dresidual_mode};
            const Tensor start = random_tensor(shape, 10, -1, 1, dtype);
            Tensor dresidual = start.clone();
            const Tensor dx = run(start, [&](Kernels& k, Tensor& out) {
              dresidual = start.clone();
              test.call(k, out, dresidual);
            });
            Tensor want = widened(start), want_residual = widened(start), size = widened(start), residual_size = widened(start);
            test.call_wide(*reference_, want, want_residual);
            for (std::size_t i = 0; i < numel(shape); ++i) {
              const double before = std::fabs(value_of(start, i));
              size.host<double>()[i] = test.size(i) + (dx_mode == on ? before : 0);
              residual_size.host<double>()[i] = std::fabs(value_of(in.dy, i)) + before;
            }
            expect_close("dx " + shape.str(), dx, want, size, 8);
            expect_close("dresidual " + shape.str(), dresidual, want_residual, residual_size, 1);
          }
}

// The gate recomputed from x is the mask that the forward pass of the same x writes, to the bit, and not another.
TEST_P(FastNorm, RecomputedGateGivesTheBitsOfTheMask) {
  for (const Shape& shape : shapes())
    for (const DType dtype : kActivationTypes) {
      const Inputs in(shape, dtype);
      Tensor y = filled(shape, 0, dtype), mask = Tensor::empty(in.mask.shape(), DType::kU8);
      fast_->batch_norm_apply(kStream, in.x, in.norm(), {}, true, y, mask);
      Tensor results[3][3];
      const ReluGate gates[] = {ReluGate::from_bits(mask), ReluGate::recompute(), ReluGate::none()};
      for (int gate : {0, 1, 2}) {
        Tensor &first = results[gate][0] = filled({shape[1]}, 7), &second = results[gate][1] = filled({shape[1]}, 7), dresidual = y.clone();
        fast_->batch_norm_backward_sums(kStream, in.dy, gates[gate], in.x, in.norm(), first, second);
        results[gate][2] = run(filled(shape, 0, dtype), [&](Kernels& k, Tensor& out) {
          k.batch_norm_backward_apply(kStream, in.dy, gates[gate], in.x, in.norm(), first, second, 9, out, GradMode::kOverwrite,
                                      dresidual, GradMode::kOverwrite);
        });
      }
      for (int part : {0, 1, 2}) EXPECT_TRUE(same_bits(results[0][part], results[1][part])) << shape.str() << " " << part;
      EXPECT_TRUE(shape.numel() < 100 || !same_bits(results[0][2], results[2][2])) << "the control is equal too: " << shape.str();
    }
}

TEST_P(FastNorm, BackwardApplyMayWriteOverItsGradient) {
  for (const DType dtype : kActivationTypes) {
    const Inputs in({3, 24, 7, 7}, dtype);
    const ApplyCase test{in, random_tensor({24}, 8), random_tensor({24}, 9), 147, ReluGate::from_bits(in.mask), GradMode::kOverwrite,
                         GradMode::kOverwrite};
    Tensor dx = filled(in.x.shape(), 0, dtype), dresidual = dx.clone(), dresidual_in_place = dx.clone(), over = in.dy.clone();
    test.call(*fast_, dx, dresidual);
    fast_->batch_norm_backward_apply(kStream, over, test.gate, in.x, in.norm(), test.sum_g, test.sum_g_xhat, 147, over,
                                     GradMode::kOverwrite, dresidual_in_place, GradMode::kOverwrite);
    EXPECT_TRUE(same_bits(dx, over) && same_bits(dresidual, dresidual_in_place));
  }
}

TEST_P(FastNorm, HalfPrecisionThrowsByName) {
  Tensor x = Tensor::empty({1, 8, 2, 2}, DType::kF16), stats = filled({8}, 0);
  try {
    fast_->batch_norm_moments(kStream, x, stats, stats);
    FAIL() << "no error";
  } catch (const EnvironmentError& error) {
    EXPECT_NE(std::string(error.what()).find("batch_norm_moments"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("f16"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("use f32 or bf16"), std::string::npos);
  }
}

}  // namespace
}  // namespace lockstep
