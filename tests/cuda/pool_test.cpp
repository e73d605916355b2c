// Pooling on the device, in f32, bf16 and f16, against the f64 reference.
// SPDX-License-Identifier: Apache-2.0
#include "ops/max_pool.h"

#include <memory>

#include "cpu/reference/reference_kernels.h"
#include "cuda/kernels/pool.h"
#include "tests/cuda/host_tensors.h"

namespace lockstep {
namespace {

using namespace host_tensors;

class CudaPool : public ::testing::Test {
 protected:
  const std::unique_ptr<Kernels> reference_ = make_reference_kernels();
  const Stream stream_ = gpu_stream();
};

struct PoolCase {
  Shape x;
  Pool2dParams params;
};
std::vector<PoolCase> pool_cases() {
  const Pool2dParams stem{.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}};
  return {{{2, 64, 14, 14}, stem},
          {{1, 64, 112, 6}, stem},
          {{1, 1, 1, 1}, {.kernel = {1, 1}, .stride = {1, 1}}},
          {{2, 17, 9, 11}, stem},
          {{2, 8, 7, 7}, {.kernel = {2, 2}, .stride = {2, 2}}},
          {{1, 40, 6, 9}, {.kernel = {2, 3}, .stride = {1, 2}, .pad = {1, 0}}},
          {{1, 16, 8, 8}, {.kernel = {2, 2}, .stride = {3, 3}, .count_include_pad = false}},
          {{1, 35, 12, 13}, {.kernel = {5, 4}, .stride = {2, 3}, .pad = {2, 1}}},
          {{1, 8, 17, 19}, {.kernel = {16, 16}, .stride = {1, 2}, .pad = {8, 7}}},
          {{2, 24, 5, 5}, {.kernel = {3, 3}, .stride = {1, 1}, .pad = {1, 1}, .count_include_pad = false}},
          {{1, 272, 4, 4}, {.kernel = {2, 2}, .stride = {2, 2}, .pad = {1, 1}, .count_include_pad = false}},
          {{1, 64, 14, 13}, {.kernel = {3, 3}, .stride = {2, 2}, .ceil = true}},
          {{1, 20, 9, 10}, {.kernel = {3, 4}, .stride = {2, 3}, .pad = {1, 2}, .ceil = true}},
          {{1, 24, 9, 10}, {.kernel = {3, 4}, .stride = {2, 3}, .pad = {1, 2}, .count_include_pad = false, .ceil = true}}};
}

// Many ties, of which the first must win; NaN beside each other and at different places; infinities of both signs.
Tensor awkward_input(const Shape& shape, DType dtype) {
  Tensor x = random_host(shape, 1, dtype);
  for (std::size_t i = 0; i < size_of(x); ++i) set_value(x, i, std::round(value_of(x, i) * 4));
  const auto c = static_cast<std::size_t>(shape[1]);
  if (x.numel() > 200) {
    set_value(x, 50, NAN);
    set_value(x, 50 + c, NAN);
    set_value(x, 51, -INFINITY);
    set_value(x, 52, INFINITY);
  }
  // Channel 0 of the last image: -inf only.
  for (std::size_t i = size_of(x) / static_cast<std::size_t>(shape[0]) * static_cast<std::size_t>(shape[0] - 1); i < size_of(x); i += c)
    set_value(x, i, -INFINITY);
  return x;
}

TEST_F(CudaPool, MaximaAndTheirIndices) {
  for (const DType dtype : kActivationTypes)
    for (const Place place : kPlaces)
      for (const auto& [x_shape, params] : pool_cases()) {
        const Tensor x = awkward_input(x_shape, dtype), input = on_gpu_at(x, place);
        const Shape y_shape = max_pool_shape(x_shape, params);
        Tensor indices = on_gpu_at(Tensor::zeros(y_shape, DType::kU8), place), want_indices = Tensor::empty(y_shape, DType::kU8);
        const auto pool = [&, p = params](View taps) {
          return run_twice(filled(y_shape, 3, dtype), [&](Tensor& out) { cuda::max_pool_forward(stream_, input, p, out, taps); }, place);
        };
        const Tensor y = pool(indices), without = pool({});
        Tensor want = widened(y);
        reference_->max_pool_forward({}, widened(x), params, want, want_indices);
        for (std::size_t i = 0; i < size_of(y); ++i) ASSERT_TRUE(within(value_of(y, i), value_of(want, i), 0)) << x_shape.str() << i;
        EXPECT_TRUE(same_bits(y, without));
        EXPECT_TRUE(same_bits(to_host(indices), want_indices)) << x_shape.str();
      }
}

TEST_F(CudaPool, MaxBackward) {
  for (const DType dtype : kActivationTypes)
    for (const Place place : kPlaces)
      for (const auto& [x_shape, params] : pool_cases())
        for (const GradMode mode : kModes) {
          const Tensor x = random_host(x_shape, 1, dtype), start = random_host(x_shape, 2, dtype),
                       dy = random_host(max_pool_shape(x_shape, params), 3, dtype);
          Tensor y = Tensor::empty(dy.shape(), DType::kF64), indices = Tensor::empty(dy.shape(), DType::kU8);
          reference_->max_pool_forward({}, widened(x), params, y, indices);
          const Tensor gradient = on_gpu_at(dy, place), taps = on_gpu_at(indices, place);
          const Tensor dx = run_twice(
              start, [&, p = params](Tensor& out) { cuda::max_pool_backward(stream_, gradient, taps, p, out, mode); }, place);
          Tensor want = widened(start), size = magnitudes(start);
          reference_->max_pool_backward({}, widened(dy), indices, params, want, mode);
          reference_->max_pool_backward({}, magnitudes(dy), indices, params, size, mode);
          expect_close("max pool backward " + x_shape.str(), dx, want, size, params.kernel.h * params.kernel.w + 1);
        }
}

TEST_F(CudaPool, AverageBothWays) {
  for (const DType dtype : kActivationTypes)
    for (const Place place : kPlaces)
      for (const auto& [x_shape, params] : pool_cases()) {
        const Tensor x = random_host(x_shape, 1, dtype), dy = random_host(max_pool_shape(x_shape, params), 3, dtype);
        const Tensor input = on_gpu_at(x, place), gradient = on_gpu_at(dy, place);
        const std::int64_t taps = params.kernel.h * params.kernel.w;
        const Tensor y = run_twice(
            filled(dy.shape(), 4, dtype), [&, p = params](Tensor& out) { cuda::avg_pool_forward(stream_, input, p, out); }, place);
        Tensor want = widened(y), size = widened(y);
        reference_->avg_pool_forward({}, widened(x), params, want);
        reference_->avg_pool_forward({}, magnitudes(x), params, size);
        expect_close("avg pool " + x_shape.str(), y, want, size, taps + 2);
        for (const GradMode mode : kModes) {
          const Tensor dx = run_twice(
              x, [&, p = params](Tensor& out) { cuda::avg_pool_backward(stream_, gradient, p, out, mode); }, place);
          Tensor want_dx = widened(x), dx_size = magnitudes(x);
          reference_->avg_pool_backward({}, widened(dy), params, want_dx, mode);
          reference_->avg_pool_backward({}, magnitudes(dy), params, dx_size, mode);
          expect_close("avg pool backward " + x_shape.str(), dx, want_dx, dx_size, taps + 3);
        }
      }
}

TEST_F(CudaPool, GlobalAverageBothWays) {
  for (const DType dtype : kActivationTypes)
    for (const Place place : kPlaces)
      for (const Shape& shape : {Shape{1, 1, 1, 1}, Shape{3, 64, 7, 7}, Shape{2, 2048, 7, 7}, Shape{2, 13, 20, 31}, Shape{2, 24, 33, 9}}) {
        const Tensor x = random_host(shape, 1, dtype), dy = random_host({shape[0], shape[1]}, 2, dtype);
        const Tensor input = on_gpu_at(x, place), gradient = on_gpu_at(dy, place);
        const Tensor y = run_twice(filled(dy.shape(), 4, dtype), [&](Tensor& out) { cuda::global_avg_pool_forward(stream_, input, out); }, place);
        Tensor want = widened(y), size = widened(y);
        reference_->global_avg_pool_forward({}, widened(x), want);
        reference_->global_avg_pool_forward({}, magnitudes(x), size);
        expect_close("global " + shape.str(), y, want, size, shape[2] * shape[3] + 1);
        for (const GradMode mode : kModes) {
          const Tensor dx = run_twice(x, [&](Tensor& out) { cuda::global_avg_pool_backward(stream_, gradient, out, mode); }, place);
          Tensor want_dx = widened(x), dx_size = magnitudes(x);
          reference_->global_avg_pool_backward({}, widened(dy), want_dx, mode);
          reference_->global_avg_pool_backward({}, magnitudes(dy), dx_size, mode);
          expect_close("global backward " + shape.str(), dx, want_dx, dx_size, 3);
        }
      }
}

TEST_F(CudaPool, AdaptiveAverageBothWays) {
  struct Case {
    Shape x;
    Pair output;
  };
  const Case all[] = {{{2, 64, 13, 13}, {6, 6}}, {{1, 17, 7, 7}, {7, 7}}, {{1, 40, 5, 9}, {1, 1}}, {{2, 3, 2, 3}, {7, 7}}, {{1, 33, 10, 6}, {4, 5}}};
  for (const DType dtype : kActivationTypes)
    for (const Place place : kPlaces)
      for (const auto& [shape, output] : all) {
        const Tensor x = random_host(shape, 1, dtype), dy = random_host({shape[0], shape[1], output.h, output.w}, 2, dtype);
        const Tensor input = on_gpu_at(x, place), gradient = on_gpu_at(dy, place);
        const std::int64_t pixels = (shape[2] / output.h + 2) * (shape[3] / output.w + 2);
        const std::int64_t windows = (output.h / shape[2] + 2) * (output.w / shape[3] + 2);
        const Tensor y = run_twice(filled(dy.shape(), 4, dtype), [&](Tensor& out) { cuda::adaptive_avg_pool_forward(stream_, input, out); }, place);
        Tensor want = widened(y), size = widened(y);
        reference_->adaptive_avg_pool_forward({}, widened(x), want);
        reference_->adaptive_avg_pool_forward({}, magnitudes(x), size);
        expect_close("adaptive " + shape.str(), y, want, size, pixels + 2);
        for (const GradMode mode : kModes) {
          const Tensor dx = run_twice(x, [&](Tensor& out) { cuda::adaptive_avg_pool_backward(stream_, gradient, out, mode); }, place);
          Tensor want_dx = widened(x), dx_size = magnitudes(x);
          reference_->adaptive_avg_pool_backward({}, widened(dy), want_dx, mode);
          reference_->adaptive_avg_pool_backward({}, magnitudes(dy), dx_size, mode);
          expect_close("adaptive backward " + shape.str(), dx, want_dx, dx_size, windows + 3);
        }
      }
}

}  // namespace
}  // namespace lockstep
