// SPDX-License-Identifier: Apache-2.0
#include "core/philox.h"

#include <cmath>
#include <numbers>

namespace lockstep {

std::uint32_t RandomStream::bits() {
  if (used_ == 4) {
    block_ = key_.block(index_++);
    used_ = 0;
  }
  return block_[static_cast<std::size_t>(used_++)];
}

std::uint64_t RandomStream::below(std::uint64_t bound) {
  // Lemire's multiply-shift with rejection ("Fast random integer generation in an interval", 2019).
  __extension__ using Wide = unsigned __int128;
  const std::uint64_t threshold = -bound % bound;
  for (;;) {
    const Wide product = static_cast<Wide>(bits64()) * bound;
    if (static_cast<std::uint64_t>(product) >= threshold) return static_cast<std::uint64_t>(product >> 64);
  }
}

float RandomStream::normal() {
  const double u = 1.0 - uniform64();  // (0, 1]: the logarithm is finite
  const double v = uniform64();
  return static_cast<float>(std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v));
}

}  // namespace lockstep
