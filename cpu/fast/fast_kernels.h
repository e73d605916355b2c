// The fast CPU backend: oneDNN for convolution and matrix multiplication, our own vector kernels for the rest.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "ops/kernels.h"

namespace lockstep {

struct FastOptions {
  int threads = 1;
  bool winograd = true;  // false: convolutions are direct sums only
};

// Runs f32 and bf16. f64 calls go to the reference backend (same device, plain loops); f16 throws EnvironmentError by name.
// Every call finishes before it returns. Results are the same bits on every call, and our own kernels' (all but
// convolution and linear) also for any thread count; they may differ between instruction sets. `threads` > 1 splits
// single calls with OpenMP; 1, the right number when every core has a rank, never starts a thread. An instance keeps
// primitives and is for one thread at a time. Environment: LOCKSTEP_SIMD (cpu/fast/simd_dispatch.h) and
// LOCKSTEP_AMX=0 (amx_dispatch.h: no own kernels on tiles), read here; oneDNN has ONEDNN_MAX_CPU_ISA.
std::unique_ptr<Kernels> make_fast_kernels(const FastOptions& options);
std::unique_ptr<Kernels> make_fast_kernels(int threads);

}  // namespace lockstep
