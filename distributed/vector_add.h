// The loops of the reducer: add, convert, divide. Written plainly and compiled for several vector widths (the same bits);
// memory-bound beyond the caches.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace lockstep {

// out = left + right, elementwise, n elements of `dtype` (f32 or f64). out may be left or right, else no overlap.
void add_arrays(DType dtype, void* out, const void* left, const void* right, std::int64_t n);

// first = second = (left + right) / divisor. first and second may be left and right, in this order, else no overlap.
void add_two(float* first, float* second, const float* left, const float* right, std::int64_t n, std::int64_t divisor);

// f32 <-> bf16 (nearest even). No overlap.
void encode_bf16(bf16* out, const float* values, std::int64_t n);
void decode_bf16(float* out, const bf16* values, std::int64_t n);
void round_to_bf16(float* values, std::int64_t n);  // in place: decode(encode(x))

// values /= divisor; a power of two multiplies by its exact reciprocal.
void divide_array(DType dtype, void* values, std::int64_t n, std::int64_t divisor);

}  // namespace lockstep
