// Whether this process may use AMX tiles on bf16, and our kernels for them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cpu/fast/simd/amx_kernels.h"

namespace lockstep {

// Null when the processor or the system lacks AMX-BF16 or AVX-512 (F, BW, DQ, VL), or LOCKSTEP_SIMD or LOCKSTEP_AMX=0
// forbids it. Asks the kernel for the tile registers on the first call; reads the environment at each.
const simd::AmxKernels* select_amx_kernels();

}  // namespace lockstep
