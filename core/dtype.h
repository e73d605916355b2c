// DType: the element types that a tensor can hold, and the two 16-bit floats as storage types.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace lockstep {

enum class DType : std::uint8_t { kF64, kF32, kBF16, kF16, kU8, kI32, kI64 };

std::size_t dtype_size(DType dtype);            // bytes of one element
std::string_view dtype_name(DType dtype);       // "f64", "f32", "bf16", "f16", "u8", "i32", "i64"
DType dtype_from_name(std::string_view name);   // throws UserError listing the names
bool is_floating(DType dtype);
double dtype_epsilon(DType dtype);              // unit roundoff u = 2^-p (half an ulp of 1): f32 2^-24, bf16 2^-8, ...

// bfloat16: the upper half of a float. Conversion rounds to nearest even and keeps NaN a NaN.
struct bf16 {
  std::uint16_t bits = 0;
  bf16() = default;
  explicit bf16(float value) {
    const auto u = std::bit_cast<std::uint32_t>(value);
    const bool nan = (u & 0x7fffffffu) > 0x7f800000u;
    bits = static_cast<std::uint16_t>(nan ? (u >> 16) | 0x40u : (u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  }
  explicit operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
};

// IEEE half. Conversions round to nearest even, with subnormals, infinities and NaN.
struct f16 {
  std::uint16_t bits = 0;
  f16() = default;
  explicit f16(float value);
  explicit operator float() const;
};

static_assert(sizeof(bf16) == 2 && sizeof(f16) == 2);

template <class T>
struct DTypeOf;
template <> struct DTypeOf<double> { static constexpr DType value = DType::kF64; };
template <> struct DTypeOf<float> { static constexpr DType value = DType::kF32; };
template <> struct DTypeOf<bf16> { static constexpr DType value = DType::kBF16; };
template <> struct DTypeOf<f16> { static constexpr DType value = DType::kF16; };
template <> struct DTypeOf<std::uint8_t> { static constexpr DType value = DType::kU8; };
template <> struct DTypeOf<std::int32_t> { static constexpr DType value = DType::kI32; };
template <> struct DTypeOf<std::int64_t> { static constexpr DType value = DType::kI64; };

}  // namespace lockstep
