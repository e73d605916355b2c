// DnnlPrimitive: one prepared call of oneDNN with all that its execution needs, made from a problem. The one header that
// knows oneDNN's; only dnnl_primitive.cpp knows that its versions 2.x and 3.x differ.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <dnnl.hpp>
#include <string>

#include "cpu/fast/dnnl_problem.h"

namespace lockstep {

// One argument of a primitive: where the caller's data lies, and, if the primitive wants another order, how to get there.
struct DnnlOperand {
  int argument = 0;
  bool output = false;
  dnnl::memory plain, internal;  // internal is used only when reorder is set
  dnnl::reorder reorder;
  dnnl::memory reorder_scratch;
  std::size_t internal_bytes = 0, scratch_bytes = 0;
  bool reordered() const { return static_cast<bool>(reorder); }
};

struct DnnlPrimitive {
  dnnl::primitive primitive;
  dnnl::memory scratch;
  std::size_t scratch_bytes = 0;
  std::array<DnnlOperand, 4> operands;
  std::size_t operand_count = 0;
  std::string implementation;
  bool plain_loops() const { return implementation.starts_with("ref"); }
};

// Operands in the order x, filter, y [, bias] for convolutions, whatever the pass; a, b, c [, bias] for matmul. Throws
// dnnl::error when the library has no implementation.
DnnlPrimitive make_primitive(const ConvProblem& problem, const dnnl::engine& engine);
DnnlPrimitive make_primitive(const MatmulProblem& problem, const dnnl::engine& engine);

}  // namespace lockstep
