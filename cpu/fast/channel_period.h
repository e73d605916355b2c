// Per-channel work on channels-last memory, seen as a flat array that repeats every `period` elements: so that 16 channels
// fill vectors as well as 2048 do.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <numeric>

#include "core/tensor.h"

namespace lockstep {

// The smallest multiple of `channels` and of 16 that keeps loops long: at least 256 elements.
struct ChannelPeriod {
  explicit ChannelPeriod(std::int64_t channel_count) : channels(channel_count) {
    const std::int64_t step = std::lcm(channels, std::int64_t{16});
    length = step * ((255 + step) / step);
  }
  // Elements per chunk of parallel work: a multiple of the period, so that tables and mask bytes stay aligned.
  std::int64_t chunk() const { return length * ((65535 + length) / length); }

  std::int64_t channels, length;
};

// Per-channel values repeated to a whole period each, in memory from the pool.
class ChannelTables {
 public:
  ChannelTables(const ChannelPeriod& period, int count)
      : period_(period), memory_(Tensor::empty({count, period.length}, DType::kF32)) {}

  template <class Value>
  void fill(int table, const Value& value) {  // value(c) for each channel
    float* to = mutable_table(table);
    for (std::int64_t c = 0; c < period_.channels; ++c) to[c] = value(c);
    for (std::int64_t j = period_.channels; j < period_.length; ++j) to[j] = to[j - period_.channels];
  }
  const float* operator[](int table) const { return static_cast<const float*>(memory_.ptr()) + table * period_.length; }

 private:
  float* mutable_table(int table) { return static_cast<float*>(memory_.ptr()) + table * period_.length; }
  ChannelPeriod period_;
  Tensor memory_;
};

}  // namespace lockstep
