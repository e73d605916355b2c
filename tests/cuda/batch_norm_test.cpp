// Batch norm forward on the device, in f32, bf16 and f16, against the f64 reference on the same (widened) inputs.
// SPDX-License-Identifier: Apache-2.0
#include <limits>

#include "tests/cuda/batch_norm_inputs.h"

namespace lockstep {
namespace {

// mean and m2 on the host.
std::pair<Tensor, Tensor> moments_of(Stream stream, const Tensor& x, Place place = Place::kAligned) {
  const Tensor input = on_gpu_at(x, place), start = filled({x.shape()[1]}, 7);
  Tensor mean = on_gpu(start), m2 = on_gpu(start);
  cuda::batch_norm_moments(stream, input, mean, m2);
  const Tensor again = run_twice(start, [&](Tensor& out) {
    Tensor unused = on_gpu(start);
    cuda::batch_norm_moments(stream, input, unused, out);
  });
  EXPECT_TRUE(same_bits(to_host(m2), again)) << "two calls differ";
  return {to_host(mean), to_host(m2)};
}

// The largest minus the smallest value of each channel.
std::vector<double> spreads(const Tensor& x) {
  std::vector<double> low(static_cast<std::size_t>(x.shape()[1]), INFINITY), high(low.size(), -INFINITY);
  for (std::size_t i = 0; i < size_of(x); ++i) {
    const std::size_t c = channel(x.shape(), i);
    low[c] = std::min(low[c], value_of(x, i));
    high[c] = std::max(high[c], value_of(x, i));
  }
  for (std::size_t c = 0; c < low.size(); ++c) high[c] -= low[c];
  return high;
}

// No bound depends on the mean, but for the rounding of the mean itself: with spread d of a channel's values, a thread's sums are
// of r terms up to d and d^2; its share of m2 is the difference of two values up to r d^2; and its mean comes as a difference up
// to d, of which r + 4 roundings shift m2 by at most 2 d per row and rounding.
void expect_moments(const Tensor& x, const std::pair<Tensor, Tensor>& got, std::int64_t rows_of_thread, Kernels& reference) {
  Tensor mean = widened(got.first), m2 = widened(got.second);
  reference.batch_norm_moments({}, widened(x), mean, m2);
  Tensor mean_size = magnitudes(mean), m2_size = magnitudes(m2);
  const std::vector<double> spread = spreads(x);
  for (std::size_t c = 0; c < spread.size(); ++c) {
    mean_size.host<double>()[c] += 2 * spread[c];
    m2_size.host<double>()[c] += 4 * static_cast<double>(per_channel(x.shape())) * spread[c] * spread[c];
  }
  expect_close("mean " + x.shape().str(), got.first, mean, mean_size, rows_of_thread + 4);
  expect_close("m2 " + x.shape().str(), got.second, m2, m2_size, rows_of_thread + 4);
}

TEST_F(CudaBatchNorm, MomentsAreStableAtAnyMean) {
  for (const Shape& shape : norm_shapes())
    for (const DType dtype : kActivationTypes)
      for (const Place place : kPlaces)
        for (const float offset : {0.0f, 1000.0f}) {
          const Tensor x = random_host(shape, 1, dtype, offset - 1, offset + 1);
          expect_moments(x, moments_of(stream_, x, place), thread_rows(shape, place), *reference_);
        }
}

TEST_F(CudaBatchNorm, MomentsOfManyBlocks) {
  for (const Shape& shape : {Shape{2, 64, 56, 56}, Shape{2, 256, 28, 28}, Shape{1, 1, 300, 301}}) {
    const Tensor x = random_host(shape, 1, DType::kF32, 99, 101);
    expect_moments(x, moments_of(stream_, x), thread_rows(shape, Place::kAligned), *reference_);
  }
}

// The value from which all others are measured is unlike them: the first and the last row, which threads and blocks measure from.
TEST_F(CudaBatchNorm, MomentsBesideOutliers) {
  for (const bool last : {false, true}) {
    Tensor x = random_host({16, 16, 16, 16}, 1, DType::kF32, -1e-3f, 1e-3f);
    for (std::size_t c = 0; c < 16; ++c) set_value(x, (last ? size_of(x) - 16 : 0) + c, 1000);
    expect_moments(x, moments_of(stream_, x), thread_rows(x.shape(), Place::kAligned), *reference_);
    // All of m2 comes from the outlier, which a sum from a distant origin would lose: sharper than the bound above.
    const auto [mean, m2] = moments_of(stream_, x);
    for (std::size_t c = 0; c < 16; ++c) EXPECT_NEAR(value_of(m2, c), 1e6 * (1 - 1.0 / 4096), 1e6 * 4096 * dtype_epsilon(DType::kF32));
  }
}

// The control for stability: one pass over x and x^2 in f32 is not within that bound.
TEST(CudaBatchNormControl, NaiveMomentsFailTheBound) {
  const Tensor x = random_host({4096}, 1, DType::kF32, 999, 1001);
  float sum = 0, squares = 0;
  double sum64 = 0, m2 = 0;
  for (const float value : x.host<float>()) sum += value, squares += value * value, sum64 += value;
  for (const float value : x.host<float>()) m2 += (value - sum64 / 4096) * (value - sum64 / 4096);
  EXPECT_FALSE(within(squares - sum * sum / 4096, m2, error_bound(DType::kF32, 16, m2 + 16.0 * 4096)));
}

TEST_F(CudaBatchNorm, MomentsOfConstantsAndOfNothing) {
  const auto [mean, m2] = moments_of(stream_, filled({3, 24, 7, 7}, 3.125, DType::kF16));
  for (std::size_t c = 0; c < 24; ++c) EXPECT_TRUE(value_of(mean, c) == 3.125 && value_of(m2, c) == 0) << c;
  Tensor none = empty_on_gpu({0, 5, 3, 3}, DType::kF32), mean0 = on_gpu(filled({5}, 7)), m20 = on_gpu(filled({5}, 7));
  cuda::batch_norm_moments(stream_, none, mean0, m20);
  EXPECT_TRUE(same_bits(to_host(mean0), filled({5}, 0)) && same_bits(to_host(m20), filled({5}, 0)));
}

TEST_F(CudaBatchNorm, MomentsShowWhatIsNotFinite) {
  for (const double bad : {static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
    Tensor x = random_host({4, 16, 9, 9}, 1);
    set_value(x, 16 * 100 + 3, bad);
    const auto [mean, m2] = moments_of(stream_, x);
    for (std::size_t c = 0; c < 16; ++c) EXPECT_EQ(std::isfinite(value_of(mean, c)) && std::isfinite(value_of(m2, c)), c != 3) << c;
  }
}

TEST_F(CudaBatchNorm, InverseDeviationAndUnbiasedVariance) {
  const Tensor m2 = random_host({37}, 1, DType::kF32, 0, 50), input = on_gpu(m2);
  for (const double count : {1.0, 2.0, 300.0}) {
    Tensor unbiased = on_gpu(filled({37}, 0));
    const Tensor inv_std = run_twice(filled({37}, 0), [&](Tensor& out) {
      cuda::batch_norm_inv_std(stream_, input, count, 1e-5, out, count > 1 ? View(unbiased) : View{});
    });
    Tensor want = widened(inv_std), want_unbiased = widened(inv_std);
    reference_->batch_norm_inv_std({}, widened(m2), count, 1e-5, want, View(want_unbiased));
    expect_close("inv_std", inv_std, want, want, 0);
    if (count > 1) expect_close("unbiased", to_host(unbiased), want_unbiased, want_unbiased, 0);
  }
}

TEST_F(CudaBatchNorm, ScaleAndBiasForFusedConvolutions) {
  for (const DType dtype : kActivationTypes) {
    const NormInputs in({1, 37, 1, 1}, dtype), device = in.device(Place::kAligned);
    Tensor scale = empty_on_gpu({37}, dtype), bias = empty_on_gpu({37}, dtype);
    cuda::norm_scale_bias(stream_, device.norm(), scale, bias);
    const Tensor got = to_host(scale), got_bias = to_host(bias);
    Tensor want = widened(got), want_bias = widened(got), size = widened(got);
    for (std::size_t c = 0; c < 37; ++c) {
      const double s = value_of(got, c), product = in.at(in.mean, c) * s;
      want.host<double>()[c] = in.at(in.gamma, c) * in.at(in.inv_std, c);
      want_bias.host<double>()[c] = in.at(in.beta, c) - product;
      size.host<double>()[c] = std::fabs(product) + std::fabs(in.at(in.beta, c));
    }
    expect_close("scale", got, want, magnitudes(want), 1);
    expect_close("bias", got_bias, want_bias, size, 1);
  }
}

TEST_F(CudaBatchNorm, MomentsFromAConvolutionsSums) {
  const Tensor sum = random_host({37}, 1, DType::kF32, -50, 50), squares = random_host({37}, 2, DType::kF32, 0, 40);
  Tensor mean = empty_on_gpu({37}, DType::kF32), m2 = empty_on_gpu({37}, DType::kF32);
  cuda::moments_from_sums(stream_, on_gpu(sum), on_gpu(squares), 100, mean, m2);
  const Tensor got_mean = to_host(mean), got_m2 = to_host(m2);
  int clamped = 0;
  for (std::size_t c = 0; c < 37; ++c) {
    const double s = value_of(sum, c), difference = value_of(squares, c) - s * s / 100;
    EXPECT_EQ(value_of(got_mean, c), static_cast<float>(s / 100));
    EXPECT_EQ(value_of(got_m2, c), static_cast<float>(std::max(0.0, difference)));
    clamped += difference < 0;
  }
  EXPECT_GT(clamped, 0) << "the sample shows nothing of the clamp";
}

void check_apply(const NormInputs& in, const Tensor& y, const Tensor& mask, const Tensor& want, bool relu, bool with_residual) {
  const Shape& shape = y.shape();
  Tensor size = widened(y);
  for (std::size_t i = 0; i < size_of(y); ++i) {
    size.host<double>()[i] = std::fabs(in.centred(i) * in.at(in.inv_std, i) * in.at(in.gamma, i)) + std::fabs(in.at(in.beta, i)) +
                             (with_residual ? std::fabs(value_of(in.residual, i)) : 0);
    const bool bit = (mask.host<std::uint8_t>()[i / 8] >> (i % 8)) & 1;
    ASSERT_TRUE(!relu || bit == (value_of(y, i) > 0)) << shape.str() << i;
  }
  expect_close("apply " + shape.str(), y, want, size, 5);
}

TEST_F(CudaBatchNorm, ApplyWithResidualReluAndMask) {
  for (const Shape& shape : norm_shapes())
    for (const DType dtype : kActivationTypes)
      for (const Place place : kPlaces)
        for (const bool relu : {false, true})
          for (const bool with_residual : {false, true}) {
            const NormInputs in(shape, dtype), device = in.device(place), wide = in.widened();
            const auto residual = [&](const NormInputs& of) { return with_residual ? ConstView(of.residual) : ConstView{}; };
            Tensor mask = on_gpu(in.mask);
            const Tensor y = run_twice(
                filled(shape, 9, dtype),
                [&](Tensor& out) {
                  cuda::batch_norm_apply(stream_, device.x, device.norm(), residual(device), relu, out, relu ? View(mask) : View{});
                },
                place);
            Tensor want = widened(y);
            reference_->batch_norm_apply({}, wide.x, wide.norm(), residual(wide), relu, want, {});
            check_apply(in, y, to_host(mask), want, relu, with_residual);
          }
}

TEST_F(CudaBatchNorm, ApplyInPlaceAndOnTheResidualGiveTheSameBits) {
  for (const Shape& shape : norm_shapes())
    for (const DType dtype : kActivationTypes) {
      const NormInputs in(shape, dtype), device = in.device(Place::kAligned);
      Tensor apart = on_gpu(filled(shape, 9, dtype)), over_x = on_gpu(in.x), over_residual = on_gpu(in.residual);
      const auto apply = [&](const Tensor& x, const Tensor& residual, Tensor& y) {
        cuda::batch_norm_apply(stream_, x, device.norm(), residual, true, y, {});
      };
      apply(device.x, device.residual, apart);
      apply(over_x, device.residual, over_x);
      apply(device.x, over_residual, over_residual);
      EXPECT_TRUE(same_bits(to_host(apart), to_host(over_x)) && same_bits(to_host(apart), to_host(over_residual))) << shape.str();
    }
}

// Units of 8 channels and single elements are different code for the same numbers.
TEST_F(CudaBatchNorm, ApplyGivesTheSameBitsAtAnyAddress) {
  for (const DType dtype : kActivationTypes) {
    const NormInputs in({3, 24, 7, 7}, dtype);
    Tensor results[2], masks[2];
    for (const Place place : kPlaces) {
      const NormInputs device = in.device(place);
      Tensor y = on_gpu_at(in.x, place), mask = on_gpu(in.mask);
      cuda::batch_norm_apply(stream_, device.x, device.norm(), device.residual, true, y, mask);
      results[place == Place::kShifted] = to_host(y);
      masks[place == Place::kShifted] = to_host(mask);
    }
    EXPECT_TRUE(same_bits(results[0], results[1]) && same_bits(masks[0], masks[1]));
  }
}

TEST_F(CudaBatchNorm, ReluKeepsNaNAndInfinity) {
  for (const DType dtype : kActivationTypes)
    for (const Place place : kPlaces) {
      const Shape shape{1, 16, 3, 3};
      NormInputs in(shape, dtype);
      in.gamma = filled({16}, 0.5);
      set_value(in.x, 20, NAN);
      set_value(in.x, 21, INFINITY);
      set_value(in.x, 22, -INFINITY);
      const NormInputs device = in.device(place);
      Tensor y = on_gpu_at(filled(shape, 0, dtype), place), mask = on_gpu(in.mask);
      cuda::batch_norm_apply(stream_, device.x, device.norm(), {}, true, y, mask);
      const Tensor got = to_host(y);
      EXPECT_TRUE(std::isnan(value_of(got, 20)));
      EXPECT_EQ(value_of(got, 21), INFINITY);
      EXPECT_EQ(value_of(got, 22), 0);
      EXPECT_FALSE(std::signbit(value_of(got, 22)));
      EXPECT_EQ((to_host(mask).host<std::uint8_t>()[2] >> 4) & 7, 2);
    }
}

// Zero, values that are stored as zero, and the smallest that are not: the mask and the recomputed gate agree.
TEST_F(CudaBatchNorm, GateIsClosedWhereTheStoredOutputIsZero) {
  const float next = std::numeric_limits<float>::infinity();
  for (const DType dtype : kActivationTypes)
    for (const Place place : kPlaces) {
      const float zero_at = dtype == DType::kF16 ? 0x1p-25f : dtype == DType::kBF16 ? 0x1p-134f : 0.0f;  // rounds to 0 just so
      NormInputs in({1, 24, 1, 1}, dtype);
      in.x = filled({1, 24, 1, 1}, 0, dtype);
      in.dy = filled({1, 24, 1, 1}, 1, dtype);
      in.mean = in.beta = filled({24}, 0);
      in.inv_std = in.gamma = filled({24}, 1);
      in.beta = filled({24}, 0);
      set_value(in.beta, 17, static_cast<double>(zero_at));
      set_value(in.beta, 18, static_cast<double>(std::nextafter(zero_at, next)));
      set_value(in.beta, 19, -1);
      set_value(in.beta, 20, NAN);
      const NormInputs device = in.device(place);
      Tensor y = on_gpu_at(in.x, place), mask = on_gpu(in.mask), sum = on_gpu(filled({24}, 7)), unused = on_gpu(filled({24}, 7));
      cuda::batch_norm_apply(stream_, device.x, device.norm(), {}, true, y, mask);
      cuda::batch_norm_backward_sums(stream_, device.dy, ReluGate::recompute(), device.x, device.norm(), sum, unused);
      Tensor gradient = on_gpu_at(in.x, place);
      cuda::batch_norm_backward_apply(stream_, device.dy, ReluGate::recompute(), device.x, device.norm(), sum, unused, INFINITY, gradient,
                                      GradMode::kOverwrite, {}, GradMode::kSkip);
      const Tensor bits = to_host(mask), sums = to_host(sum), dx = to_host(gradient);
      for (std::size_t c = 0; c < 24; ++c) {
        EXPECT_EQ((bits.host<std::uint8_t>()[c / 8] >> (c % 8)) & 1, c == 18) << c << " " << dtype_name(dtype);
        EXPECT_EQ(value_of(sums, c), c == 18) << c << " " << dtype_name(dtype);
        EXPECT_EQ(value_of(dx, c), c == 18) << c << " " << dtype_name(dtype);
      }
    }
}

}  // namespace
}  // namespace lockstep
