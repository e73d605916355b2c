// Philox4x32-10 for device code: the same blocks as core/philox.h's, whose std::array device code can't use.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/philox.h"
#include "cuda/launch.h"

namespace lockstep::cuda {

// Four draws: elements 4 * index .. 4 * index + 3 of a stream.
struct PhiloxWords {
  std::uint32_t at[4];
};

// RandomKey, spread as the generator takes it.
struct PhiloxStream {
  std::uint32_t a, b, mixed, key0, key1;

  explicit PhiloxStream(const RandomKey& key)
      : a(key.a), b(static_cast<std::uint32_t>(key.b)),
        mixed(static_cast<std::uint32_t>(key.b >> 32) * 0x85EBCA6Bu + static_cast<std::uint32_t>(key.purpose) * 0xC2B2AE35u),
        key0(static_cast<std::uint32_t>(key.seed)), key1(static_cast<std::uint32_t>(key.seed >> 32)) {}

  // `step` is added to the key's a.
  LS_DEVICE PhiloxWords block(std::uint32_t index, std::uint32_t step) const {
    PhiloxWords words{{index, a + step, b, mixed}};
    std::uint32_t k0 = key0, k1 = key1;
    for (int round = 0; round < 10; ++round) {
      const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * words.at[0];
      const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * words.at[2];
      words = {{static_cast<std::uint32_t>(p1 >> 32) ^ words.at[1] ^ k0, static_cast<std::uint32_t>(p1),
                static_cast<std::uint32_t>(p0 >> 32) ^ words.at[3] ^ k1, static_cast<std::uint32_t>(p0)}};
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    return words;
  }
};

}  // namespace lockstep::cuda
