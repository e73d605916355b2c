// The MatmulEngine of cuBLASLt: one plan per problem, made at its first use and kept.
//
// cuBLASLt counts rows along memory (column-major), so our row-major product c = a b is its c^T = b^T a^T: the operands change
// places, and a matrix of r rows and s columns is to it one of s rows, r columns and leading dimension s.
//
// Deterministic: partial sums of a split k, if any, are added by a second kernel in f32 (no other reduction scheme is allowed), and
// the algorithm depends on the problem, the device and the library alone.
// SPDX-License-Identifier: Apache-2.0
#include <cublasLt.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "core/accelerator.h"
#include "core/error.h"
#include "cuda/matmul_engine.h"
#include "cuda/runtime.h"

namespace lockstep::cuda {
namespace {

// What cuBLAS's own documentation asks for on Hopper. A scratch block of the pool, only while the product runs.
constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;

std::string describe(const MatmulProblem& p) {
  return std::to_string(p.m) + "x" + std::to_string(p.n) + "x" + std::to_string(p.k) + (p.transpose_a ? " a^T" : "") + (p.transpose_b ? " b^T" : "") +
         " " + std::string(dtype_name(p.input)) + " -> " + std::string(dtype_name(p.output)) + (p.accumulate ? " +=" : "");
}

[[noreturn]] void failed(const char* call, const std::string& what, const std::string& reason) {
  const std::size_t version = cublasLtGetVersion();  // 130100: 13.1.0
  throw EnvironmentError("cuBLASLt " + std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
                         std::to_string(version % 100) + ", " + call + ": " + reason + (what.empty() ? "" : "\n  product " + what));
}
void check(cublasStatus_t status, const char* call, const MatmulProblem* problem = nullptr) {
  if (status != CUBLAS_STATUS_SUCCESS) failed(call, problem == nullptr ? "" : describe(*problem), cublasLtGetStatusString(status));
}

cudaDataType_t data_type(DType dtype) {
  switch (dtype) {
    case DType::kF32: return CUDA_R_32F;
    case DType::kBF16: return CUDA_R_16BF;
    case DType::kF16: return CUDA_R_16F;
    default: break;
  }
  throw EnvironmentError("cuda: matrix product in " + std::string(dtype_name(dtype)) + ": the GPU computes in f32, bf16 and f16");
}

template <class Handle, cublasStatus_t (*destroy)(Handle)>
struct Destroy {
  using pointer = Handle;
  void operator()(Handle handle) const { destroy(handle); }
};
template <class Handle, cublasStatus_t (*destroy)(Handle)>
using Owned = std::unique_ptr<Handle, Destroy<Handle, destroy>>;
using Operation = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;
using Library = Owned<cublasLtHandle_t, cublasLtDestroy>;

// A row-major matrix, as cuBLASLt sees it.
Layout layout_of(DType dtype, std::int64_t rows, std::int64_t columns) {
  cublasLtMatrixLayout_t layout = nullptr;
  check(cublasLtMatrixLayoutCreate(&layout, data_type(dtype), static_cast<std::uint64_t>(columns), static_cast<std::uint64_t>(rows), columns),
        "cublasLtMatrixLayoutCreate");
  return Layout(layout);
}

Operation operation_of(const MatmulProblem& problem) {
  const bool tf32 = problem.input == DType::kF32 && problem.tf32;
  cublasLtMatmulDesc_t operation = nullptr;
  check(cublasLtMatmulDescCreate(&operation, tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
  Operation owned(operation);
  const cublasOperation_t first = problem.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N, second = problem.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  check(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first), "cublasLtMatmulDescSetAttribute");
  check(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second), "cublasLtMatmulDescSetAttribute");
  return owned;
}

// The power of two, at most 16, that divides an address: what an algorithm may rely on. More is not told, so that the choice, and
// with it the bits, does not depend on where in the pool a tensor happens to lie (a multiple of 64).
std::uint32_t alignment_of(const void* address) {
  const auto bits = reinterpret_cast<std::uintptr_t>(address) | 16u;
  return static_cast<std::uint32_t>(bits & (~bits + 1));
}

struct Alignment {
  std::uint32_t a, b, c;
  bool operator==(const Alignment&) const = default;
};

Preference preference_of(const Alignment& alignment) {
  cublasLtMatmulPreference_t preference = nullptr;
  check(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
  Preference owned(preference);
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    check(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value), "cublasLtMatmulPreferenceSetAttribute");
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{kWorkspaceBytes});
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment.b);  // the operands have changed places
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment.a);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment.c);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment.c);
  return owned;
}

struct Plan {
  MatmulProblem problem;
  Alignment alignment;
  Operation operation;
  Layout a, b, c;
  cublasLtMatmulAlgo_t algorithm{};
  std::unique_ptr<Plan> next;
};

std::unique_ptr<Plan> make_plan(cublasLtHandle_t library, const MatmulProblem& problem, const Alignment& alignment) {
  auto plan = std::make_unique<Plan>(Plan{.problem = problem, .alignment = alignment, .operation = operation_of(problem),
                                          .a = problem.transpose_a ? layout_of(problem.input, problem.k, problem.m)
                                                                   : layout_of(problem.input, problem.m, problem.k),
                                          .b = problem.transpose_b ? layout_of(problem.input, problem.n, problem.k)
                                                                   : layout_of(problem.input, problem.k, problem.n),
                                          .c = layout_of(problem.output, problem.m, problem.n), .next = nullptr});
  const Preference preference = preference_of(alignment);
  cublasLtMatmulHeuristicResult_t result{};
  int found = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(library, plan->operation.get(), plan->b.get(), plan->a.get(), plan->c.get(),
                                                               plan->c.get(), preference.get(), 1, &result, &found);
  check(status, "cublasLtMatmulAlgoGetHeuristic", &problem);
  if (found == 0 || result.state != CUBLAS_STATUS_SUCCESS)
    failed("cublasLtMatmulAlgoGetHeuristic", describe(problem), "no deterministic algorithm for this product on this GPU; use another precision");
  plan->algorithm = result.algo;
  return plan;
}

class CublasEngine final : public MatmulEngine {
 public:
  explicit CublasEngine(int device) : device_(device) {
    runtime::use_device(device);  // a handle belongs to the device that was the thread's when it was made
    cublasLtHandle_t library = nullptr;
    check(cublasLtCreate(&library), "cublasLtCreate");
    library_.reset(library);
  }

  std::size_t workspace_bytes(const MatmulProblem&) override { return kWorkspaceBytes; }

  void run(Stream stream, const MatmulProblem& problem, const void* a, const void* b, void* c, void* workspace) override {
    runtime::use_device(device_);
    const Plan& plan = plan_of(problem, {alignment_of(a), alignment_of(b), alignment_of(c)});
    const float alpha = 1, beta = problem.accumulate ? 1 : 0;
    check(cublasLtMatmul(library_.get(), plan.operation.get(), &alpha, b, plan.b.get(), a, plan.a.get(), &beta, c, plan.c.get(), c, plan.c.get(),
                         &plan.algorithm, workspace, kWorkspaceBytes, static_cast<cudaStream_t>(stream.handle)),
          "cublasLtMatmul", &problem);
  }

 private:
  // Plans are only ever added, at the head, so that who looks for one needs no lock.
  const Plan* find(const MatmulProblem& problem, const Alignment& alignment) const {
    for (const Plan* plan = head_.load(std::memory_order_acquire); plan != nullptr; plan = plan->next.get())
      if (plan->problem == problem && plan->alignment == alignment) return plan;
    return nullptr;
  }

  const Plan& plan_of(const MatmulProblem& problem, const Alignment& alignment) {
    if (const Plan* plan = find(problem, alignment)) return *plan;
    const std::lock_guard lock(adding_);
    if (const Plan* plan = find(problem, alignment)) return *plan;
    std::unique_ptr<Plan> plan = make_plan(library_.get(), problem, alignment);
    plan->next = std::move(plans_);
    plans_ = std::move(plan);
    head_.store(plans_.get(), std::memory_order_release);
    return *plans_;
  }

  const int device_;
  Library library_;
  std::mutex adding_;
  std::unique_ptr<Plan> plans_;  // owns the list
  std::atomic<const Plan*> head_ = nullptr;
};

}  // namespace

std::unique_ptr<MatmulEngine> make_matmul_engine(const CudaOptions& options, Accelerator&) {
  return std::make_unique<CublasEngine>(options.device);
}

}  // namespace lockstep::cuda
