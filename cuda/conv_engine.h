// ConvEngine: who computes convolutions on the device: cuDNN's graphs (cuda/cudnn), or loops in the tests' emulated device.
//
// Eight patterns, as cuDNN plans them. What surrounds them (padding channels, f32 filter gradients and adding to them, moments
// from sums, which pattern to take) is cuda/convolution.cpp's.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "core/dtype.h"
#include "core/shape.h"
#include "cuda/cuda_backend.h"
#include "ops/kernels.h"

namespace lockstep::cuda {

// z = relu(x * scale + bias) per channel, rounded to x's dtype; scale and bias (C) in x's dtype. xhat = (x - mean) * inv_std.
enum class ConvPattern : std::uint8_t {
  kForward,             // y = conv(x, w)
  kForwardSums,         // and sum, square_sum (K) f32 of y's elements per channel
  kNormForwardSums,     // y = conv(z, w), and the sums
  kBackwardData,        // dx = data gradient of dy
  kBackwardDataAdd,     // dx += that, rounded once
  kNormBackwardData,    // dz = that, 0 where xhat * gamma + beta <= 0; sum_g = sum dz, sum_g_xhat = sum dz * xhat; (C) f32
  kBackwardFilter,      // dw = filter gradient of x and dy
  kNormBackwardFilter,  // the same of z and dy
};
constexpr int kConvPatterns = 8;
const char* name_of(ConvPattern pattern);

struct ConvProblem {
  ConvPattern pattern = ConvPattern::kForward;
  DType dtype = DType::kF16;  // of x, y, w and their gradients; dw has it too
  Shape x, w;                 // (N, C, H, W), (K, C / groups, R, S)
  Conv2dParams params;
  bool tf32 = true;  // f32 only
  bool operator==(const ConvProblem&) const = default;
};
Shape output_shape(const ConvProblem& problem);  // y: (N, K, P, Q)
// One line, unique: "forward f16 x256,64,56,56 w64,64,3,3 s1,1 p1,1 d1,1 g1". The key of caches, choices and messages.
std::string describe(const ConvProblem& problem);
struct ConvProblemHash {
  std::size_t operator()(const ConvProblem& problem) const;
};

// The problem that is computed for it: 16-bit images of fewer than 4 channels get more (zeros, in x and w), because tensor cores
// read 4 or 8 at a time and cuDNN would widen them in its workspace, or read them one by one.
ConvProblem with_padded_channels(const ConvProblem& problem);

// Addresses on the device; each pattern takes those that its comment names. 16-byte aligned; nothing overlaps.
struct ConvArguments {
  const void* x = nullptr;
  const void* w = nullptr;
  const void* dy = nullptr;
  const void* scale = nullptr;
  const void* bias = nullptr;
  const void* mean = nullptr;     // f32 (C), like the next three
  const void* inv_std = nullptr;
  const void* gamma = nullptr;
  const void* beta = nullptr;
  void* out = nullptr;            // y, dx (read too when adding), dz or dw
  void* sum = nullptr;            // or sum_g
  void* square_sum = nullptr;     // or sum_g_xhat
};

class ConvEngine {
 public:
  virtual ~ConvEngine() = default;
  // Plans it if that was not done before (up to a second, once); then remembers. False: no plan, use the plain patterns.
  virtual bool supports(const ConvProblem& problem) = 0;
  virtual std::size_t workspace_bytes(const ConvProblem& problem) = 0;  // of a supported one
  // Deterministic. EnvironmentError for an unsupported one.
  virtual void run(Stream stream, const ConvProblem& problem, const ConvArguments& arguments, void* workspace) = 0;
  virtual std::map<std::string, std::string> choices() const = 0;  // describe(problem) -> engine and its knobs
  virtual void use_choices(const std::map<std::string, std::string>& choices) = 0;
};

// `accelerator` must outlive it.
std::unique_ptr<ConvEngine> make_conv_engine(const CudaOptions& options, Accelerator& accelerator);

}  // namespace lockstep::cuda
