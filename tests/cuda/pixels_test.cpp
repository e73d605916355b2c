// Activations, local response norm, shuffled and shifted channels on the device, in f32, bf16 and f16, against the f64 reference:
// odd sizes, addresses that fit no 16-byte access, both gradient modes, the aliasing that the contract allows.
// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "cpu/reference/reference_kernels.h"
#include "cuda/kernels/elementwise.h"
#include "tests/cuda/host_tensors.h"

namespace lockstep {
namespace {

using namespace host_tensors;

class CudaPixels : public ::testing::Test {
 protected:
  const std::unique_ptr<Kernels> reference_ = make_reference_kernels();
  const Stream stream_ = gpu_stream();
};

// Limits that no binary type holds exactly.
const Activation kFunctions[] = {{Activation::Kind::kLeakyRelu, 0.01}, {Activation::Kind::kTanh},
                                 {Activation::Kind::kSigmoid},         {Activation::Kind::kThreshold, 0.1, -3},
                                 {Activation::Kind::kClamp, 0, 6},     {Activation::Kind::kClamp, -0.1, 0.7}};

// As the device sees it: limits in its dtype.
Activation rounded(Activation function, DType dtype) {
  if (function.kind == Activation::Kind::kLeakyRelu) return function;
  Tensor narrow = Tensor::empty({2}, dtype);
  set_value(narrow, 0, function.a);
  set_value(narrow, 1, function.b);
  function.a = value_of(narrow, 0);
  function.b = value_of(narrow, 1);
  return function;
}

Tensor activation_input(const Activation& function, const Shape& shape, DType dtype) {
  Tensor x = random_host(shape, 1, dtype, -8, 8);
  const double specials[] = {NAN, INFINITY, -INFINITY, 0.0, -0.0, function.a, function.b, 1e-3, -1e-3, 200, -200};
  if (x.numel() > 20)
    for (std::size_t i = 0; i < std::size(specials); ++i) set_value(x, 3 + i, specials[i]);
  return x;
}

// Functions of the mathematical library are within 2 ulp on a GPU; the rest is a few operations.
TEST_F(CudaPixels, ActivationsBothWays) {
  for (const DType dtype : kActivationTypes)
    for (const Place place : kPlaces)
      for (const Shape& shape : {Shape{0}, Shape{1}, Shape{37}, Shape{3001}})
        for (const Activation& function : kFunctions) {
          const Activation seen = rounded(function, dtype);
          const Tensor x = activation_input(function, shape, dtype), dy = random_host(shape, 2, dtype), input = on_gpu_at(x, place);
          const Tensor y = run_twice(
              random_host(shape, 3, dtype), [&](Tensor& out) { cuda::activation_forward(stream_, input, function, out); }, place);
          Tensor want = widened(x), over = on_gpu_at(x, place);
          reference_->activation_forward({}, widened(x), seen, want);
          expect_close("activation", y, want, magnitudes(want), 8);
          cuda::activation_forward(stream_, over, function, over);
          EXPECT_TRUE(same_bits(y, to_host(over)));
          const Tensor kept = function.keeps_input() ? x : y, gpu_kept = on_gpu_at(kept, place);
          Tensor gradient = on_gpu_at(dy, place);
          for (const GradMode mode : kModes) {
            const Tensor start = random_host(shape, 4, dtype);
            const Tensor dx = run_twice(
                start, [&](Tensor& out) { cuda::activation_backward(stream_, gradient, gpu_kept, function, out, mode); }, place);
            Tensor want_dx = widened(start), size = magnitudes(start);
            reference_->activation_backward({}, widened(dy), widened(kept), seen, want_dx, mode);
            for (std::size_t i = 0; i < size_of(size); ++i) size.host<double>()[i] += 2 * std::fabs(value_of(dy, i));
            expect_close("activation backward", dx, want_dx, size, 4);
          }
          cuda::activation_backward(stream_, gradient, gpu_kept, function, gradient, GradMode::kOverwrite);
          Tensor want_dx = widened(dy);
          reference_->activation_backward({}, widened(dy), widened(kept), seen, want_dx, GradMode::kOverwrite);
          expect_close("in place", to_host(gradient), want_dx, map_f64(magnitudes(dy), [](double v) { return 2 * v; }), 4);
        }
}

struct NormCase {
  Shape x;
  ResponseNorm params;
};

TEST_F(CudaPixels, ResponseNormBothWays) {
  const NormCase cases[] = {{{2, 96, 3, 4}, {.size = 5, .alpha = 1e-4, .beta = 0.75, .k = 2}},
                            {{1, 1, 2, 3}, {.size = 1, .alpha = 0.5, .beta = 0.5}},
                            {{1, 3, 2, 3}, {.size = 11, .alpha = 7}},
                            {{2, 17, 3, 3}, {.size = 4, .alpha = 2, .beta = 1.5}},
                            {{0, 16, 2, 2}, {}}};
  for (const DType dtype : kActivationTypes)
    for (const auto& [shape, params] : cases) {
      const Tensor x = random_host(shape, 1, dtype, 0.1f, 2), dy = random_host(shape, 2, dtype), input = on_gpu(x), gradient = on_gpu(dy);
      // Roundings of s, which the power multiplies by beta, as those of beta ln s (|ln s| < 8 here).
      const std::int64_t roundings = 2 * params.size + 12;
      const double amplification = 2 + 9 * params.beta;
      const Tensor y = run_twice(filled(shape, 3, dtype), [&, p = params](Tensor& out) { cuda::response_norm_forward(stream_, input, p, out); });
      Tensor want = widened(y);
      reference_->response_norm_forward({}, widened(x), params, want);
      expect_close("response norm", y, want, map_f64(magnitudes(want), [&](double v) { return v * amplification; }), roundings);
      for (const GradMode mode : kModes) {
        const Tensor start = random_host(shape, 3, dtype);
        const Tensor dx = run_twice(
            start, [&, p = params](Tensor& out) { cuda::response_norm_backward(stream_, gradient, input, p, out, mode); });
        Tensor want_dx = widened(start), both = widened(start), size = magnitudes(start);
        reference_->response_norm_backward({}, widened(dy), widened(x), params, want_dx, mode);
        reference_->response_norm_backward({}, magnitudes(dy), widened(x), params, both, GradMode::kOverwrite);
        for (std::size_t i = 0; i < size_of(size); ++i) {  // the gradient's first term and, from what they differ by, its second
          const double first = std::fabs(value_of(dy, i)) * want.host<double>()[i] / value_of(x, i);
          size.host<double>()[i] += (2 * first - both.host<double>()[i]) * amplification;
        }
        expect_close("response norm backward", dx, want_dx, size, 2 * roundings);
      }
    }
}

TEST_F(CudaPixels, ShuffleAndShiftMoveExactly) {
  for (const DType dtype : kActivationTypes)
    for (const Shape& shape : {Shape{2, 12, 3, 5}, Shape{1, 60, 4, 2}, Shape{0, 12, 2, 2}})
      for (const GradMode mode : kModes) {
        const Tensor src = random_host(shape, 1, dtype), start = random_host(shape, 2, dtype), input = on_gpu(src);
        const std::int64_t roundings = mode == GradMode::kAccumulate ? 1 : 0;
        for (const int groups : {1, 2, 3, 12}) {
          const Tensor dst = run_twice(start, [&](Tensor& out) { cuda::shuffle_channels(stream_, input, groups, out, mode); });
          Tensor want = widened(start);
          reference_->shuffle_channels({}, widened(src), groups, want, mode);
          expect_close("shuffle", dst, want, magnitudes(want), roundings);
        }
        for (const ChannelShift shift : {ChannelShift{.kernel = 3}, ChannelShift{.kernel = 3, .inverse = true}}) {
          const Tensor dst = run_twice(start, [&](Tensor& out) { cuda::shift_channels(stream_, input, shift, out, mode); });
          Tensor want = widened(start);
          reference_->shift_channels({}, widened(src), shift, want, mode);
          expect_close("shift", dst, want, magnitudes(want), roundings);
        }
      }
}

}  // namespace
}  // namespace lockstep
