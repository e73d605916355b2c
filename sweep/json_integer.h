// Integers in JSON that nobody vouches for. Private to sweep.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>

namespace lockstep {

// Whether it is a number of this type: no fraction, within its range (nlohmann's json.get<Integer>() alone would wrap or truncate).
template <class Integer>
bool is_integer(const nlohmann::json& json) {
  if (json.is_number_unsigned()) return std::in_range<Integer>(json.get<std::uint64_t>());
  return json.is_number_integer() && std::in_range<Integer>(json.get<std::int64_t>());
}

}  // namespace lockstep
