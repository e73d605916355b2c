// DnnlAdapter: convolution and matrix multiplication by oneDNN, on plain pointers. Only its .cpp sees oneDNN's headers, so
// that versions 2.x and 3.x differ in one file.
//
// Primitives are made on the first call of a kind and shape (milliseconds) and kept. A warm call runs them on scratch
// memory from the CPU pool and allocates nothing else. Not thread-safe: one adapter per rank.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <string>

namespace lockstep {

enum class ConvPass : std::int64_t { kForward, kBackwardData, kBackwardFilter };

// x (n, c, h, w), filter (k, c / groups, r, s), y (n, k, p, q), all channels-last and dense.
struct ConvProblem {
  ConvPass pass = ConvPass::kForward;
  std::int64_t n = 1, c = 1, h = 1, w = 1, k = 1, r = 1, s = 1, p = 1, q = 1;
  std::int64_t stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dilation_h = 1, dilation_w = 1, groups = 1;
  bool bias = false;  // forward only
  auto operator<=>(const ConvProblem&) const = default;
};

// C (m, n) [+]= A (m, k) B (k, n) [+ bias (n)], row-major. Transposed: A lies as (k, m), B as (n, k).
struct MatmulProblem {
  std::int64_t m = 1, n = 1, k = 1;
  bool a_transposed = false, b_transposed = false, bias = false, accumulate = false;
  auto operator<=>(const MatmulProblem&) const = default;
};

class DnnlAdapter {
 public:
  explicit DnnlAdapter(int threads);
  ~DnnlAdapter();
  DnnlAdapter(const DnnlAdapter&) = delete;
  DnnlAdapter& operator=(const DnnlAdapter&) = delete;

  // The pass's output is overwritten: y, dx or dw. Unused pointers of a pass are ignored. Throws EnvironmentError with
  // the problem's shape when oneDNN fails.
  void convolution(const ConvProblem& problem, const float* x, const float* filter, const float* bias, float* y);
  void convolution_backward_data(const ConvProblem& problem, const float* dy, const float* filter, float* dx);
  void convolution_backward_filter(const ConvProblem& problem, const float* x, const float* dy, float* dfilter);
  void matmul(const MatmulProblem& problem, const float* a, const float* b, const float* bias, float* c);

  // oneDNN's name for the kernel that it would run, e.g. "brgconv:avx512_core"; for benchmarks and tests.
  std::string implementation(const ConvProblem& problem);
  std::string implementation(const MatmulProblem& problem);
  std::uint64_t primitives_created() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
