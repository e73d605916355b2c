// Philox4x32-10: counter-based random numbers (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11).
//
// All randomness in lockstep is a function of (seed, purpose, coordinates): there is no generator state to save, and
// neither threads nor ranks nor restarts can change a draw.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

namespace lockstep {

using PhiloxBlock = std::array<std::uint32_t, 4>;

constexpr PhiloxBlock philox4x32(PhiloxBlock counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(p1),
               static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(p0)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

// What a draw is for: keeps the streams of one seed apart. Values are part of the file format: never renumber.
enum class RandomPurpose : std::uint32_t { kInit = 1, kOrder = 2, kAugment = 3, kDropout = 4, kSynthetic = 5, kTest = 6, kMix = 7 };

// Names a random stream: a dropout mask, a sample's augmentation, a parameter's initial values.
struct RandomKey {
  std::uint64_t seed = 0;
  RandomPurpose purpose = RandomPurpose::kTest;
  std::uint32_t a = 0;  // e.g. epoch or step
  std::uint64_t b = 0;  // e.g. sample id, parameter id, or op id

  // Block `index` of the stream: elements 4*index .. 4*index+3. Pure, so that kernels may draw in any order.
  constexpr PhiloxBlock block(std::uint32_t index) const {
    const auto mixed = static_cast<std::uint32_t>(b >> 32) * 0x85EBCA6Bu + static_cast<std::uint32_t>(purpose) * 0xC2B2AE35u;
    return philox4x32({index, a, static_cast<std::uint32_t>(b), mixed},
                      {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  }
};

// Uniform in [0, 1) with 24 bits.
constexpr float uniform_from_bits(std::uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }

// Sequential draws from one stream.
class RandomStream {
 public:
  explicit RandomStream(RandomKey key) : key_(key) {}
  std::uint32_t bits();
  std::uint64_t bits64() { const std::uint64_t high = bits(); return (high << 32) | bits(); }
  float uniform() { return uniform_from_bits(bits()); }                       // [0, 1)
  float uniform(float low, float high) { return low + (high - low) * uniform(); }
  double uniform64() { return static_cast<double>(bits64() >> 11) * 0x1p-53; }  // [0, 1)
  std::uint64_t below(std::uint64_t bound);                                   // [0, bound), unbiased; bound > 0
  float normal();                                                             // Box-Muller in double, rounded

 private:
  RandomKey key_;
  PhiloxBlock block_{};
  std::uint32_t index_ = 0;
  int used_ = 4;
};

}  // namespace lockstep
