// The table of all ops. An op that is listed here is enrolled in every generic test: gradients, determinism, backend
// parity, mutation. Its samples are small named inputs: size 1, odd sizes, strides, padding, dilation, groups.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ops/context.h"
#include "ops/work.h"

namespace lockstep {

enum class InputRole : std::uint8_t {
  kVariable,   // on the tape; its gradient is checked
  kConstant,   // a Var without a gradient
  kParameter,  // its gradient goes to the sink and is checked
  kBuffer,     // running statistics
  kLabels,     // i32 in [low, high)
  kMixRows,    // i32 (n, 8): rows of core/mix_row.h of every kind; labels and boxes within [0, high)
  kBytes,      // u8 in [low, high)
};

struct SampleInput {
  std::string name;
  Shape shape;
  InputRole role = InputRole::kVariable;
  double low = -1, high = 1;  // uniform values
  bool distinct = false;      // evenly spaced values in random order: no two are nearer than (high - low) / numel
};

// The inputs of one call, by role, each in the order of the sample's inputs.
struct SampleValues {
  std::vector<Var> vars;  // kVariable and kConstant
  std::vector<Parameter> parameters;
  std::vector<Buffer> buffers;
  std::vector<Tensor> tensors;  // kLabels, kMixRows and kBytes
};

using SampleRun = std::function<Var(Context&, const SampleValues&)>;

struct OpSample {
  std::string name;
  std::vector<SampleInput> inputs;
  SampleRun run;
  // Where the op is not differentiable: values that must all stay away from 0 (a ReLU's argument). Empty: smooth, but for
  // ties, which `distinct` inputs exclude.
  SampleRun kink = {};
  bool training = true;
  Work work{};  // that one forward call asks for, by the op's <op>_work
};

struct OpSpec {
  std::string name;
  std::vector<OpSample> samples;
};

// In the order of registry.cpp; built once.
std::span<const OpSpec> all_ops();

}  // namespace lockstep
