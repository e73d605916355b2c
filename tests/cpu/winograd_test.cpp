// Winograd convolutions on every instruction set against the f64 reference, within the bound of the algorithm itself.
//
// Note on the bound. Written out, an output is a sum of terms coefficient * g * d, the coefficients products of entries of A, G
// and B. Each term passes at most 4 roundings in either stage of the input's transform (3 in the gradient's), 4 in either of the
// filter's (one for the constant itself), 1 for the product, one for each addition over the channels (in the filter's gradient,
// over the tiles), 4 in either stage of the output's transform (5 in the filter gradient's), 2 for the bias and the accumulation.
// So the error is at most error_bound(roundings, magnitude), element by element, with
// magnitude = |A^T| (sum (|G| |g| |G^T|) . (|B^T| |d| |B|)) |A|.
// SPDX-License-Identifier: Apache-2.0
#include "cpu/fast/winograd.h"

#include <array>

#include "cpu/fast/dnnl_adapter.h"
#include "ops/conv2d.h"
#include "tests/cpu/fast_test_util.h"
#include "tests/cpu/winograd_cases.h"

namespace lockstep {
namespace {

constexpr std::int64_t kRoundings = 2 * (4 + 4 + 5) + 1 + 2;

template <std::size_t kRows, std::size_t kColumns>
using Matrix = std::array<std::array<double, kColumns>, kRows>;

// |B^T|, |G| and |A| of Winograd F(4, 3) (Toom-Cook) at the points 0, +-a, +-b and infinity: B's rows are the products of
// (x - q) over the other points, A and G's are powers of the point, G's divided by the product of the differences.
struct Transforms {
  Transforms(double a, double b) {
    const double points[] = {0, a, -a, b, -b};
    for (std::size_t p = 0; p < 6; ++p) {
      const bool finite = p < 5;
      double divisor = 1;
      std::vector<double> polynomial{1};
      for (std::size_t q = 0; q < 5; ++q) {
        if (q == p) continue;
        if (finite) divisor *= points[p] - points[q];
        polynomial.push_back(0);
        for (std::size_t i = polynomial.size(); i-- > 1;) polynomial[i] = polynomial[i - 1] - points[q] * polynomial[i];
        polynomial[0] *= -points[q];
      }
      for (std::size_t i = 0; i < polynomial.size(); ++i) input[p][i] = std::fabs(polynomial[i]);
      for (std::size_t i = 0; i < 4; ++i) output[p][i] = finite ? std::fabs(std::pow(points[p], i)) : i == 3;
      for (std::size_t i = 0; i < 3; ++i) filter[p][i] = finite ? std::fabs(std::pow(points[p], i) / divisor) : i == 2;
    }
  }

  // How much larger an independent relative error of the products is in the outputs, root mean square, for random x and w: in
  // one dimension sum over points of |B_p|^2 |G_p|^2 (mean over the outputs of A_p^2) / 3, squared for two and rooted. A direct
  // sum has 1; the filter's gradient has the same.
  double amplification() const {
    double sum = 0;
    for (std::size_t p = 0; p < 6; ++p) {
      double in = 0, weights = 0, out = 0;
      for (const double value : input[p]) in += value * value;
      for (const double value : filter[p]) weights += value * value;
      for (const double value : output[p]) out += value * value / 4;
      sum += in * weights * out / 3;
    }
    return sum;
  }

  Matrix<6, 6> input{};
  Matrix<6, 3> filter{};
  Matrix<6, 4> output{};
};
const Transforms kOurs(0.625, 1.5);

// L |x| L^T, row by row, and L^T x L.
template <std::size_t kRows, std::size_t kColumns>
Matrix<kRows, kRows> spread(const Matrix<kRows, kColumns>& left, const Matrix<kColumns, kColumns>& x) {
  Matrix<kRows, kRows> result{};
  for (std::size_t i = 0; i < kRows; ++i)
    for (std::size_t j = 0; j < kRows; ++j)
      for (std::size_t a = 0; a < kColumns; ++a)
        for (std::size_t b = 0; b < kColumns; ++b) result[i][j] += left[i][a] * x[a][b] * left[j][b];
  return result;
}
template <std::size_t kRows, std::size_t kColumns>
Matrix<kColumns, kColumns> gather(const Matrix<kRows, kColumns>& left, const Matrix<kRows, kRows>& x) {
  Matrix<kColumns, kColumns> result{};
  for (std::size_t i = 0; i < kColumns; ++i)
    for (std::size_t j = 0; j < kColumns; ++j)
      for (std::size_t a = 0; a < kRows; ++a)
        for (std::size_t b = 0; b < kRows; ++b) result[i][j] += left[a][i] * x[a][b] * left[b][j];
  return result;
}

void add_product(Matrix<6, 6>& sum, const Matrix<6, 6>& a, const Matrix<6, 6>& b) {
  for (std::size_t i = 0; i < 36; ++i) sum[i / 6][i % 6] += a[i / 6][i % 6] * b[i / 6][i % 6];
}

template <std::size_t kSize>
Matrix<kSize, kSize> window(const Tensor& x, std::int64_t n, std::int64_t c, std::int64_t top, std::int64_t left) {
  const Shape& s = x.shape();
  Matrix<kSize, kSize> d{};
  for (std::int64_t i = 0; i < std::int64_t{kSize}; ++i)
    for (std::int64_t j = 0; j < std::int64_t{kSize}; ++j)
      if (top + i >= 0 && top + i < s[2] && left + j >= 0 && left + j < s[3])
        d[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)] =
            std::fabs(x.host<float>()[static_cast<std::size_t>(((n * s[2] + top + i) * s[3] + left + j) * s[1] + c)]);
  return d;
}

// The magnitude of y (or, with the filters turned, of dx): |A^T| (sum over c of (|G||g||G^T|) . (|B^T||d||B|)) |A|.
Tensor output_magnitude(const Tensor& x, const Tensor& w, Pair pad, const Shape& y_shape) {
  const std::int64_t channels = x.shape()[1], filters = w.shape()[0];
  std::vector<Matrix<6, 6>> u(static_cast<std::size_t>(filters * channels));
  for (std::int64_t k = 0; k < filters; ++k)
    for (std::int64_t c = 0; c < channels; ++c)
      u[static_cast<std::size_t>(k * channels + c)] = spread(kOurs.filter, window<3>(w, k, c, 0, 0));
  Tensor result = Tensor::zeros(y_shape, DType::kF64);
  std::vector<Matrix<6, 6>> v(static_cast<std::size_t>(channels));
  for (std::int64_t n = 0; n < y_shape[0]; ++n)
    for (std::int64_t top = 0; top < y_shape[2]; top += 4)
      for (std::int64_t left = 0; left < y_shape[3]; left += 4) {
        for (std::int64_t c = 0; c < channels; ++c)
          v[static_cast<std::size_t>(c)] = spread(kOurs.input, window<6>(x, n, c, top - pad.h, left - pad.w));
        for (std::int64_t k = 0; k < filters; ++k) {
          Matrix<6, 6> m{};
          for (std::size_t c = 0; c < v.size(); ++c) add_product(m, u[static_cast<std::size_t>(k) * v.size() + c], v[c]);
          const auto out = gather(kOurs.output, m);
          for (std::int64_t i = top; i < std::min(top + 4, y_shape[2]); ++i)
            for (std::int64_t j = left; j < std::min(left + 4, y_shape[3]); ++j)
              result.host<double>()[static_cast<std::size_t>(((n * y_shape[2] + i) * y_shape[3] + j) * filters + k)] =
                  out[static_cast<std::size_t>(i - top)][static_cast<std::size_t>(j - left)];
        }
      }
  return result;
}

// |G^T| (sum over tiles of (|A||dy||A^T|) . (|B^T||d||B|)) |G|.
Tensor filter_magnitude(const Tensor& x, const Tensor& dy, Pair pad, const Shape& w_shape) {
  const std::int64_t channels = x.shape()[1], filters = w_shape[0];
  std::vector<Matrix<6, 6>> sums(static_cast<std::size_t>(filters * channels)), v(static_cast<std::size_t>(channels));
  for (std::int64_t n = 0; n < x.shape()[0]; ++n)
    for (std::int64_t top = 0; top < dy.shape()[2]; top += 4)
      for (std::int64_t left = 0; left < dy.shape()[3]; left += 4) {
        for (std::int64_t c = 0; c < channels; ++c)
          v[static_cast<std::size_t>(c)] = spread(kOurs.input, window<6>(x, n, c, top - pad.h, left - pad.w));
        for (std::int64_t k = 0; k < filters; ++k) {
          const auto m = spread(kOurs.output, window<4>(dy, n, k, top, left));
          for (std::size_t c = 0; c < v.size(); ++c) add_product(sums[static_cast<std::size_t>(k) * v.size() + c], m, v[c]);
        }
      }
  Tensor result = Tensor::zeros(w_shape, DType::kF64);
  for (std::int64_t k = 0; k < filters; ++k)
    for (std::int64_t c = 0; c < channels; ++c) {
      const auto g = gather(kOurs.filter, sums[static_cast<std::size_t>(k * channels + c)]);
      for (std::size_t tap = 0; tap < 9; ++tap)
        result.host<double>()[static_cast<std::size_t>(((k * 9) + static_cast<std::int64_t>(tap)) * channels + c)] = g[tap / 3][tap % 3];
    }
  return result;
}

// Filters turned by 180 degrees with their channels swapped.
Tensor turned(const Tensor& w) {
  const std::int64_t filters = w.shape()[0], channels = w.shape()[1];
  Tensor result = Tensor::empty({channels, filters, 3, 3}, DType::kF32);
  for (std::int64_t k = 0; k < filters; ++k)
    for (std::int64_t tap = 0; tap < 9; ++tap)
      for (std::int64_t c = 0; c < channels; ++c)
        result.host<float>()[static_cast<std::size_t>((c * 9 + 8 - tap) * filters + k)] =
            w.host<float>()[static_cast<std::size_t>((k * 9 + tap) * channels + c)];
  return result;
}

void add_to(Tensor& sum, const Tensor& other) {
  for (std::size_t i = 0; i < sum.host<double>().size(); ++i) sum.host<double>()[i] += other.host<double>()[i];
}

std::int64_t tiles(const Shape& y) { return y[0] * ((y[2] + 3) / 4) * ((y[3] + 3) / 4); }

class WinogradEachSimd : public ::testing::TestWithParam<std::string_view> {
 protected:
  WinogradEachSimd() : setting_(GetParam()), simd_(select_simd_kernels()), fast_(make_fast_kernels(1)) {}

  // The result of one thread; two and three must give the same bits, and a second call must take nothing from the system.
  Tensor run(const Tensor& start, const std::function<void(const Winograd&, float*)>& call) {
    Tensor first = start.clone(), again = start.clone();
    call(Winograd(simd_, 1), data(first));
    const auto allocations = cpu_pool().stats().system_allocations;
    call(Winograd(simd_, 1), data(again));
    EXPECT_EQ(cpu_pool().stats().system_allocations, allocations) << "a warm call took memory from the system";
    EXPECT_TRUE(same_bits(first, again)) << "two calls differ";
    for (const int threads : {2, 3}) {
      if (kManyThreads == 1) break;
      Tensor other = start.clone();
      call(Winograd(simd_, threads), data(other));
      EXPECT_TRUE(same_bits(first, other)) << threads << " threads differ from one";
    }
    return first;
  }

  SimdSetting setting_;
  const simd::SimdKernels& simd_;
  std::unique_ptr<Kernels> fast_, reference_ = make_reference_kernels();
};
INSTANTIATE_TEST_SUITE_P(EachSimd, WinogradEachSimd, ::testing::ValuesIn(available_simd().begin(), available_simd().end()), simd_name);

TEST_P(WinogradEachSimd, ForwardWithAndWithoutBias) {
  for (const WinogradCase& a : winograd_cases()) {
    const Tensor x = random_tensor(a.x, 1), w = random_tensor(a.w, 2), bias = random_tensor({a.w[0]}, 3);
    const Tensor magnitude = output_magnitude(x, w, a.pad, a.y());
    for (const bool biased : {false, true}) {
      const Tensor y = run(filled(a.y(), 7), [&](const Winograd& winograd, float* to) {
        winograd.forward(a.problem(ConvPass::kForward), data(x), {}, data(w), biased ? data(bias) : nullptr, to);
      });
      Tensor want = Tensor::zeros(a.y(), DType::kF64), size = magnitude.clone();
      reference_->conv2d_forward(kStream, widened(x), widened(w), biased ? ConstView(widened(bias)) : ConstView{}, a.params(), want);
      if (biased) add_to(size, map_f64(filled(a.y(), 1), [](double one) { return one; }));  // |bias| <= 1
      expect_close("forward " + a.name(), y, want, size, a.x[1] + kRoundings);
    }
  }
}

TEST_P(WinogradEachSimd, BackwardDataOverwritesAndAccumulates) {
  for (const WinogradCase& a : winograd_cases()) {
    const Tensor dy = random_tensor(a.y(), 1), w = random_tensor(a.w, 2), start = random_tensor(a.x, 3);
    const Tensor magnitude = output_magnitude(dy, turned(w), {2 - a.pad.h, 2 - a.pad.w}, a.x);
    for (const GradMode mode : {GradMode::kOverwrite, GradMode::kAccumulate}) {
      const Tensor dx = run(start, [&](const Winograd& winograd, float* to) {
        winograd.backward_data(a.problem(ConvPass::kBackwardData), data(dy), data(w), to, mode == GradMode::kAccumulate);
      });
      Tensor want = widened(start), size = magnitude.clone();
      reference_->conv2d_backward_data(kStream, widened(dy), widened(w), a.params(), want, mode);
      if (mode == GradMode::kAccumulate) add_to(size, magnitudes(start));
      expect_close("data " + a.name(), dx, want, size, a.w[0] + kRoundings);
    }
  }
}

TEST_P(WinogradEachSimd, BackwardFilterOverwritesAndAccumulates) {
  for (const WinogradCase& a : winograd_cases()) {
    const Tensor x = random_tensor(a.x, 1), dy = random_tensor(a.y(), 2), start = random_tensor(a.w, 3);
    const Tensor magnitude = filter_magnitude(x, dy, a.pad, a.w);
    for (const GradMode mode : {GradMode::kOverwrite, GradMode::kAccumulate}) {
      const Tensor dw = run(start, [&](const Winograd& winograd, float* to) {
        winograd.backward_filter(a.problem(ConvPass::kBackwardFilter), data(x), {}, data(dy), to, mode == GradMode::kAccumulate);
      });
      Tensor want = widened(start), size = magnitude.clone();
      reference_->conv2d_backward_filter(kStream, widened(x), widened(dy), a.params(), want, mode);
      if (mode == GradMode::kAccumulate) add_to(size, magnitudes(start));
      expect_close("filter " + a.name(), dw, want, size, tiles(a.y()) + kRoundings);
    }
  }
}

// Normalising while reading gives the bits of normalising first; the padding stays zero although relu(norm(0)) is not.
TEST_P(WinogradEachSimd, NormWhileReadingIsNormBeforehand) {
  for (const WinogradCase& a : winograd_cases()) {
    const Tensor x = random_tensor(a.x, 1), w = random_tensor(a.w, 2), dy = random_tensor(a.y(), 3);
    const Shape c{a.x[1]};
    const Tensor mean = random_tensor(c, 4), inv_std = random_tensor(c, 5, 0.5f, 2), gamma = random_tensor(c, 6);
    const Tensor beta = random_tensor(c, 7, 0.1f, 1);
    const ConvNorm norm{data(mean), data(inv_std), data(gamma), data(beta)};
    Tensor normalised = Tensor::empty(a.x, DType::kF32);
    fast_->batch_norm_apply(kStream, x, {mean, inv_std, gamma, beta}, {}, true, normalised, {});
    const auto forward = [&](const Tensor& from, const ConvNorm& with) {
      return run(filled(a.y(), 7), [&](const Winograd& winograd, float* to) {
        winograd.forward(a.problem(ConvPass::kForward), data(from), with, data(w), nullptr, to);
      });
    };
    const auto filter = [&](const Tensor& from, const ConvNorm& with) {
      return run(filled(a.w, 7), [&](const Winograd& winograd, float* to) {
        winograd.backward_filter(a.problem(ConvPass::kBackwardFilter), data(from), with, data(dy), to, true);
      });
    };
    EXPECT_TRUE(same_bits(forward(normalised, {}), forward(x, norm))) << a.name();
    EXPECT_TRUE(same_bits(filter(normalised, {}), filter(x, norm))) << a.name();
  }
}

double relative_error(const Tensor& got, const Tensor& want) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < want.host<double>().size(); ++i) {
    difference += std::pow(got.host<float>()[i] - want.host<double>()[i], 2);
    size += std::pow(want.host<double>()[i], 2);
  }
  return std::sqrt(difference / size);
}

TEST_P(WinogradEachSimd, RelativeErrorIsOfTheSizeOfF32Rounding) {
  const WinogradCase a{{2, 64, 28, 28}, {64, 64, 3, 3}, {1, 1}};
  const Tensor x = random_tensor(a.x, 1), w = random_tensor(a.w, 2), dy = random_tensor(a.y(), 3);
  Tensor y = filled(a.y(), 0), dw = filled(a.w, 0), want_y = widened(y), want_dw = widened(dw);
  const Winograd winograd(simd_, 1);
  winograd.forward(a.problem(ConvPass::kForward), data(x), {}, data(w), nullptr, data(y));
  winograd.backward_filter(a.problem(ConvPass::kBackwardFilter), data(x), {}, data(dy), data(dw), false);
  reference_->conv2d_forward(kStream, widened(x), widened(w), {}, a.params(), want_y);
  reference_->conv2d_backward_filter(kStream, widened(x), widened(dy), a.params(), want_dw, GradMode::kOverwrite);
  RecordProperty("relative_error_forward", std::to_string(relative_error(y, want_y) * 1e6) + "e-6");
  RecordProperty("relative_error_filter", std::to_string(relative_error(dw, want_dw) * 1e6) + "e-6");
  const auto allowed = [](std::int64_t length) {
    return kOurs.amplification() * std::sqrt(static_cast<double>(length + kRoundings)) * dtype_epsilon(DType::kF32);
  };
  EXPECT_LT(relative_error(y, want_y), allowed(a.x[1]));
  EXPECT_LT(relative_error(dw, want_dw), allowed(tiles(a.y())));
  Tensor rounded = x.clone();  // negative control: x to 16 bits of mantissa
  for (float& value : rounded.host<float>()) value = (value + 128.0f) - 128.0f;
  winograd.forward(a.problem(ConvPass::kForward), data(rounded), {}, data(w), nullptr, data(y));
  EXPECT_GT(relative_error(y, want_y), allowed(a.x[1]));
}

// Negative control: the bound notices one weight of 153 that is wrong in its second digit.
TEST_P(WinogradEachSimd, TheBoundNoticesAWrongWeight) {
  const WinogradCase a{{1, 17, 9, 9}, {5, 17, 3, 3}, {1, 1}};
  const Tensor x = random_tensor(a.x, 1), w = random_tensor(a.w, 2);
  Tensor wrong = w.clone(), y = filled(a.y(), 0), want = widened(y);
  wrong.host<float>()[40] += 0.02f;
  Winograd(simd_, 1).forward(a.problem(ConvPass::kForward), data(x), {}, data(wrong), nullptr, data(y));
  reference_->conv2d_forward(kStream, widened(x), widened(w), {}, a.params(), want);
  const Tensor magnitude = output_magnitude(x, w, a.pad, a.y());
  std::size_t outside = 0;
  for (std::size_t i = 0; i < want.host<double>().size(); ++i) {
    const double bound = error_bound(DType::kF32, a.x[1] + kRoundings, magnitude.host<double>()[i]);
    outside += within(y.host<float>()[i], want.host<double>()[i], bound) ? 0 : 1;
  }
  EXPECT_GT(outside, 0u);
}

TEST(WinogradTransforms, OurPointsHalveTheErrorOfTheUsualOnes) {
  EXPECT_NEAR(Transforms(1, 2).amplification(), 10.77, 0.005);
  EXPECT_NEAR(kOurs.amplification(), 4.78, 0.005);
}

TEST(WinogradRule, TakesOnlyWhatItCanAndWhatPays) {
  const ConvProblem layer{.n = 16, .c = 64, .h = 56, .w = 56, .k = 64, .r = 3, .s = 3, .p = 56, .q = 56, .pad_h = 1, .pad_w = 1};
  EXPECT_TRUE(Winograd::wins(layer, Bf16Products::kVectors));
  const auto changed = [&](auto change) {
    ConvProblem other = layer;
    change(other);
    return other;
  };
  for (const ConvProblem& other :
       {changed([](ConvProblem& a) { a.stride_h = 2; }), changed([](ConvProblem& a) { a.dilation_w = 2; }),
        changed([](ConvProblem& a) { a.groups = 2; }), changed([](ConvProblem& a) { a.r = 5; }),
        changed([](ConvProblem& a) { a.pad_w = 3; }), changed([](ConvProblem& a) { a.dtype = DType::kF64; })}) {
    EXPECT_FALSE(Winograd::can_run(other));
    EXPECT_FALSE(Winograd::wins(other, Bf16Products::kTiles));
  }
  const ConvProblem words = changed([](ConvProblem& a) { a.dtype = DType::kBF16; });
  EXPECT_FALSE(Winograd::wins(words, Bf16Products::kTiles));  // direct sums on AMX are faster
  EXPECT_TRUE(Winograd::wins(words, Bf16Products::kVectors));
  EXPECT_TRUE(Winograd::wins(words, Bf16Products::kConverted));
  EXPECT_FALSE(Winograd::wins(changed([](ConvProblem& a) { a.c = 3; }), Bf16Products::kTiles));                            // a stem
  EXPECT_FALSE(Winograd::wins(changed([](ConvProblem& a) { a.n = 1, a.h = a.w = a.p = a.q = 7; }), Bf16Products::kTiles));  // four tiles
}

// The backend: Winograd where it wins, unless it is forbidden. Its bits tell which one ran.
TEST(WinogradRule, TheBackendObeysTheOption) {
  const WinogradCase a{{8, 32, 12, 12}, {32, 32, 3, 3}, {1, 1}};
  const Tensor x = random_tensor(a.x, 1), w = random_tensor(a.w, 2);
  ASSERT_TRUE(Winograd::wins(a.problem(ConvPass::kForward), bf16_products()));
  Tensor winograd = filled(a.y(), 0), direct = filled(a.y(), 0), got = filled(a.y(), 0);
  Winograd(select_simd_kernels(), 1).forward(a.problem(ConvPass::kForward), data(x), {}, data(w), nullptr, data(winograd));
  DnnlAdapter(1).convolution(a.problem(ConvPass::kForward), data(x), data(w), nullptr, data(direct));
  ASSERT_FALSE(same_bits(winograd, direct));
  make_fast_kernels(1)->conv2d_forward(kStream, x, w, {}, a.params(), got);
  EXPECT_TRUE(same_bits(got, winograd));
  make_fast_kernels({.winograd = false})->conv2d_forward(kStream, x, w, {}, a.params(), got);
  EXPECT_TRUE(same_bits(got, direct));
  const Tensor one = filled({32}, 1), zero = filled({32}, 0);  // x > 0: relu(norm(x)) is x
  const Tensor positive = random_tensor(a.x, 3, 0.5f, 1);
  Winograd(select_simd_kernels(), 1).forward(a.problem(ConvPass::kForward), data(positive), {}, data(w), nullptr, data(winograd));
  make_fast_kernels(1)->norm_conv2d_forward(kStream, positive, {zero, one, one, zero}, w, a.params(), got);
  EXPECT_TRUE(same_bits(got, winograd));
}

}  // namespace
}  // namespace lockstep
