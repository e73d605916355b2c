// The main of cuda_gpu_tests: skips by name where there is no GPU.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <string>

#include "cuda/cuda_backend.h"

namespace {

std::string& missing() {
  static std::string reason;
  return reason;
}

// The only test that is run when there is no GPU: it counts as a skip, with the reason.
TEST(Gpu, IsThere) {
  if (!missing().empty()) GTEST_SKIP() << "no test ran on a GPU: " << missing();
  EXPECT_FALSE(lockstep::cuda_report().gpus.empty());
}

}  // namespace

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  missing() = lockstep::cuda_report().missing;
  if (!missing().empty()) ::testing::GTEST_FLAG(filter) = "Gpu.IsThere";
  return RUN_ALL_TESTS();
}
