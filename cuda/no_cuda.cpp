// A build without CUDA: the front door of the backend says how to enable it. No other function of the backend is called then.
// SPDX-License-Identifier: Apache-2.0
#include "core/error.h"
#include "cuda/cuda_backend.h"

namespace lockstep {
namespace {

constexpr const char* kMissing =
    "this binary is built without the CUDA backend; build it with preset cuda (tools/setup.sh --cuda; tools/build.sh cuda lockstep), "
    "or compute on the CPU: --set backend=AUTO (and --set precision=FP32 for a run in FP16)";

}  // namespace

CudaReport cuda_report() {
  CudaReport report;
  report.missing = kMissing;
  return report;
}

std::unique_ptr<Kernels> make_cuda_kernels(const CudaOptions&) { throw EnvironmentError(std::string("cuda: ") + kMissing); }
Accelerator& start_accelerator(int) { throw EnvironmentError(std::string("cuda: ") + kMissing); }

}  // namespace lockstep
