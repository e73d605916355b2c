// SPDX-License-Identifier: Apache-2.0
#include "cpu/fast/dnnl_problem.h"

#include "core/shape.h"

namespace lockstep {

std::string describe(const ConvProblem& a) {
  const char* pass = a.pass == ConvPass::kForward ? "forward" : a.pass == ConvPass::kBackwardData ? "backward data" : "backward filter";
  return std::string("convolution ") + pass + ", x " + Shape{a.n, a.c, a.h, a.w}.str() + ", filter " +
         Shape{a.k, a.c / a.groups, a.r, a.s}.str() + ", stride " + Shape{a.stride_h, a.stride_w}.str() + ", pad " +
         Shape{a.pad_h, a.pad_w}.str() + ", dilation " + Shape{a.dilation_h, a.dilation_w}.str() + ", groups " +
         std::to_string(a.groups) + ", " + std::string(dtype_name(a.dtype));
}

std::string describe(const MatmulProblem& a) {
  return "matmul, m " + std::to_string(a.m) + ", n " + std::to_string(a.n) + ", k " + std::to_string(a.k) + ", " +
         std::string(dtype_name(a.dtype)) + " to " + std::string(dtype_name(a.output));
}

std::array<std::int64_t, 3> operand_sizes(const ConvProblem& a) {
  return {a.n * a.c * a.h * a.w, a.k * (a.c / a.groups) * a.r * a.s, a.n * a.k * a.p * a.q};
}
std::array<std::int64_t, 3> operand_sizes(const MatmulProblem& a) { return {a.m * a.k, a.k * a.n, a.m * a.n}; }

std::array<DType, 3> operand_dtypes(const ConvProblem& a) {
  return {a.dtype, a.pass == ConvPass::kBackwardFilter ? DType::kF32 : a.dtype, a.dtype};
}
std::array<DType, 3> operand_dtypes(const MatmulProblem& a) { return {a.dtype, a.dtype, a.output}; }

ConvProblem widened(ConvProblem problem) {
  problem.dtype = DType::kF32;
  return problem;
}
MatmulProblem widened(MatmulProblem problem) {
  problem.dtype = problem.output = DType::kF32;
  return problem;
}

// 1x1 convolutions are matrix products of pixels and filters. With filters of 2 MB and more (ResNet-50's last stage) oneDNN's
// f32 matmul is up to twice as fast as its convolution backward (190 against 96 GFLOP/s), below that it is slower.
bool is_matmul(const ConvProblem& a) {
  constexpr std::int64_t kFilterElements = std::int64_t{1} << 19;
  return a.dtype == DType::kF32 && a.r == 1 && a.s == 1 && a.stride_h == 1 && a.stride_w == 1 && a.pad_h == 0 &&
         a.pad_w == 0 && a.groups == 1 && a.c * a.k >= kFilterElements;
}

// y = x w^T, dx = dy w, dw = dy^T x.
MatmulProblem matmul_problem(const ConvProblem& a) {
  const std::int64_t pixels = a.n * a.h * a.w;
  const DType out = a.pass == ConvPass::kBackwardFilter ? DType::kF32 : a.dtype;
  if (a.pass == ConvPass::kForward)
    return {.m = pixels, .n = a.k, .k = a.c, .b_transposed = true, .bias = a.bias, .dtype = a.dtype, .output = out};
  if (a.pass == ConvPass::kBackwardData) return {.m = pixels, .n = a.c, .k = a.k, .dtype = a.dtype, .output = out};
  return {.m = a.k, .n = a.c, .k = pixels, .a_transposed = true, .dtype = a.dtype, .output = out};
}

}  // namespace lockstep
