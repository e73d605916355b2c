// Numbers in device code: the three element types as float, packs of elements that are read and written at once.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include "core/dtype.h"
#include "core/error.h"
#include "cuda/launch.h"

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace lockstep::cuda {

// To float, exactly.
LS_DEVICE float to_float(float value) { return value; }
LS_DEVICE float to_float(bf16 value) {
  const std::uint32_t bits = static_cast<std::uint32_t>(value.bits) << 16;
  float result;
  memcpy(&result, &bits, sizeof result);
  return result;
}
LS_DEVICE float to_float(f16 value) {
#ifdef __CUDA_ARCH__
  return __half2float(__ushort_as_half(value.bits));
#else
  return static_cast<float>(value);
#endif
}

// From float, to nearest even. NaN stays NaN; what is too large for f16 becomes infinite.
template <class T>
LS_DEVICE T from_float(float value);
template <>
LS_DEVICE float from_float<float>(float value) {
  return value;
}
template <>
LS_DEVICE bf16 from_float<bf16>(float value) {
#ifdef __CUDA_ARCH__
  bf16 result;
  result.bits = __bfloat16_as_ushort(__float2bfloat16_rn(value));
  return result;
#else
  return bf16(value);
#endif
}
template <>
LS_DEVICE f16 from_float<f16>(float value) {
#ifdef __CUDA_ARCH__
  f16 result;
  result.bits = __half_as_ushort(__float2half_rn(value));
  return result;
#else
  return f16(value);
#endif
}

// N elements, read or written by one instruction when they fill 16 bytes (8 of 16 bits, 4 floats). The address must be a
// multiple of the pack's size.
template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T at[N];
};
template <class T>
constexpr int kPackSize = 16 / static_cast<int>(sizeof(T));

template <class T, int N>
LS_DEVICE Pack<T, N> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, N>*>(from);
}
template <class T, int N>
LS_DEVICE void store_pack(T* to, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

// Calls function(T{}) with T = float, bf16 or f16, the types of activations on a GPU.
template <class Function>
void with_element_type(DType dtype, const char* what, Function function) {
  switch (dtype) {
    case DType::kF32: return function(float{});
    case DType::kBF16: return function(bf16{});
    case DType::kF16: return function(f16{});
    default: break;
  }
  throw EnvironmentError(std::string("cuda: ") + what + " in " + std::string(dtype_name(dtype)) +
                         ": the GPU computes in f32, bf16 and f16; use precision FP32, BF16 or FP16, or backend: REFERENCE");
}

}  // namespace lockstep::cuda
