// Apart from the engine, because tests/cudnn_offline asks too, without an emulated device.
// SPDX-License-Identifier: Apache-2.0
#include "tests/emulated/conv_engine.h"

namespace lockstep::cuda::emulated {

bool is_plain(ConvPattern pattern) {
  return pattern == ConvPattern::kForward || pattern == ConvPattern::kBackwardData || pattern == ConvPattern::kBackwardDataAdd ||
         pattern == ConvPattern::kBackwardFilter;
}

bool plans_on_sm90(const ConvProblem& problem) {
  if (is_plain(problem.pattern)) return true;
  return problem.dtype == DType::kF16 && problem.params.groups == 1 && problem.x[1] % 8 == 0 && problem.w[0] % 8 == 0 &&
         problem.w[2] * problem.w[3] <= 25;
}

}  // namespace lockstep::cuda::emulated
