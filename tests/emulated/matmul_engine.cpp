// The MatmulEngine of the emulated device: plain loops. It spoils its workspace first, as a library may.
// SPDX-License-Identifier: Apache-2.0
#include "cuda/matmul_engine.h"

#include <cstring>
#include <memory>
#include <vector>

#include "cuda/numeric.h"

namespace lockstep::cuda {
namespace {

constexpr std::size_t kWorkspaceBytes = 4096;

template <class In, class Out>
void multiply(const MatmulProblem& p, const In* a, const In* b, Out* c) {
  std::vector<float> row(static_cast<std::size_t>(p.n));
  for (std::int64_t i = 0; i < p.m; ++i) {
    std::fill(row.begin(), row.end(), 0.0f);
    for (std::int64_t l = 0; l < p.k; ++l) {
      const float left = to_float(p.transpose_a ? a[l * p.m + i] : a[i * p.k + l]);
      for (std::int64_t j = 0; j < p.n; ++j)
        row[static_cast<std::size_t>(j)] += left * to_float(p.transpose_b ? b[j * p.k + l] : b[l * p.n + j]);
    }
    for (std::int64_t j = 0; j < p.n; ++j) {
      Out& out = c[i * p.n + j];
      out = from_float<Out>(row[static_cast<std::size_t>(j)] + (p.accumulate ? to_float(out) : 0.0f));
    }
  }
}

class LoopEngine final : public MatmulEngine {
 public:
  std::size_t workspace_bytes(const MatmulProblem&) override { return kWorkspaceBytes; }

  void run(Stream stream, const MatmulProblem& problem, const void* a, const void* b, void* c, void* workspace) override {
    enqueue_work(stream, [workspace] { std::memset(workspace, 0xff, kWorkspaceBytes); });
    with_element_type(problem.input, "matmul", [&](auto in) {
      using In = decltype(in);
      LS_CHECK(problem.output == problem.input || problem.output == DType::kF32, "matmul: output dtype");
      enqueue_work(stream, [=, left = static_cast<const In*>(a), right = static_cast<const In*>(b)] {
        if (problem.output == DType::kF32) return multiply(problem, left, right, static_cast<float*>(c));
        multiply(problem, left, right, static_cast<In*>(c));
      });
    });
  }
};

}  // namespace

std::unique_ptr<MatmulEngine> make_matmul_engine(const CudaOptions&, Accelerator&) { return std::make_unique<LoopEngine>(); }

}  // namespace lockstep::cuda
