// Backward passes that are broken on purpose. The gradient check must notice every one of them.
//
// A kernel mutant is a decorator around a backend that spoils what one kernel delivers, or one of its arguments. A tape
// mutant spoils the gradient of an op's inputs as they leave the op, for ops that need no kernel to pass it on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ops/registry.h"

namespace lockstep {

struct Mutant {
  std::string op;      // whose samples must notice it
  std::string kernel;  // empty: a tape mutant
  std::string change;
};

// Every kernel that a backward pass calls, spoilt in every way that applies to it; tape mutants for all ops.
std::vector<Mutant> all_mutants();

std::unique_ptr<Kernels> make_mutant_kernels(Kernels& inner, const Mutant& mutant);

// x, by an identity whose backward is spoilt.
Var spoilt_identity(Context& ctx, const Var& x, const std::string& change);

}  // namespace lockstep
