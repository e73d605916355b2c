// Linear: which product, in which types. A 16-bit layer whose output is f32 (a classifier) has an f32 gradient beside 16-bit
// operands, which no library multiplies: the operand is widened in scratch, so that dy keeps its digits and its range.
// SPDX-License-Identifier: Apache-2.0
#include "cuda/linear.h"

#include "core/rehearsal.h"

#include <utility>

#include "core/accelerator.h"
#include "cuda/kernels/elementwise.h"

namespace lockstep::cuda {
namespace {

Tensor scratch_like(ConstView view, DType dtype) { return Tensor::empty(view.shape, dtype, view.device); }

// The view itself if it is f32, else a copy that `memory` keeps.
ConstView widened(Stream stream, ConstView view, Tensor& memory) {
  if (view.dtype == DType::kF32) return view;
  memory = scratch_like(view, DType::kF32);
  convert(stream, view, memory);
  return memory;
}

void multiply(MatmulEngine& engine, Stream stream, const MatmulProblem& problem, ConstView a, ConstView b, View c) {
  if (c.numel() == 0) return;
  if (problem.k == 0) {  // an empty batch
    if (!problem.accumulate)
      accelerator_of(c.device).fill_zero(stream, c.ptr, static_cast<std::size_t>(c.numel()) * dtype_size(c.dtype));
    return;
  }
  Tensor workspace = Tensor::empty({static_cast<std::int64_t>(engine.workspace_bytes(problem))}, DType::kU8, c.device);
  if (!Rehearsal::active()) engine.run(stream, problem, a.ptr, b.ptr, c.ptr, workspace.ptr());
}

}  // namespace

Linear::Linear(std::unique_ptr<MatmulEngine> engine, const CudaOptions& options) : engine_(std::move(engine)), tf32_(options.tf32) {}

void Linear::forward(Stream stream, ConstView x, ConstView w, ConstView bias, View y) {
  MatmulProblem problem{.m = x.shape[0], .n = w.shape[0], .k = x.shape[1], .transpose_b = true, .input = x.dtype, .output = y.dtype, .tf32 = tf32_};
  if (!bias) return multiply(*engine_, stream, problem, x, w, y);
  // The sum with the bias is rounded once: it is made in f32.
  problem.output = DType::kF32;
  Tensor memory;
  View product = y;
  if (y.dtype != DType::kF32) {
    memory = scratch_like(y, DType::kF32);
    product = memory;
  }
  multiply(*engine_, stream, problem, x, w, product);
  add_bias(stream, product, bias, y);
}

void Linear::backward_data(Stream stream, ConstView dy, ConstView w, View dx, GradMode mode) {
  MatmulProblem problem{.m = dy.shape[0], .n = w.shape[1], .k = w.shape[0], .input = dy.dtype, .output = dx.dtype,
                        .accumulate = mode == GradMode::kAccumulate, .tf32 = tf32_};
  if (dy.dtype == w.dtype) return multiply(*engine_, stream, problem, dy, w, dx);
  Tensor wide_w, wide_dx = scratch_like(dx, DType::kF32);
  problem.output = DType::kF32;
  problem.accumulate = false;
  multiply(*engine_, stream, problem, dy, widened(stream, w, wide_w), wide_dx);
  convert_accumulate(stream, wide_dx, dx, mode);
}

void Linear::backward_weight(Stream stream, ConstView x, ConstView dy, View dw, GradMode mode) {
  Tensor wide_x;
  const ConstView input = dy.dtype == DType::kF32 ? widened(stream, x, wide_x) : x;
  multiply(*engine_, stream,
           {.m = dy.shape[1], .n = x.shape[1], .k = x.shape[0], .transpose_a = true, .input = dy.dtype, .output = DType::kF32,
            .accumulate = mode == GradMode::kAccumulate, .tf32 = tf32_},
           dy, input, dw);
}

}  // namespace lockstep::cuda
