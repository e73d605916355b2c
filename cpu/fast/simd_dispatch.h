// The one place that decides which instruction set our own kernels use.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>

#include "cpu/fast/simd/simd_kernels.h"

namespace lockstep {

// The best table that this machine can run, or the one that LOCKSTEP_SIMD=scalar|avx2|avx512 names (UserError when it
// is unknown, EnvironmentError when this machine lacks it). Reads the environment at each call.
const simd::SimdKernels& select_simd_kernels();

// Names of the tables that this machine can run, best first.
std::span<const std::string_view> available_simd();

}  // namespace lockstep
