// Order: which sample stands at which position of which step. A pure function of (seed, epoch, position): ranks,
// threads and restarts cannot change it, and there is nothing to save but the step number. SPDX-License-Identifier:
// Apache-2.0
#pragma once

#include <array>
#include <cstdint>

namespace lockstep {

// The permutation of one epoch as a keyed bijection (a Feistel network over [0, 2^2k), walked until it lands below
// `size`): no table, no memory, any position at once. Its keys come from Philox(seed, kOrder, epoch).
class EpochOrder {
 public:
  EpochOrder(std::int64_t size, std::uint64_t seed, std::int64_t epoch);  // size in [1, 2^62]
  std::int64_t operator[](std::int64_t position) const;                   // position in [0, size)

 private:
  static constexpr int kRounds = 8;
  std::uint64_t size_;
  std::uint64_t half_mask_;
  int half_bits_ = 1;
  std::array<std::uint64_t, kRounds> keys_{};
};

// What happens to the samples at an epoch's end that do not fill a global batch.
enum class LastBatch : std::uint8_t {
  kDrop,  // they are left out (others each epoch)
  kWrap,  // the batch is filled up from the start of the same epoch's order
};

// Throws UserError(kUsage) when the data set is smaller than a global batch under kDrop: there would be no step.
std::int64_t steps_per_epoch(std::int64_t size, std::int64_t global_batch, LastBatch policy);

// The whole run's order: sample `i` of global batch `step`.
class GlobalOrder {
 public:
  GlobalOrder(std::int64_t size, std::int64_t global_batch, std::uint64_t seed, LastBatch policy);

  std::int64_t steps_per_epoch() const { return steps_per_epoch_; }
  std::int64_t epoch(std::int64_t step) const { return step / steps_per_epoch_; }
  EpochOrder epoch_order(std::int64_t step) const { return {size_, seed_, epoch(step)}; }
  // The position in its epoch's order of sample `i` of global batch `step`.
  std::int64_t position(std::int64_t step, std::int64_t i) const {
    return (step % steps_per_epoch_ * global_batch_ + i) % size_;
  }

 private:
  std::int64_t size_;
  std::int64_t global_batch_;
  std::uint64_t seed_;
  std::int64_t steps_per_epoch_;
};

}  // namespace lockstep
