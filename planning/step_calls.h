// StepCalls: every kernel call of one training step or one evaluation, with its shapes, operations and bytes (train/trace_ops.h), found
// by rehearsing it (core/rehearsal.h): nothing is computed and no image is needed.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "models/model.h"
#include "train/trace_ops.h"

namespace lockstep {

// Of a forward and backward pass over `batch` images and the update of all weights, or of the forward pass alone; on the CPU's kernels,
// whose calls are what the ops ask for. `dtype`: of activations: f64, f32 or bf16; what is said of bf16 holds for f16.
// `model` comes with parameters of stats_dtype(dtype) on the host; their values are not read. Blocks: up to a second for a large network,
// for the kernels prepare themselves. Throws EnvironmentError when there is no address space for so many images.
std::vector<OpCall> step_calls(std::unique_ptr<Model> model, std::int64_t batch, DType dtype, bool training);

}  // namespace lockstep
