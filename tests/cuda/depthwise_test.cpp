// Depthwise convolutions on the device, in f32, bf16 and f16, against the f64 reference: strides, pads as wide as the filter, taps in
// several groups, one and several blocks of rows, addresses that fit no 16-byte access. Also that the backend takes them.
// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/depthwise.h"

#include <memory>

#include "cpu/reference/reference_kernels.h"
#include "ops/conv2d.h"
#include "tests/cuda/host_tensors.h"

namespace lockstep {
namespace {

using namespace host_tensors;

struct DepthwiseCase {
  Shape x;
  Pair kernel, stride, pad;
  Conv2dParams params() const { return {.stride = stride, .pad = pad, .groups = static_cast<int>(x[1])}; }
  Shape filter() const { return {x[1], 1, kernel.h, kernel.w}; }
  Shape y() const { return conv2d_shape(x, filter(), params()); }
  std::int64_t taps() const { return std::int64_t{kernel.h} * kernel.w; }
};

std::vector<DepthwiseCase> cases() {
  return {{{2, 32, 7, 6}, {3, 3}, {1, 1}, {1, 1}}, {{2, 40, 8, 7}, {3, 3}, {2, 2}, {1, 1}}, {{1, 17, 9, 5}, {5, 5}, {1, 1}, {2, 2}},
          {{1, 24, 6, 9}, {2, 7}, {3, 2}, {1, 3}}, {{1, 3, 1, 1}, {3, 3}, {1, 1}, {1, 1}},  {{1, 8, 2, 3}, {3, 3}, {1, 1}, {3, 3}},
          {{1, 8, 60, 50}, {3, 3}, {1, 1}, {1, 1}}, {{0, 16, 4, 4}, {3, 3}, {1, 1}, {1, 1}}};
}

class CudaDepthwise : public ::testing::Test {
 protected:
  const std::unique_ptr<Kernels> reference_ = make_reference_kernels();
  const Stream stream_ = gpu_stream();
};

TEST_F(CudaDepthwise, Forward) {
  for (const DType dtype : kActivationTypes)
    for (const Place place : kPlaces)
      for (const DepthwiseCase& c : cases()) {
        const Tensor x = random_host(c.x, 1, dtype), w = random_host(c.filter(), 2, dtype), input = on_gpu_at(x, place), filter = on_gpu_at(w, place);
        const Tensor y = run_twice(
            filled(c.y(), 5, dtype), [&](Tensor& out) { cuda::depthwise_forward(stream_, input, filter, c.params(), out); }, place);
        Tensor want = widened(y), size = widened(y);
        reference_->conv2d_forward({}, widened(x), widened(w), {}, c.params(), want);
        reference_->conv2d_forward({}, magnitudes(x), magnitudes(w), {}, c.params(), size);
        expect_close("forward " + c.x.str(), y, want, size, c.taps() + 1);
      }
}

TEST_F(CudaDepthwise, BackwardData) {
  for (const DType dtype : kActivationTypes)
    for (const Place place : kPlaces)
      for (const DepthwiseCase& c : cases())
        for (const GradMode mode : kModes) {
          const Tensor start = random_host(c.x, 1, dtype), w = random_host(c.filter(), 2, dtype), dy = random_host(c.y(), 3, dtype);
          const Tensor filter = on_gpu_at(w, place), gradient = on_gpu_at(dy, place);
          const Tensor dx = run_twice(
              start, [&](Tensor& out) { cuda::depthwise_backward_data(stream_, gradient, filter, c.params(), out, mode); }, place);
          Tensor want = widened(start), size = magnitudes(start);
          reference_->conv2d_backward_data({}, widened(dy), widened(w), c.params(), want, mode);
          reference_->conv2d_backward_data({}, magnitudes(dy), magnitudes(w), c.params(), size, mode);
          expect_close("data " + c.x.str(), dx, want, size, c.taps() + 1);
        }
}

TEST_F(CudaDepthwise, BackwardFilter) {
  for (const DType dtype : kActivationTypes)
    for (const Place place : kPlaces)
      for (const DepthwiseCase& c : cases())
        for (const GradMode mode : kModes) {
          const Tensor x = random_host(c.x, 1, dtype), dy = random_host(c.y(), 3, dtype), start = random_host(c.filter(), 2);
          const Tensor input = on_gpu_at(x, place), gradient = on_gpu_at(dy, place);
          const Tensor dw = run_twice(
              start, [&](Tensor& out) { cuda::depthwise_backward_filter(stream_, input, gradient, c.params(), out, mode); }, place);
          Tensor want = widened(start), size = magnitudes(start);
          reference_->conv2d_backward_filter({}, widened(x), widened(dy), c.params(), want, mode);
          reference_->conv2d_backward_filter({}, magnitudes(x), magnitudes(dy), c.params(), size, mode);
          expect_close("filter " + c.x.str(), dw, want, size, dy.numel() / c.x[1] + 3);
        }
}

TEST_F(CudaDepthwise, WhichConvolutionsAreDepthwise) {
  const Shape x{2, 8, 9, 9};
  EXPECT_TRUE(cuda::is_depthwise(x, {8, 1, 3, 3}, {.groups = 8}));
  EXPECT_FALSE(cuda::is_depthwise(x, {16, 1, 3, 3}, {.groups = 8})) << "two filters per channel";
  EXPECT_FALSE(cuda::is_depthwise(x, {8, 2, 3, 3}, {.groups = 4}));
  EXPECT_FALSE(cuda::is_depthwise(x, {8, 1, 3, 3}, {.dilation = {2, 2}, .groups = 8}));
  EXPECT_FALSE(cuda::is_depthwise({2, 1, 9, 9}, {1, 1, 3, 3}, {}));
}

}  // namespace
}  // namespace lockstep
