// Activations, local response norm, shuffled and shifted channels, adaptive pooling of the fast backend, f32 and bf16, against the
// f64 reference.
// SPDX-License-Identifier: Apache-2.0
#include "ops/activation.h"
#include "tests/cpu/fast_test_util.h"

namespace lockstep {
namespace {

class FastChannels : public FastBackend {};
INSTANTIATE_TEST_SUITE_P(EachSimd, FastChannels, ::testing::ValuesIn(available_simd().begin(), available_simd().end()), simd_name);

constexpr GradMode kModes[] = {GradMode::kOverwrite, GradMode::kAccumulate};

// Limits that f32 and bf16 can't hold exactly too: 0.1 rounds up in both, 0.7 down in f32.
const Activation kFunctions[] = {{Activation::Kind::kLeakyRelu, 0.01}, {Activation::Kind::kTanh},
                                 {Activation::Kind::kSigmoid},         {Activation::Kind::kThreshold, 0.1, -3},
                                 {Activation::Kind::kClamp, 0, 6},     {Activation::Kind::kClamp, -0.1, 0.7}};

// As a backend of `dtype` sees it: its limits rounded, as the contract says.
Activation rounded(Activation function, DType dtype) {
  if (function.kind == Activation::Kind::kLeakyRelu) return function;
  Tensor narrow = filled({2}, static_cast<float>(function.a), dtype);
  set_value(narrow, 1, static_cast<float>(function.b));
  return {function.kind, value_of(narrow, 0), value_of(narrow, 1)};
}

// Below, at and above vector widths; values of all sizes, NaN, infinities, zeros of both signs and the limits themselves.
std::vector<Tensor> activation_inputs(const Activation& function, DType dtype) {
  std::vector<Tensor> inputs;
  for (const std::int64_t n : {1, 15, 37, 5000}) {
    Tensor x = random_tensor({n}, 1, -8, 8, dtype);
    const double specials[] = {NAN, INFINITY, -INFINITY, 0.0, -0.0, function.a, function.b, 1e-4, -1e-4, 200, -200};
    if (n > 20)
      for (std::size_t i = 0; i < std::size(specials); ++i) set_value(x, 3 + i, static_cast<float>(specials[i]));
    inputs.push_back(x);
  }
  return inputs;
}

// tanh and sigmoid: at most 20 roundings on the way, and where 1 - e^x is made of parts they are below 3 times the result. The
// others round once (a leaky ReLU twice: its slope as well).
std::int64_t roundings(const Activation& function) {
  return function.kind == Activation::Kind::kTanh || function.kind == Activation::Kind::kSigmoid ? 20 : 1;
}

TEST_P(FastChannels, Activations) {
  for (const DType dtype : kActivationTypes)
    for (const Activation& function : kFunctions)
      for (const Tensor& x : activation_inputs(function, dtype)) {
        const Tensor y = run(filled(x.shape(), 3, dtype), [&](Kernels& k, Tensor& out) { k.activation_forward(kStream, x, function, out); });
        Tensor want = widened(x), over = x.clone();
        reference_->activation_forward(kStream, widened(x), rounded(function, dtype), want);
        const Tensor size = map_f64(magnitudes(want), [](double v) { return 3 * v; });
        expect_close(std::string(activation_name(function.kind)), y, want, size, roundings(function));
        fast_->activation_forward(kStream, over, function, over);
        EXPECT_TRUE(same_bits(y, over));
      }
}

TEST_P(FastChannels, ActivationGradients) {
  for (const DType dtype : kActivationTypes)
    for (const Activation& function : kFunctions)
      for (const Tensor& x : activation_inputs(function, dtype))
        for (const GradMode mode : kModes) {
          Tensor kept = x.clone();
          if (!function.keeps_input()) fast_->activation_forward(kStream, x, function, kept);
          const Tensor dy = random_tensor(x.shape(), 2, -1, 1, dtype), start = random_tensor(x.shape(), 3, -1, 1, dtype);
          const Tensor dx = run(start, [&](Kernels& k, Tensor& out) { k.activation_backward(kStream, dy, kept, function, out, mode); });
          Tensor want = widened(start), size = magnitudes(start);
          reference_->activation_backward(kStream, widened(dy), widened(kept), rounded(function, dtype), want, mode);
          for (std::size_t i = 0; i < size.host<double>().size(); ++i) size.host<double>()[i] += std::fabs(value_of(dy, i)) * 2;
          expect_close(std::string(activation_name(function.kind)) + " backward", dx, want, size, 4);
          if (mode == GradMode::kAccumulate) continue;
          Tensor over = dy.clone();
          fast_->activation_backward(kStream, over, kept, function, over, mode);
          EXPECT_TRUE(same_bits(dx, over));
        }
}

// What lies at or beyond a limit has no gradient, though the limit was rounded; what lies inside has.
TEST_P(FastChannels, ClampsGradientStopsAtTheRoundedLimit) {
  const Activation clamp{Activation::Kind::kClamp, -0.1, 0.7};
  for (const DType dtype : kActivationTypes) {
    Tensor x = filled({4}, 5, dtype), y = x.clone(), dx = x.clone();
    set_value(x, 1, -5);
    set_value(x, 2, 0.25f);
    fast_->activation_forward(kStream, x, clamp, y);
    fast_->activation_backward(kStream, filled({4}, 1, dtype), y, clamp, dx, GradMode::kOverwrite);
    for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(value_of(dx, i), i == 2 ? 1 : 0) << i;
  }
}

struct NormCase {
  Shape x;
  ResponseNorm params;
};
std::vector<NormCase> norm_cases() {
  return {{{2, 96, 5, 4}, {.size = 5, .alpha = 1e-4, .beta = 0.75, .k = 2}},
          {{1, 1, 2, 3}, {.size = 1, .alpha = 0.5, .beta = 0.5}},
          {{1, 3, 2, 3}, {.size = 11, .alpha = 7}},
          {{2, 17, 3, 3}, {.size = 4, .alpha = 2, .beta = 1.5}},
          {{1, 32, 3, 2}, {.size = 3, .alpha = 0}},
          {{1, 48, 1, 7}, {.size = 5, .alpha = 40, .beta = 0.75, .k = 0.01}},
          {{1, 40, 2, 2}, {.size = 1000000, .alpha = 1e6, .beta = 0.25}},
          {{0, 16, 2, 2}, {}}};
}

// Roundings of s: the sum, alpha, k. s^-beta has beta times their relative error, and that of beta ln s (|ln s| < 8 here).
std::int64_t norm_roundings(const NormCase& c) { return 2 * std::min<std::int64_t>(c.params.size, c.x[1]) + 12; }
double norm_amplification(const NormCase& c) { return 2 + 9 * c.params.beta; }

TEST_P(FastChannels, ResponseNorm) {
  for (const DType dtype : kActivationTypes)
    for (const NormCase& c : norm_cases()) {
      const Tensor x = random_tensor(c.x, 1, -2, 2, dtype);
      const Tensor y = run(filled(c.x, 3, dtype), [&](Kernels& k, Tensor& out) { k.response_norm_forward(kStream, x, c.params, out); });
      Tensor want = widened(y);
      reference_->response_norm_forward(kStream, widened(x), c.params, want);
      const Tensor size = map_f64(magnitudes(want), [&](double v) { return v * norm_amplification(c); });
      expect_close("response norm " + c.x.str(), y, want, size, norm_roundings(c));
    }
}

TEST_P(FastChannels, ResponseNormBackward) {
  for (const DType dtype : kActivationTypes)
    for (const NormCase& c : norm_cases())
      for (const GradMode mode : kModes) {
        const Tensor x = random_tensor(c.x, 1, 0.01f, 2, dtype), dy = random_tensor(c.x, 2, -1, 1, dtype);
        const Tensor start = random_tensor(c.x, 3, -1, 1, dtype);
        const Tensor dx = run(start, [&](Kernels& k, Tensor& out) { k.response_norm_backward(kStream, dy, x, c.params, out, mode); });
        Tensor want = widened(start), both = widened(start), y = widened(start);
        reference_->response_norm_backward(kStream, widened(dy), widened(x), c.params, want, mode);
        // The gradient's two terms, for |dy|: what they differ by, and the first, |dy| y / x.
        reference_->response_norm_backward(kStream, magnitudes(dy), widened(x), c.params, both, GradMode::kOverwrite);
        reference_->response_norm_forward(kStream, widened(x), c.params, y);
        Tensor size = magnitudes(start);
        for (std::size_t i = 0; i < size.host<double>().size(); ++i) {
          const double first = std::fabs(value_of(dy, i)) * y.host<double>()[i] / value_of(x, i);
          size.host<double>()[i] += (2 * first - both.host<double>()[i]) * norm_amplification(c);
        }
        expect_close("response norm backward " + c.x.str(), dx, want, size, 2 * norm_roundings(c));
      }
}

// Powers far from 1 and no numbers, as the reference has them.
TEST_P(FastChannels, ResponseNormOfSpecialValues) {
  const ResponseNorm params{.size = 3, .alpha = 3, .beta = 0.75, .k = 1};
  Tensor x = filled({1, 20, 1, 1}, 1), y = x.clone();
  set_value(x, 2, 1e15f);
  set_value(x, 8, NAN);
  fast_->response_norm_forward(kStream, x, params, y);
  Tensor want = widened(x);
  reference_->response_norm_forward(kStream, widened(x), params, want);
  // s is 1e30 beside the large one: |beta ln s| = 52, and so many roundings does the power amplify.
  expect_close("special values", y, want, map_f64(magnitudes(want), [](double v) { return v * 60; }), 8);
}

TEST_P(FastChannels, ShuffleMovesEveryChannelToItsPlace) {
  struct Case {
    Shape x;
    int groups;
  };
  const Case all[] = {{{2, 6, 3, 3}, 2},   {{1, 240, 3, 2}, 3},  {{1, 272, 2, 2}, 4}, {{1, 384, 2, 1}, 8}, {{1, 112, 1, 3}, 7},
                      {{3, 8, 2, 2}, 4},   {{1, 60, 2, 2}, 20},  {{2, 5, 2, 2}, 5},   {{1, 1, 4, 4}, 1},   {{0, 4, 2, 2}, 2},
                      {{2, 90, 1, 1}, 30}, {{1, 136, 3, 3}, 34}, {{1, 64, 5, 1}, 8},  {{1, 77, 2, 3}, 11}};
  for (const DType dtype : kActivationTypes)
    for (const auto& [shape, groups] : all)
      for (const GradMode mode : kModes) {
        const Tensor src = random_tensor(shape, 1, -1, 1, dtype), start = random_tensor(shape, 2, -1, 1, dtype);
        const Tensor dst = run(start, [&, g = groups](Kernels& k, Tensor& out) { k.shuffle_channels(kStream, src, g, out, mode); });
        Tensor want = widened(start);
        reference_->shuffle_channels(kStream, widened(src), groups, want, mode);
        expect_close("shuffle " + shape.str(), dst, want, want, mode == GradMode::kAccumulate ? 1 : 0);
      }
}

TEST_P(FastChannels, ShiftReadsItsNeighbour) {
  struct Case {
    Shape x;
    int kernel;
  };
  const Case all[] = {{{2, 9, 4, 5}, 3}, {{1, 64, 7, 7}, 3}, {{1, 150, 6, 3}, 5}, {{2, 20, 1, 1}, 3}, {{1, 49, 2, 9}, 7}, {{0, 9, 3, 3}, 3}};
  for (const DType dtype : kActivationTypes)
    for (const auto& [shape, kernel] : all)
      for (const bool inverse : {false, true})
        for (const GradMode mode : kModes) {
          const ChannelShift shift{.kernel = kernel, .inverse = inverse};
          const Tensor src = random_tensor(shape, 1, -1, 1, dtype), start = random_tensor(shape, 2, -1, 1, dtype);
          const Tensor dst = run(start, [&](Kernels& k, Tensor& out) { k.shift_channels(kStream, src, shift, out, mode); });
          Tensor want = widened(start);
          reference_->shift_channels(kStream, widened(src), shift, want, mode);
          expect_close("shift " + shape.str(), dst, want, want, mode == GradMode::kAccumulate ? 1 : 0);
        }
}

TEST_P(FastChannels, AdaptivePoolBothWays) {
  struct Case {
    Shape x;
    Pair output;
  };
  const Case all[] = {{{2, 64, 13, 13}, {6, 6}}, {{1, 17, 7, 7}, {7, 7}}, {{1, 40, 5, 9}, {1, 1}}, {{2, 3, 2, 3}, {7, 7}}, {{1, 33, 10, 6}, {4, 5}}};
  for (const DType dtype : kActivationTypes)
    for (const auto& [shape, output] : all) {
      const Tensor x = random_tensor(shape, 1, -1, 1, dtype), dy = random_tensor({shape[0], shape[1], output.h, output.w}, 2, -1, 1, dtype);
      const std::int64_t largest = (shape[2] / output.h + 2) * (shape[3] / output.w + 2);
      const std::int64_t covers = (output.h / shape[2] + 2) * (output.w / shape[3] + 2);
      const Tensor y = run(filled(dy.shape(), 4, dtype), [&](Kernels& k, Tensor& out) { k.adaptive_avg_pool_forward(kStream, x, out); });
      Tensor want = widened(y), size = widened(y);
      reference_->adaptive_avg_pool_forward(kStream, widened(x), want);
      reference_->adaptive_avg_pool_forward(kStream, magnitudes(x), size);
      expect_close("adaptive " + shape.str(), y, want, size, largest + 2);
      for (const GradMode mode : kModes) {
        const Tensor dx = run(x, [&](Kernels& k, Tensor& out) { k.adaptive_avg_pool_backward(kStream, dy, out, mode); });
        Tensor want_dx = widened(x), dx_size = magnitudes(x);
        reference_->adaptive_avg_pool_backward(kStream, widened(dy), want_dx, mode);
        reference_->adaptive_avg_pool_backward(kStream, magnitudes(dy), dx_size, mode);
        expect_close("adaptive backward " + shape.str(), dx, want_dx, dx_size, covers + 3);
      }
    }
}

}  // namespace
}  // namespace lockstep
