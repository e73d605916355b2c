// ConvProblem and MatmulProblem: what the library calls are made for and cached by. Plain numbers, no oneDNN.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>

#include "core/dtype.h"

namespace lockstep {

enum class ConvPass : std::int64_t { kForward, kBackwardData, kBackwardFilter };

// x (n, c, h, w), filter (k, c / groups, r, s), y (n, k, p, q), all channels-last and dense. dtype f32 or bf16 is that of
// x, filter, y and their gradients; the bias and the filter's gradient are always f32. Sums are f32.
struct ConvProblem {
  ConvPass pass = ConvPass::kForward;
  std::int64_t n = 1, c = 1, h = 1, w = 1, k = 1, r = 1, s = 1, p = 1, q = 1;
  std::int64_t stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dilation_h = 1, dilation_w = 1, groups = 1;
  bool bias = false;  // forward only
  DType dtype = DType::kF32;
  auto operator<=>(const ConvProblem&) const = default;
};

// C (m, n) [+]= A (m, k) B (k, n) [+ bias (n)], row-major. Transposed: A lies as (k, m), B as (n, k). dtype is that of A and
// B; with bf16, C may be bf16 or f32. The bias is f32.
struct MatmulProblem {
  std::int64_t m = 1, n = 1, k = 1;
  bool a_transposed = false, b_transposed = false, bias = false, accumulate = false;
  DType dtype = DType::kF32, output = DType::kF32;
  auto operator<=>(const MatmulProblem&) const = default;
};

// For error messages: the pass, the shapes and the dtype.
std::string describe(const ConvProblem& problem);
std::string describe(const MatmulProblem& problem);

// Elements and dtypes of x, filter, y, or of A, B, C.
std::array<std::int64_t, 3> operand_sizes(const ConvProblem& problem);
std::array<std::int64_t, 3> operand_sizes(const MatmulProblem& problem);
std::array<DType, 3> operand_dtypes(const ConvProblem& problem);
std::array<DType, 3> operand_dtypes(const MatmulProblem& problem);

// The same problem with f32 operands.
ConvProblem widened(ConvProblem problem);
MatmulProblem widened(MatmulProblem problem);

// True for the 1x1 convolutions that run faster as the matrix product of pixels and filters, matmul_problem's.
bool is_matmul(const ConvProblem& problem);
MatmulProblem matmul_problem(const ConvProblem& problem);

}  // namespace lockstep
