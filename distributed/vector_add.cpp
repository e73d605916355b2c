// SPDX-License-Identifier: Apache-2.0
#include "distributed/vector_add.h"

#include <bit>
#include <string>

#include "core/error.h"

namespace lockstep {
namespace {

template <class T>
void add_loop(T* out, const T* left, const T* right, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = left[i] + right[i];
}

template <class T>
void divide_loop(T* values, std::int64_t n, std::int64_t divisor) {
  if (divisor == 1) return;
  const T d = static_cast<T>(divisor);
  if (std::has_single_bit(static_cast<std::uint64_t>(divisor))) {
    const T factor = T{1} / d;
    for (std::int64_t i = 0; i < n; ++i) values[i] *= factor;
  } else {
    for (std::int64_t i = 0; i < n; ++i) values[i] /= d;
  }
}

[[noreturn]] void unsupported(DType dtype) {
  throw InternalError("reduction of " + std::string(dtype_name(dtype)) + "; only f32 and f64 are reduced");
}

}  // namespace

void add_arrays(DType dtype, void* out, const void* left, const void* right, std::int64_t n) {
  if (dtype == DType::kF32)
    add_loop(static_cast<float*>(out), static_cast<const float*>(left), static_cast<const float*>(right), n);
  else if (dtype == DType::kF64)
    add_loop(static_cast<double*>(out), static_cast<const double*>(left), static_cast<const double*>(right), n);
  else
    unsupported(dtype);
}

void encode_bf16(bf16* out, const float* values, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = bf16(values[i]);
}

void decode_bf16(float* out, const bf16* values, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(values[i]);
}

void round_to_bf16(float* values, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) values[i] = static_cast<float>(bf16(values[i]));
}

void divide_array(DType dtype, void* values, std::int64_t n, std::int64_t divisor) {
  if (dtype == DType::kF32)
    divide_loop(static_cast<float*>(values), n, divisor);
  else if (dtype == DType::kF64)
    divide_loop(static_cast<double*>(values), n, divisor);
  else
    unsupported(dtype);
}

}  // namespace lockstep
