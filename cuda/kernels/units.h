// Units: the neighbouring channels of one pixel that a thread handles together: 8, in one or two 16-byte accesses, where the
// number of channels and all addresses allow, else 1. Inside kernels/*.cu only.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "cuda/numeric.h"

namespace lockstep::cuda {

constexpr int kUnit = 8;

// Whether units of kUnit channels can be read from all of these (null: not there).
template <class T, class... Pointer>
bool fits_units(std::int64_t channels, Pointer... pointers) {
  constexpr std::uintptr_t kAlignment = sizeof(Pack<T, kUnit>);
  return channels % kUnit == 0 && ((reinterpret_cast<std::uintptr_t>(pointers) % kAlignment == 0) && ...);
}

// to = values, or += values; rounded once.
template <class T, int N>
LS_DEVICE void put_unit(T* to, const float (&values)[N], bool accumulate) {
  Pack<T, N> result;
  if (accumulate) result = load_pack<T, N>(to);
  for (int k = 0; k < N; ++k) result.at[k] = from_float<T>(accumulate ? to_float(result.at[k]) + values[k] : values[k]);
  store_pack<T, N>(to, result);
}

}  // namespace lockstep::cuda
