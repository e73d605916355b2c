// The CUDA backend's convolutions with batch norm around them against the f64 reference, by fused patterns (f16) and by separate kernels.
// SPDX-License-Identifier: Apache-2.0
#include <tuple>

#include "tests/cuda/convolution_test_util.h"

namespace lockstep {
namespace {

using namespace convolution_tests;

// With channels in eights a GPU has fused patterns, for the others not.
std::vector<ConvCase> norm_cases() {
  return {{{2, 16, 5, 5}, {24, 16, 1, 1}},
          {{2, 16, 7, 5}, {8, 16, 3, 3}, {.pad = {1, 1}}},
          {{2, 8, 7, 9}, {16, 8, 3, 3}, {.stride = {2, 2}, .pad = {1, 1}}},
          {{1, 40, 5, 5}, {16, 40, 1, 1}, {.stride = {2, 2}}},
          {{1, 8, 1, 1}, {8, 8, 1, 1}},
          {{2, 3, 5, 5}, {8, 3, 3, 3}, {.pad = {1, 1}}},
          {{2, 17, 5, 5}, {19, 17, 3, 3}, {.pad = {1, 1}}},
          {{2, 16, 5, 5}, {16, 8, 3, 3}, {.pad = {1, 1}, .groups = 2}}};
}

class CudaNormConvolution : public ::testing::TestWithParam<std::tuple<DType, bool>> {
 protected:
  DType dtype() const { return std::get<0>(GetParam()); }
  bool fuse() const { return std::get<1>(GetParam()); }
  Tensor random(const Shape& shape, std::uint64_t id) const { return random_host(shape, id, dtype()); }

  std::unique_ptr<Kernels> cuda_ = make_cuda_kernels({.tf32 = false, .fuse = fuse()});
};
INSTANTIATE_TEST_SUITE_P(EachTypeAndForm, CudaNormConvolution, ::testing::Combine(::testing::ValuesIn(kActivationTypes), ::testing::Bool()),
                         [](const auto& which) {
                           return std::string(dtype_name(std::get<0>(which.param))) + (std::get<1>(which.param) ? "Fused" : "Separate");
                         });

// What y = conv(relu(norm(x)), w) may differ by: z's rounding through |w|, then its own.
struct NormForward {
  Tensor want, bound;
  NormForward(const ConvCase& c, const Norm& norm, const Tensor& x, const Tensor& w) {
    const Tensor z = norm.relu(x);
    want = forward_f64(c, z, widened(w));
    const Tensor sums = sum_bound(forward_f64(c, z, magnitudes(w)), forward_length(c));
    bound = stored_bound(sum_of(forward_f64(c, norm.relu_bound(x, x.dtype()), magnitudes(w)), sums), want, x.dtype());
  }
};

// The moments of values that are known within `bound`, summed in f32, as mean and m2 = square_sum - sum^2 / count.
struct Moments {
  Tensor mean, m2, mean_bound, m2_bound;
  Moments(const Tensor& y, const Tensor& bound) {
    const std::int64_t channels = y.shape()[1], count = y.numel() / channels;
    for (Tensor* each : {&mean, &m2, &mean_bound, &m2_bound}) *each = Tensor::zeros({channels}, DType::kF64);
    const double n = static_cast<double>(count);
    for (std::size_t c = 0; c < static_cast<std::size_t>(channels); ++c) {
      double sum = 0, size = 0, squares = 0, error = 0, square_error = 0;
      for (std::size_t i = c; i < size_of(y); i += static_cast<std::size_t>(channels)) {
        const double value = value_of(y, i), e = value_of(bound, i);
        sum += value;
        size += std::fabs(value) + e;
        squares += value * value;
        error += e;
        square_error += e * (2 * std::fabs(value) + e);
      }
      error += error_bound(DType::kF32, 2 * count, size, ErrorGrowth::kWorstCase);
      square_error += error_bound(DType::kF32, 2 * count, squares + square_error, ErrorGrowth::kWorstCase);
      mean.host<double>()[c] = sum / n;
      m2.host<double>()[c] = squares - sum * sum / n;
      mean_bound.host<double>()[c] = error / n + error_bound(DType::kF32, 0, size / n);
      m2_bound.host<double>()[c] = square_error + error * (2 * std::fabs(sum) + error) / n + error_bound(DType::kF32, 0, squares + square_error);
    }
  }
};

TEST_P(CudaNormConvolution, ForwardMatchesTheReference) {
  for (const ConvCase& c : norm_cases()) {
    const Tensor x = random(c.x, 1), w = random(c.w, 2), device_x = on_gpu(x), device_w = on_gpu(w);
    const Norm norm(c.x[1]);
    const Tensor y = run_twice(filled(conv2d_shape(c.x, c.w, c.params), 5, dtype()), [&](Tensor& out) {
      cuda_->norm_conv2d_forward(gpu_stream(), device_x, norm.device(), device_w, c.params, out);
    });
    const NormForward expected(c, norm, x, w);
    expect_within("norm forward " + name_of(c), y, expected.want, expected.bound);
  }
}

TEST_P(CudaNormConvolution, FilterGradientReadsTheNormalisedInput) {
  for (const ConvCase& c : norm_cases())
    for (const GradMode mode : kModes) {
      const Tensor x = random(c.x, 1), start = random_host(c.w, 2), dy = random(conv2d_shape(c.x, c.w, c.params), 3);
      const Tensor device_x = on_gpu(x), device_dy = on_gpu(dy);
      const Norm norm(c.x[1]);
      const Tensor dw = run_twice(start, [&](Tensor& out) {
        cuda_->norm_conv2d_backward_filter(gpu_stream(), device_x, norm.device(), device_dy, c.params, out, mode);
      });
      const Tensor z = norm.relu(x), product = filter_f64(c, z, widened(dy));
      const Tensor sums = sum_bound(filter_f64(c, z, magnitudes(dy)), filter_length(c));
      Tensor bound = stored_bound(sum_of(filter_f64(c, norm.relu_bound(x, dtype()), magnitudes(dy)), sums), product, dtype()), want = product;
      if (mode == GradMode::kAccumulate) {
        want = sum_of(product, start);
        bound = stored_bound(bound, want, DType::kF32);
      }
      expect_within("norm filter gradient " + name_of(c), dw, want, bound);
    }
}

// One element of a data gradient through a ReLU: open, closed (0, or left as it is), or so near that rounding decides.
enum class Gate { kOpen, kClosed, kEither };

struct NormData {
  const ConvCase& c;
  const Norm& norm;
  const Tensor &x, dx, bound;

  Gate gate(std::size_t i) const {
    const std::size_t channel = i % static_cast<std::size_t>(c.x[1]);
    const double value = norm.normalised(value_of(x, i), channel);
    const double size = std::fabs(norm.xhat(value_of(x, i), channel) * value_of(norm.gamma, channel)) + std::fabs(value_of(norm.beta, channel));
    // Whoever rounds norm(x) to the dtype before comparing with 0 sees 0 only below its smallest subnormal.
    const double near = error_bound(DType::kF32, 4, size, ErrorGrowth::kWorstCase) + error_bound(x.dtype(), 0, 0);
    return value > near ? Gate::kOpen : value < -near ? Gate::kClosed : Gate::kEither;
  }

  void check(const Tensor& dz) const {
    for (std::size_t i = 0; i < size_of(dz); ++i) {
      const double got = value_of(dz, i);
      const bool close = within(got, value_of(dx, i), value_of(bound, i));
      ASSERT_TRUE(close || (gate(i) != Gate::kOpen && got == 0))
          << name_of(c) << ": element " << i << ": got " << got << ", want " << value_of(dx, i);
    }
  }

  // sum over the open elements of dx * factor(i, channel)
  template <class Factor>
  void check_sums(const std::string& what, const Tensor& got, Factor factor) const {
    const auto channels = static_cast<std::size_t>(c.x[1]);
    for (std::size_t k = 0; k < channels; ++k) {
      double want = 0, size = 0, error = 0;
      for (std::size_t i = k; i < size_of(dx); i += channels) {
        if (gate(i) == Gate::kClosed) continue;
        const double f = factor(i, k), term = value_of(dx, i) * f;
        want += term;
        size += std::fabs(term);
        error += std::fabs(f) * value_of(bound, i) + (gate(i) == Gate::kEither ? std::fabs(term) : 0);
      }
      const auto count = static_cast<std::int64_t>(size_of(dx) / channels);
      error += error_bound(DType::kF32, 2 * count + 4, size + error, ErrorGrowth::kWorstCase);
      ASSERT_TRUE(within(value_of(got, k), want, error)) << what << " " << name_of(c) << ", channel " << k << ": got " << value_of(got, k)
                                                         << ", want " << want << ", bound " << error;
    }
  }
};

TEST_P(CudaNormConvolution, DataGradientGivesBatchNormsSums) {
  for (const ConvCase& c : norm_cases()) {
    const Tensor x = random(c.x, 1), w = random(c.w, 2), dy = random(conv2d_shape(c.x, c.w, c.params), 3);
    const Tensor device_x = on_gpu(x), device_w = on_gpu(w), device_dy = on_gpu(dy);
    const Norm norm(c.x[1]);
    Tensor sums = on_gpu(filled({2, c.x[1]}, 9));
    Tensor sum_g = sums.view({c.x[1]}, DType::kF32), sum_g_xhat = sums.view({c.x[1]}, DType::kF32, sums.nbytes() / 2);
    const Tensor dz = run_twice(filled(c.x, 5, dtype()), [&](Tensor& out) {
      cuda_->norm_conv2d_backward_data(gpu_stream(), device_dy, device_w, c.params, device_x, norm.device(), out, sum_g, sum_g_xhat);
    });
    const Tensor dx = data_f64(c, widened(dy), widened(w));
    const Tensor bound = stored_bound(sum_bound(data_f64(c, magnitudes(dy), magnitudes(w)), data_length(c)), dx, dtype());
    const NormData expected{c, norm, x, dx, bound};
    expected.check(dz);
    expected.check_sums("sum_g", to_host(sum_g), [](std::size_t, std::size_t) { return 1.0; });
    expected.check_sums("sum_g_xhat", to_host(sum_g_xhat), [&](std::size_t i, std::size_t k) { return norm.xhat(value_of(x, i), k); });
  }
}

TEST_P(CudaNormConvolution, MomentsAreThoseOfTheOutput) {
  for (const ConvCase& c : norm_cases())
    for (const bool normalised : {false, true}) {
      const Tensor x = random(c.x, 1), w = random(c.w, 2), device_x = on_gpu(x), device_w = on_gpu(w);
      const Norm norm(c.x[1]);
      Tensor mean = on_gpu(filled({c.w[0]}, 9)), m2 = on_gpu(filled({c.w[0]}, 9));
      const Tensor y = run_twice(filled(conv2d_shape(c.x, c.w, c.params), 5, dtype()), [&](Tensor& out) {
        if (normalised)
          cuda_->norm_conv2d_forward_moments(gpu_stream(), device_x, norm.device(), device_w, c.params, out, mean, m2);
        else
          cuda_->conv2d_forward_moments(gpu_stream(), device_x, device_w, c.params, out, mean, m2);
      });
      const Tensor want = normalised ? NormForward(c, norm, x, w).want : forward_f64(c, widened(x), widened(w));
      const Tensor plain = sum_bound(forward_f64(c, magnitudes(x), magnitudes(w)), forward_length(c));
      const Tensor bound = normalised ? NormForward(c, norm, x, w).bound : stored_bound(plain, want, dtype());
      const std::string what = (normalised ? "norm " : "") + std::string("moments ") + name_of(c);
      expect_within(what, y, want, bound);
      const Moments moments(want, bound);
      expect_within(what + ", mean", to_host(mean), moments.mean, moments.mean_bound);
      expect_within(what + ", m2", to_host(m2), moments.m2, moments.m2_bound);
    }
}

// Which patterns a layer's training step asks for.
TEST_P(CudaNormConvolution, OneFusedPatternServesEachPassWhereThereIsOne) {
  const ConvCase c{{2, 16, 7, 7}, {16, 16, 3, 3}, {.pad = {1, 1}}};
  const Tensor x = on_gpu(random(c.x, 1)), w = on_gpu(random(c.w, 2)), dy = on_gpu(random(c.x, 3));
  const Norm norm(16);
  Tensor y = empty_on_gpu(c.x, dtype()), dz = empty_on_gpu(c.x, dtype()), dw = empty_on_gpu(c.w, DType::kF32);
  Tensor mean = empty_on_gpu({16}, DType::kF32), m2 = empty_on_gpu({16}, DType::kF32);
  cuda_->norm_conv2d_forward_moments(gpu_stream(), x, norm.device(), w, c.params, y, mean, m2);
  cuda_->norm_conv2d_backward_data(gpu_stream(), dy, w, c.params, x, norm.device(), dz, mean, m2);
  cuda_->norm_conv2d_backward_filter(gpu_stream(), x, norm.device(), dy, c.params, dw, GradMode::kOverwrite);
  test_accelerator().synchronize(gpu_stream());
  std::vector<std::string> patterns;
  for (const auto& [problem, engine] : cuda_->choices()) patterns.push_back(problem.substr(0, problem.find(' ')));
  if (fuse() && dtype() == DType::kF16)
    EXPECT_EQ(patterns, (std::vector<std::string>{"norm_backward_data", "norm_backward_filter", "norm_forward_sums"}));
  else
    EXPECT_EQ(patterns, (std::vector<std::string>{"backward_data", "backward_filter", "forward"}));
}

// Only the fused patterns give moments for nothing: on a GPU that has them, f16, channels in eights, no 7x7 stem.
TEST_P(CudaNormConvolution, MomentsAreOfferedOnlyWhereTheyAreFused) {
  const auto gives = [&](const Shape& x, const Shape& w, const Conv2dParams& params, bool normalised) {
    return cuda_->gives_moments({nullptr, x, dtype(), gpu()}, {nullptr, w, dtype(), gpu()}, params, normalised);
  };
  const bool fused = fuse() && dtype() == DType::kF16;
  for (const bool normalised : {false, true}) {
    EXPECT_EQ(gives({2, 64, 8, 8}, {64, 64, 3, 3}, {.pad = {1, 1}}, normalised), fused);
    EXPECT_EQ(gives({2, 64, 8, 8}, {256, 64, 1, 1}, {.stride = {2, 2}}, normalised), fused);
    EXPECT_FALSE(gives({2, 3, 32, 32}, {64, 3, 7, 7}, {.stride = {2, 2}, .pad = {3, 3}}, normalised));
    EXPECT_FALSE(gives({2, 17, 8, 8}, {64, 17, 3, 3}, {.pad = {1, 1}}, normalised));
    EXPECT_FALSE(gives({2, 64, 8, 8}, {64, 32, 3, 3}, {.pad = {1, 1}, .groups = 2}, normalised));
  }
}

}  // namespace
}  // namespace lockstep
