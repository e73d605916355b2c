// What the batch norm kernels do with one thread's channels: reading their vectors, normalising, the ReLU's gate. One function
// serves the forward pass and the gate that backward recomputes, so that both agree to the bit.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "cuda/kernels/channel_tiles.h"
#include "cuda/kernels/units.h"
#include "ops/kernels.h"

namespace lockstep::cuda {

using Gate = ReluGate::Kind;

// NormVectors as pointers.
struct NormPointers {
  const float *mean = nullptr, *inv_std = nullptr, *gamma = nullptr, *beta = nullptr;
  NormPointers() = default;
  explicit NormPointers(const NormVectors& norm)
      : mean(norm.mean.data<float>()), inv_std(norm.inv_std.data<float>()), gamma(norm.gamma.data<float>()),
        beta(norm.beta ? norm.beta.data<float>() : nullptr) {}
};

// N neighbouring values of a per-channel vector. Such vectors may lie at any float's address (parameters in one buffer).
template <int N>
LS_DEVICE void load_channels(const float* from, float (&to)[N]) {
  if (N % 4 == 0 && reinterpret_cast<std::uintptr_t>(from) % 16 == 0) {
    for (int k = 0; k + 3 < N; k += 4) {
      const Pack<float, 4> four = load_pack<float, 4>(from + k);
      for (int j = 0; j < 4; ++j) to[k + j] = four.at[j];
    }
  } else {
    for (int k = 0; k < N; ++k) to[k] = from[k];
  }
}

// y = (x - mean) * inv_std * gamma + beta, written so: folding it to a * x + b would cancel where |mean| is much larger than the
// deviation. The multiplication and addition are one rounding, everywhere.
LS_DEVICE float normalise(float x, float mean, float scale, float beta) { return std::fma(x - mean, scale, beta); }

template <int N>
struct ChannelNorm {
  float mean[N], scale[N], beta[N];
  LS_DEVICE void load(const NormPointers& norm, std::int64_t channel) {
    float gamma[N];
    load_channels(norm.mean + channel, mean);
    load_channels(norm.inv_std + channel, scale);
    load_channels(norm.gamma + channel, gamma);
    for (int k = 0; k < N; ++k) {
      scale[k] *= gamma[k];
      beta[k] = 0;
    }
    if (norm.beta != nullptr) load_channels(norm.beta + channel, beta);
  }
  LS_DEVICE float operator()(float x, int k) const { return normalise(x, mean[k], scale[k], beta[k]); }
};

// NaN stays NaN.
LS_DEVICE float relu_of(float value) {
  return value <= 0 ? 0.0f : value;
}
// Whether `value` is positive as stored in T: above half of the smallest subnormal, at which it still rounds to 0.
template <class T>
LS_DEVICE bool stays_positive(float value) {
  return value > (std::is_same_v<T, f16> ? 0x1p-25f : std::is_same_v<T, bf16> ? 0x1p-134f : 0.0f);
}

// Bits of the mask for the N elements from `offset` on (a multiple of N), from bit 0.
template <int N>
LS_DEVICE unsigned mask_bits(const std::uint8_t* bits, std::int64_t offset) {
  static_assert(N == 8 || N == 1);
  const unsigned byte = bits[offset / 8];
  return N == 8 ? byte : byte >> static_cast<unsigned>(offset % 8);
}

// The rows of x (N,C,H,W) or (N,C): elements per channel.
inline std::int64_t rows_of(const Shape& shape) { return shape.rank() == 4 ? shape[0] * shape[2] * shape[3] : shape[0]; }

}  // namespace lockstep::cuda
