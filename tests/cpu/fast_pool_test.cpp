// Pooling of the fast backend, f32 and bf16, against the f64 reference.
// SPDX-License-Identifier: Apache-2.0
#include "ops/max_pool.h"
#include "tests/cpu/fast_test_util.h"

namespace lockstep {
namespace {

class FastPool : public FastBackend {};
INSTANTIATE_TEST_SUITE_P(EachSimd, FastPool, ::testing::ValuesIn(available_simd().begin(), available_simd().end()), simd_name);

struct PoolCase {
  Shape x;
  Pool2dParams params;
};
std::vector<PoolCase> pool_cases() {
  const Pool2dParams stem{.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}};
  return {{{2, 64, 14, 14}, stem},
          {{1, 1, 1, 1}, {.kernel = {1, 1}, .stride = {1, 1}}},
          {{2, 17, 9, 11}, stem},
          {{2, 8, 7, 7}, {.kernel = {2, 2}, .stride = {2, 2}}},
          {{1, 40, 6, 9}, {.kernel = {2, 3}, .stride = {1, 2}, .pad = {1, 0}}},
          {{1, 16, 8, 8}, {.kernel = {2, 2}, .stride = {3, 3}, .count_include_pad = false}},
          {{1, 35, 12, 13}, {.kernel = {5, 4}, .stride = {2, 3}, .pad = {2, 1}}},
          {{2, 24, 5, 5}, {.kernel = {3, 3}, .stride = {1, 1}, .pad = {1, 1}, .count_include_pad = false}},
          {{1, 64, 14, 13}, {.kernel = {3, 3}, .stride = {2, 2}, .ceil = true}},
          {{1, 20, 9, 10}, {.kernel = {3, 4}, .stride = {2, 3}, .pad = {1, 2}, .ceil = true}},
          {{1, 20, 9, 10}, {.kernel = {3, 4}, .stride = {2, 3}, .pad = {1, 2}, .count_include_pad = false, .ceil = true}}};
}
constexpr GradMode kModes[] = {GradMode::kOverwrite, GradMode::kAccumulate};

TEST_P(FastPool, MaxAndItsIndices) {
  for (const DType dtype : kActivationTypes)
    for (const auto& [x_shape, params] : pool_cases()) {
      Tensor x = random_tensor(x_shape, 1, -1, 1, dtype);
      for (std::size_t i = 0; i < static_cast<std::size_t>(x.numel()); ++i)
        set_value(x, i, static_cast<float>(std::round(value_of(x, i) * 4)));  // ties: the first must win
      if (x.numel() > 100)  // two NaN in one window, infinities of both signs
        for (const auto& [i, value] : {std::pair{std::size_t{50}, std::nanf("")},
                                       {50 + static_cast<std::size_t>(x_shape[1]), std::nanf("")},
                                       {51, -INFINITY},
                                       {52, INFINITY}})
          set_value(x, i, value);
      const Shape y_shape = max_pool_shape(x_shape, params);
      Tensor indices = Tensor::empty(y_shape, DType::kU8), want_indices = indices.clone();
      const Tensor y = run(filled(y_shape, 3, dtype), [&](Kernels& k, Tensor& out) { k.max_pool_forward(kStream, x, params, out, indices); });
      const Tensor without = run(filled(y_shape, 3, dtype), [&](Kernels& k, Tensor& out) { k.max_pool_forward(kStream, x, params, out, {}); });
      Tensor want = widened(y);
      reference_->max_pool_forward(kStream, widened(x), params, want, want_indices);
      expect_close("max pool " + x_shape.str(), y, want, want, 0);
      EXPECT_TRUE(same_bits(y, without));
      EXPECT_TRUE(same_bits(indices, want_indices)) << x_shape.str();
    }
}

TEST_P(FastPool, MaxBackward) {
  for (const DType dtype : kActivationTypes)
    for (const auto& [x_shape, params] : pool_cases())
      for (const GradMode mode : kModes) {
        const Tensor x = random_tensor(x_shape, 1, -1, 1, dtype), start = random_tensor(x_shape, 2, -1, 1, dtype),
                     dy = random_tensor(max_pool_shape(x_shape, params), 3, -1, 1, dtype);
        Tensor y = dy.clone(), indices = Tensor::empty(dy.shape(), DType::kU8);
        fast_->max_pool_forward(kStream, x, params, y, indices);
        const Tensor dx = run(start, [&, p = params](Kernels& k, Tensor& out) { k.max_pool_backward(kStream, dy, indices, p, out, mode); });
        Tensor want = widened(start), size = magnitudes(start);
        reference_->max_pool_backward(kStream, widened(dy), indices, params, want, mode);
        reference_->max_pool_backward(kStream, magnitudes(dy), indices, params, size, mode);
        expect_close("max pool backward " + x_shape.str(), dx, want, size, params.kernel.h * params.kernel.w + 1);
      }
}

TEST_P(FastPool, AverageBothWays) {
  for (const DType dtype : kActivationTypes)
    for (const auto& [x_shape, params] : pool_cases()) {
      const Tensor x = random_tensor(x_shape, 1, -1, 1, dtype), dy = random_tensor(max_pool_shape(x_shape, params), 3, -1, 1, dtype);
      const std::int64_t taps = params.kernel.h * params.kernel.w;
      const Tensor y = run(filled(dy.shape(), 4, dtype), [&, p = params](Kernels& k, Tensor& out) { k.avg_pool_forward(kStream, x, p, out); });
      Tensor want = widened(y), size = widened(y);
      reference_->avg_pool_forward(kStream, widened(x), params, want);
      reference_->avg_pool_forward(kStream, magnitudes(x), params, size);
      expect_close("avg pool " + x_shape.str(), y, want, size, taps + 2);
      for (const GradMode mode : kModes) {
        const Tensor dx = run(x, [&, p = params](Kernels& k, Tensor& out) { k.avg_pool_backward(kStream, dy, p, out, mode); });
        Tensor want_dx = widened(x), dx_size = magnitudes(x);
        reference_->avg_pool_backward(kStream, widened(dy), params, want_dx, mode);
        reference_->avg_pool_backward(kStream, magnitudes(dy), params, dx_size, mode);
        expect_close("avg pool backward " + x_shape.str(), dx, want_dx, dx_size, taps + 3);
      }
    }
}

TEST_P(FastPool, GlobalAverageBothWays) {
  for (const DType dtype : kActivationTypes)
    for (const Shape& shape : {Shape{1, 1, 1, 1}, Shape{3, 64, 7, 7}, Shape{2, 2048, 7, 7}, Shape{2, 13, 20, 31}}) {
      const Tensor x = random_tensor(shape, 1, -1, 1, dtype), dy = random_tensor({shape[0], shape[1]}, 2, -1, 1, dtype);
      const std::int64_t pixels = shape[2] * shape[3];
      const Tensor y = run(filled(dy.shape(), 4, dtype), [&](Kernels& k, Tensor& out) { k.global_avg_pool_forward(kStream, x, out); });
      Tensor want = widened(y), size = widened(y);
      reference_->global_avg_pool_forward(kStream, widened(x), want);
      reference_->global_avg_pool_forward(kStream, magnitudes(x), size);
      expect_close("global " + shape.str(), y, want, size, pixels);
      for (const GradMode mode : kModes) {
        const Tensor dx = run(x, [&](Kernels& k, Tensor& out) { k.global_avg_pool_backward(kStream, dy, out, mode); });
        Tensor want_dx = widened(x), dx_size = magnitudes(x);
        reference_->global_avg_pool_backward(kStream, widened(dy), want_dx, mode);
        reference_->global_avg_pool_backward(kStream, magnitudes(dy), dx_size, mode);
        expect_close("global backward " + shape.str(), dx, want_dx, dx_size, 3);
      }
    }
}

}  // namespace
}  // namespace lockstep
