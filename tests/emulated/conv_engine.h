// The emulated device's convolutions: the patterns by the reference backend's loops.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cuda/conv_engine.h"

namespace lockstep::cuda::emulated {

// What cuDNN 9.19 plans for sm_90 (tests/cudnn_offline compares the two): the plain patterns always; the others in f16, in one
// group, with channel counts that are multiples of 8 and windows of up to 5 x 5.
bool plans_on_sm90(const ConvProblem& problem);
bool is_plain(ConvPattern pattern);

// From now on engines plan only the plain patterns (false), as on a GPU without the fused ones; or as above again.
void set_fused_patterns(bool offered);

}  // namespace lockstep::cuda::emulated
