// SPDX-License-Identifier: Apache-2.0
#include "core/dtype.h"

#include <array>
#include <string>

#include "core/error.h"

namespace lockstep {
namespace {

struct DTypeInfo {
  DType dtype;
  std::string_view name;
  std::size_t size;
  double epsilon;  // 0 for integers
};

constexpr std::array<DTypeInfo, 7> kInfo{{
    {DType::kF64, "f64", 8, 0x1p-53},
    {DType::kF32, "f32", 4, 0x1p-24},
    {DType::kBF16, "bf16", 2, 0x1p-8},
    {DType::kF16, "f16", 2, 0x1p-11},
    {DType::kU8, "u8", 1, 0},
    {DType::kI32, "i32", 4, 0},
    {DType::kI64, "i64", 8, 0},
}};

const DTypeInfo& info(DType dtype) { return kInfo[static_cast<std::size_t>(dtype)]; }

}  // namespace

std::size_t dtype_size(DType dtype) { return info(dtype).size; }
std::string_view dtype_name(DType dtype) { return info(dtype).name; }
bool is_floating(DType dtype) { return info(dtype).epsilon > 0; }
double dtype_epsilon(DType dtype) { return info(dtype).epsilon; }

DType dtype_from_name(std::string_view name) {
  std::string names;
  for (const DTypeInfo& entry : kInfo) {
    if (entry.name == name) return entry.dtype;
    names.append(names.empty() ? "" : ", ").append(entry.name);
  }
  throw UserError("dtype: got '" + std::string(name) + "', want one of " + names);
}

f16::f16(float value) {
  const auto u = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (u >> 16) & 0x8000u;
  const std::uint32_t magnitude = u & 0x7fffffffu;
  if (magnitude >= 0x7f800000u) {  // infinity or NaN
    bits = static_cast<std::uint16_t>(sign | 0x7c00u | (magnitude > 0x7f800000u ? 0x200u : 0u));
  } else if (magnitude >= 0x477ff000u) {  // rounds to 2^16 or more
    bits = static_cast<std::uint16_t>(sign | 0x7c00u);
  } else if (magnitude < 0x38800000u) {  // subnormal: let the FPU round at 2^-24
    const float scaled = std::bit_cast<float>(magnitude) + 0.5f;  // ulp of 0.5 is 2^-24
    bits = static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(scaled) - 0x3f000000u));
  } else {
    const std::uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    bits = static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
  }
}

f16::operator float() const {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fu;
  const std::uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  const std::uint32_t wide = exponent == 31 ? 0x7f800000u | (mantissa << 13) : ((exponent + 112) << 23) | (mantissa << 13);
  return std::bit_cast<float>(sign | wide);
}

}  // namespace lockstep
