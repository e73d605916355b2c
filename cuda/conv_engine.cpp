// SPDX-License-Identifier: Apache-2.0
#include "cuda/conv_engine.h"

#include <array>

#include "core/error.h"
#include "ops/conv2d.h"

namespace lockstep::cuda {
namespace {

std::string numbers(const Shape& shape) {
  std::string text;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (axis > 0) text += ',';
    text += std::to_string(shape[axis]);
  }
  return text;
}

std::string numbers(const Pair& pair) { return std::to_string(pair.h) + "," + std::to_string(pair.w); }

}  // namespace

const char* name_of(ConvPattern pattern) {
  constexpr std::array<const char*, kConvPatterns> kNames{"forward",           "forward_sums",       "norm_forward_sums", "backward_data",
                                                         "backward_data_add", "norm_backward_data", "backward_filter",   "norm_backward_filter"};
  return kNames[static_cast<std::size_t>(pattern)];
}

Shape output_shape(const ConvProblem& problem) { return conv2d_shape(problem.x, problem.w, problem.params); }

std::string describe(const ConvProblem& problem) {
  const Conv2dParams& p = problem.params;
  const bool tf32 = problem.dtype == DType::kF32 && problem.tf32;
  return std::string(name_of(problem.pattern)) + " " + std::string(dtype_name(problem.dtype)) + (tf32 ? " tf32" : "") + " x" +
         numbers(problem.x) + " w" + numbers(problem.w) + " s" + numbers(p.stride) + " p" + numbers(p.pad) + " d" + numbers(p.dilation) +
         " g" + std::to_string(p.groups);
}

std::size_t ConvProblemHash::operator()(const ConvProblem& problem) const {
  std::uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a over the numbers, mixed as splitmix64 does
  const auto mix = [&](std::int64_t value) {
    hash = (hash ^ static_cast<std::uint64_t>(value)) * 0x100000001b3u;
    hash ^= hash >> 29;
  };
  mix(static_cast<int>(problem.pattern) * 64 + static_cast<int>(problem.dtype) * 2 + (problem.tf32 ? 1 : 0));
  for (int axis = 0; axis < 4; ++axis) mix(problem.x[axis]), mix(problem.w[axis]);
  const Conv2dParams& p = problem.params;
  for (const Pair& pair : {p.stride, p.pad, p.dilation}) mix(pair.h), mix(pair.w);
  mix(p.groups);
  return static_cast<std::size_t>(hash);
}

// What cuDNN 9.19 does on sm_90 with a 7x7 stem: forward in f16 takes 4 channels as they are; in bf16, and for filter
// gradients in both, its engines take 8 and copy x into 8 first. In f32 they gain nothing from either (docs/cudnn_plans.md).
ConvProblem with_padded_channels(const ConvProblem& problem) {
  const bool filter_gradient = problem.pattern == ConvPattern::kBackwardFilter;
  const bool image = problem.dtype != DType::kF32 && problem.params.groups == 1 && problem.x[1] < 4;
  if (!image || !(problem.pattern == ConvPattern::kForward || filter_gradient)) return problem;
  const std::int64_t channels = problem.dtype == DType::kF16 && !filter_gradient ? 4 : 8;
  ConvProblem padded = problem;
  padded.x.set(1, channels);
  padded.w.set(1, channels);
  return padded;
}

}  // namespace lockstep::cuda
