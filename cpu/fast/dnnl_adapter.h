// DnnlAdapter: convolution and matrix multiplication by oneDNN, on plain pointers, f32 and bf16. oneDNN's headers stay in
// dnnl_adapter.cpp and dnnl_primitive.*.
//
// Primitives are made on the first call of a kind and shape (milliseconds) and kept. A warm call runs them on scratch
// memory from the CPU pool and allocates nothing else. Not thread-safe: one adapter per rank.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "cpu/fast/dnnl_problem.h"

namespace lockstep {

// How bf16 products are computed here, by processor and by what ONEDNN_MAX_CPU_ISA allows.
enum class Bf16Products : std::uint8_t {
  kTiles,      // AMX
  kVectors,    // AVX512-BF16
  kConverted,  // operands widened to f32, results rounded: slower than f32 itself
};
Bf16Products bf16_products();
std::string bf16_support();  // for the user's eyes: "AMX", "AVX512-BF16" or "converted: f32 kernels"
bool bf16_is_fast();         // not converted

class DnnlAdapter {
 public:
  explicit DnnlAdapter(int threads);
  ~DnnlAdapter();
  DnnlAdapter(const DnnlAdapter&) = delete;
  DnnlAdapter& operator=(const DnnlAdapter&) = delete;

  // Pointers to elements of the problem's dtypes (dnnl_problem.h). The pass's output is overwritten: y, dx or dw. bias may be
  // null unless problem.bias. bf16 problems that oneDNN has no real kernel for run in f32 on converted copies. Throws
  // EnvironmentError with the problem's shape when oneDNN fails.
  void convolution(const ConvProblem& problem, const void* x, const void* filter, const float* bias, void* y);
  void convolution_backward_data(const ConvProblem& problem, const void* dy, const void* filter, void* dx);
  void convolution_backward_filter(const ConvProblem& problem, const void* x, const void* dy, float* dfilter);
  void matmul(const MatmulProblem& problem, const void* a, const void* b, const float* bias, void* c);

  // oneDNN's name for the kernel that it would run, e.g. "brgconv:avx512_core", "f32: " before it when the problem is run
  // on converted copies; for benchmarks and tests.
  std::string implementation(const ConvProblem& problem);
  std::string implementation(const MatmulProblem& problem);
  std::uint64_t primitives_created() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
