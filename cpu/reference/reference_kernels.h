// The reference backend: plain loops over f64 or f32 storage, every sum in double. Slow, obvious, the truth that all other
// backends are compared with.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "ops/kernels.h"

namespace lockstep {

// Single-threaded; every call has finished when it returns. May be shared by threads: it has no state. bf16 and f16 throw
// EnvironmentError.
std::unique_ptr<Kernels> make_reference_kernels();

}  // namespace lockstep
