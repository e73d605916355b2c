// OpLog: what TracingKernels saw: every kernel call with its shapes, its arithmetic, its memory traffic and its time.
// The source of `bench ops`, of `bench step`'s time shares and of the op spans in a trace.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "ops/kernels.h"

namespace lockstep {

// kNormConvolution: a convolution whose input is normalised on the way in; its time holds that normalisation too.
enum class OpClass : std::uint8_t { kConvolution, kNormConvolution, kMatmul, kNorm, kElementwise, kPooling, kLoss, kInput, kOptimizer };
inline constexpr std::size_t kOpClasses = 9;
std::string_view op_class_name(OpClass op_class);  // "convolution", "matmul", "batch norm", ...
constexpr bool is_convolution(OpClass op_class) { return op_class == OpClass::kConvolution || op_class == OpClass::kNormConvolution; }
constexpr bool is_arithmetic(OpClass op_class) { return is_convolution(op_class) || op_class == OpClass::kMatmul; }

struct OpCall {
  static constexpr std::size_t kMaxShapes = 3;
  const char* name = nullptr;  // the function of ops/kernels.h
  OpClass op_class = OpClass::kElementwise;
  DType dtype = DType::kF32;  // of the activations
  std::array<Shape, kMaxShapes> shapes;  // convolution, matmul: x, w, y; otherwise of the main operand
  std::size_t shape_count = 0;
  Conv2dParams conv;             // convolutions
  const char* variant = "";      // what changes the work: "residual", "accumulate", ...
  double flops = 0;              // multiplications and additions of a direct convolution or a matrix product; otherwise 0
  double bytes = 0;              // every operand once, those that are read and written twice
  std::int64_t begin_ns = 0, end_ns = 0;

  double ms() const { return static_cast<double>(end_ns - begin_ns) * 1e-6; }
  std::string shape_text() const;             // "(16, 64, 56, 56) * (64, 64, 3, 3)"
  bool same_work(const OpCall& other) const;  // all but the times
};

// Calls in the order in which they ended. The capacity is given once: recording allocates nothing. Threads may take turns
// with an order between them (ShardCrew), not record at the same time.
class OpLog {
 public:
  explicit OpLog(std::size_t capacity) { calls_.reserve(capacity); }
  std::int64_t add(const OpCall& call);  // its index; -1: full, and counted
  void clear() {
    calls_.clear();
    dropped_ = 0;
  }
  const std::vector<OpCall>& calls() const { return calls_; }
  std::uint64_t dropped() const { return dropped_; }

 private:
  std::vector<OpCall> calls_;
  std::uint64_t dropped_ = 0;
};

// 2 multiply-adds per output element, input channel and filter tap. w (K, C/groups, R, S), y (N, K, P, Q).
double conv_flops(const Shape& w, const Shape& y);

// The calls of equal work of several steps, summed.
struct OpGroup {
  OpCall call;                     // one of them
  std::int64_t calls = 0;          // per step
  std::vector<double> step_ms;     // by step: all calls together
  double median_ms = 0;            // of step_ms
};
// `steps`: for each step the index of its first call; the last step ends with the log. Groups in the order of their first call.
std::vector<OpGroup> group_ops(const OpLog& log, const std::vector<std::size_t>& steps);

}  // namespace lockstep
