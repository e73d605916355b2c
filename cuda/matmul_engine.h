// MatmulEngine: who multiplies matrices on the device: cuBLASLt, or loops in the tests' emulated device.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/dtype.h"
#include "cuda/cuda_backend.h"

namespace lockstep::cuda {

// c (m, n) = op(a) op(b) [+ c], all row-major without gaps: a is (m, k), or (k, m) if transpose_a; b is (k, n), or (n, k) if
// transpose_b. Sums in f32.
struct MatmulProblem {
  std::int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false, transpose_b = false;
  DType input = DType::kF16;   // of a and b
  DType output = DType::kF16;  // of c: input or f32
  bool accumulate = false;
  bool tf32 = true;  // f32 only
  bool operator==(const MatmulProblem&) const = default;
};

class MatmulEngine {
 public:
  virtual ~MatmulEngine() = default;
  virtual std::size_t workspace_bytes(const MatmulProblem& problem) = 0;
  // Deterministic: same problem, same bits. Rows of any length: no alignment of m, n, k is asked for.
  virtual void run(Stream stream, const MatmulProblem& problem, const void* a, const void* b, void* c, void* workspace) = 0;
};

std::unique_ptr<MatmulEngine> make_matmul_engine(const CudaOptions& options, Accelerator& accelerator);

}  // namespace lockstep::cuda
