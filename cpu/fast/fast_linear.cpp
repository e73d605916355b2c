// FastKernels: linear, by oneDNN's matrix product. With 16-bit x and w, y may be f32: the product is then written unrounded,
// and the backward passes widen the 16-bit operand, so that dy keeps its f32 digits.
// SPDX-License-Identifier: Apache-2.0
#include "cpu/fast/bf16_copy.h"
#include "cpu/fast/fast_backend.h"

namespace lockstep {
namespace {

// A classifier's operand is small beside the step's work: 4 bytes per element of scratch.
Tensor widened_copy(const simd::SimdKernels& simd, int threads, ConstView view) {
  Tensor copy = Tensor::empty(view.shape, DType::kF32);
  widen_bf16(simd, threads, view.data<bf16>(), copy.host<float>().data(), view.numel());
  return copy;
}

bool mixed(DType operand, DType dy) { return operand == DType::kBF16 && dy == DType::kF32; }

}  // namespace

void FastKernels::linear_forward(Stream stream, ConstView x, ConstView w, ConstView bias, View y) {
  if (x.dtype != DType::kBF16 && !runs_here("linear_forward", x.dtype))
    return reference_->linear_forward(stream, x, w, bias, y);
  dnnl_.matmul({.m = x.shape[0], .n = w.shape[0], .k = x.shape[1], .b_transposed = true, .bias = static_cast<bool>(bias),
                .dtype = x.dtype, .output = y.dtype},
               x.ptr, w.ptr, bias ? bias.data<float>() : nullptr, y.ptr);
}

void FastKernels::linear_backward_data(Stream stream, ConstView dy, ConstView w, View dx, GradMode mode) {
  if (w.dtype != DType::kBF16 && !runs_here("linear_backward_data", dy.dtype))
    return reference_->linear_backward_data(stream, dy, w, dx, mode);
  MatmulProblem problem{.m = dy.shape[0], .n = w.shape[1], .k = w.shape[0], .accumulate = mode == GradMode::kAccumulate,
                        .dtype = dy.dtype, .output = dx.dtype};
  if (!mixed(w.dtype, dy.dtype)) return dnnl_.matmul(problem, dy.ptr, w.ptr, nullptr, dx.ptr);
  problem.output = DType::kF32;
  const Tensor wide_w = widened_copy(simd_, threads_, w);
  Tensor wide_dx = problem.accumulate ? widened_copy(simd_, threads_, dx) : Tensor::empty(dx.shape, DType::kF32);
  dnnl_.matmul(problem, dy.ptr, wide_w.ptr(), nullptr, wide_dx.ptr());
  round_to_bf16(simd_, threads_, wide_dx.host<float>().data(), dx.data<bf16>(), dx.numel());
}

void FastKernels::linear_backward_weight(Stream stream, ConstView x, ConstView dy, View dw, GradMode mode) {
  if (x.dtype != DType::kBF16 && !runs_here("linear_backward_weight", x.dtype))
    return reference_->linear_backward_weight(stream, x, dy, dw, mode);
  const Tensor wide_x = mixed(x.dtype, dy.dtype) ? widened_copy(simd_, threads_, x) : Tensor();
  dnnl_.matmul({.m = dy.shape[1], .n = x.shape[1], .k = x.shape[0], .a_transposed = true,
                .accumulate = mode == GradMode::kAccumulate, .dtype = dy.dtype, .output = DType::kF32},
               dy.ptr, wide_x ? wide_x.ptr() : x.ptr, nullptr, dw.ptr);
}

}  // namespace lockstep
