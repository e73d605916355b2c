// SPDX-License-Identifier: Apache-2.0
#include "data/order.h"

#include <fmt/format.h>

#include <bit>

#include "core/error.h"
#include "core/philox.h"

namespace lockstep {
namespace {

// A bijective mixer of 64 bits (the finaliser of MurmurHash3); its upper half is the round function.
std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 33)) * 0xff51afd7ed558ccdull;
  x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53ull;
  return x ^ (x >> 33);
}

}  // namespace

EpochOrder::EpochOrder(std::int64_t size, std::uint64_t seed, std::int64_t epoch)
    : size_(static_cast<std::uint64_t>(size)) {
  LS_CHECK(size >= 1 && size <= std::int64_t{1} << 62, fmt::format("an order of {} samples", size));
  const auto bits = static_cast<int>(std::bit_width(size_ - 1));
  half_bits_ = bits < 2 ? 1 : (bits + 1) / 2;
  half_mask_ = (std::uint64_t{1} << half_bits_) - 1;
  RandomStream random({seed, RandomPurpose::kOrder, static_cast<std::uint32_t>(epoch), 0});
  for (std::uint64_t& key : keys_) key = random.bits64();
}

std::int64_t EpochOrder::operator[](std::int64_t position) const {
  auto value = static_cast<std::uint64_t>(position);
  do {
    std::uint64_t left = value >> half_bits_, right = value & half_mask_;
    for (const std::uint64_t key : keys_) {
      const std::uint64_t next = left ^ ((mix(right ^ key) >> 32) & half_mask_);
      left = right;
      right = next;
    }
    value = left << half_bits_ | right;
  } while (value >= size_);  // at most a factor 4 outside; a cycle always comes back below size
  return static_cast<std::int64_t>(value);
}

std::int64_t steps_per_epoch(std::int64_t size, std::int64_t global_batch, LastBatch policy) {
  if (global_batch < 1) throw UserError(fmt::format("global_batch: got {}, want 1 or more.", global_batch));
  const std::int64_t full = size / global_batch;
  if (policy == LastBatch::kWrap) return full + (size % global_batch != 0);
  if (full == 0)
    throw UserError(
        fmt::format("global_batch: got {}, want at most the {} images of the data set.\nMake it smaller, or "
                    "let the last batch wrap.",
                    global_batch, size));
  return full;
}

GlobalOrder::GlobalOrder(std::int64_t size, std::int64_t global_batch, std::uint64_t seed, LastBatch policy)
    : size_(size),
      global_batch_(global_batch),
      seed_(seed),
      steps_per_epoch_(lockstep::steps_per_epoch(size, global_batch, policy)) {}

}  // namespace lockstep
