// SPDX-License-Identifier: Apache-2.0
#include "distributed/vector_add.h"

#include <bit>
#include <string>

#include "core/error.h"

namespace lockstep {
namespace {

// Each loop exists for the baseline's 16-byte vectors and for 32 and 64 bytes. Adding is a matter of memory, or of the
// second-level cache, where width counts; the conversions are a dozen integer operations an element and always gain.
// "ivdep": an output may be an input, element for element; nothing depends on another iteration.
#define LS_LOOP(name, parameters, arguments, body)                                              \
  [[gnu::always_inline]] inline void name##_loop parameters {                                   \
    _Pragma("GCC ivdep") for (std::int64_t i = 0; i < n; ++i) body;                             \
  }                                                                                             \
  void name##_narrow parameters { name##_loop arguments; }                                      \
  LS_TARGET("avx2") void name##_wide parameters { name##_loop arguments; }                      \
  LS_TARGET("avx512f,avx512bw,avx512vl,prefer-vector-width=512") void name##_widest parameters { name##_loop arguments; } \
  void name parameters {                                                                        \
    if (vector_width == 64)                                                                     \
      name##_widest arguments;                                                                  \
    else if (vector_width == 32)                                                                \
      name##_wide arguments;                                                                    \
    else                                                                                        \
      name##_narrow arguments;                                                                  \
  }

#if defined(__x86_64__)
#define LS_TARGET(features) __attribute__((target(features)))
int widest_vector() {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512vl") != 0)
    return 64;
  return __builtin_cpu_supports("avx2") != 0 ? 32 : 16;
}
const int vector_width = widest_vector();
#else
#define LS_TARGET(features)
constexpr int vector_width = 16;
#endif

LS_LOOP(add_f32, (float* out, const float* left, const float* right, std::int64_t n), (out, left, right, n),
        out[i] = left[i] + right[i])
LS_LOOP(add_f64, (double* out, const double* left, const double* right, std::int64_t n), (out, left, right, n),
        out[i] = left[i] + right[i])
LS_LOOP(scale_f32, (float* values, std::int64_t n, float factor), (values, n, factor), values[i] *= factor)
LS_LOOP(divide_f32, (float* values, std::int64_t n, float divisor), (values, n, divisor), values[i] /= divisor)
LS_LOOP(encode, (bf16* out, const float* values, std::int64_t n), (out, values, n), out[i] = bf16(values[i]))
LS_LOOP(decode, (float* out, const bf16* values, std::int64_t n), (out, values, n), out[i] = static_cast<float>(values[i]))
LS_LOOP(round, (float* values, std::int64_t n), (values, n), values[i] = static_cast<float>(bf16(values[i])))
LS_LOOP(add_two_scaled,
        (float* first, float* second, const float* left, const float* right, std::int64_t n, float factor),
        (first, second, left, right, n, factor), {
          const float sum = (left[i] + right[i]) * factor;
          first[i] = sum;
          second[i] = sum;
        })
LS_LOOP(add_two_divided,
        (float* first, float* second, const float* left, const float* right, std::int64_t n, float divisor),
        (first, second, left, right, n, divisor), {
          const float sum = (left[i] + right[i]) / divisor;
          first[i] = sum;
          second[i] = sum;
        })

bool is_exact_reciprocal(std::int64_t divisor) { return std::has_single_bit(static_cast<std::uint64_t>(divisor)); }

[[noreturn]] void unsupported(DType dtype) {
  throw InternalError("reduction of " + std::string(dtype_name(dtype)) + "; only f32 and f64 are reduced");
}

}  // namespace

void add_arrays(DType dtype, void* out, const void* left, const void* right, std::int64_t n) {
  if (dtype == DType::kF32)
    add_f32(static_cast<float*>(out), static_cast<const float*>(left), static_cast<const float*>(right), n);
  else if (dtype == DType::kF64)
    add_f64(static_cast<double*>(out), static_cast<const double*>(left), static_cast<const double*>(right), n);
  else
    unsupported(dtype);
}

void add_two(float* first, float* second, const float* left, const float* right, std::int64_t n, std::int64_t divisor) {
  if (is_exact_reciprocal(divisor))
    add_two_scaled(first, second, left, right, n, 1.0F / static_cast<float>(divisor));
  else
    add_two_divided(first, second, left, right, n, static_cast<float>(divisor));
}

void encode_bf16(bf16* out, const float* values, std::int64_t n) { encode(out, values, n); }
void decode_bf16(float* out, const bf16* values, std::int64_t n) { decode(out, values, n); }
void round_to_bf16(float* values, std::int64_t n) { round(values, n); }

void divide_array(DType dtype, void* values, std::int64_t n, std::int64_t divisor) {
  if (divisor == 1) return;
  if (dtype == DType::kF64) {
    auto* doubles = static_cast<double*>(values);
    const double d = static_cast<double>(divisor), reciprocal = 1 / d;
    if (is_exact_reciprocal(divisor))
      for (std::int64_t i = 0; i < n; ++i) doubles[i] *= reciprocal;
    else
      for (std::int64_t i = 0; i < n; ++i) doubles[i] /= d;
  } else if (dtype == DType::kF32) {
    auto* floats = static_cast<float*>(values);
    if (is_exact_reciprocal(divisor))
      scale_f32(floats, n, 1.0F / static_cast<float>(divisor));
    else
      divide_f32(floats, n, static_cast<float>(divisor));
  } else {
    unsupported(dtype);
  }
}

}  // namespace lockstep
