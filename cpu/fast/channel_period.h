// Per-channel work on channels-last memory, seen as a flat array that repeats every `period` elements: so that 16 channels
// fill vectors as well as 2048 do.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>

#include "core/tensor.h"

namespace lockstep {

// The smallest multiple of `channels` and of `multiple` (elements per unit of the widest vectors) that keeps loops long:
// at least 256 elements.
struct ChannelPeriod {
  ChannelPeriod(std::int64_t channel_count, std::int64_t multiple) : channels(channel_count) {
    const std::int64_t step = std::lcm(channels, multiple);
    length = step * ((255 + step) / step);
  }
  template <class T>
  static ChannelPeriod of(std::int64_t channels) { return {channels, sizeof(T) == 2 ? 32 : 16}; }
  // Elements per chunk of parallel work: a multiple of the period, so that tables and mask bytes stay aligned.
  std::int64_t chunk() const { return length * ((65535 + length) / length); }

  std::int64_t channels, length;
};

// Per-channel values repeated to a whole period each, in memory from the pool.
class ChannelTables {
 public:
  ChannelTables(const ChannelPeriod& period, int count)
      : period_(period), memory_(Tensor::empty({count + 1, period.length}, DType::kF32)) {}

  // value(c) for each channel, in the order that kernels of T with vectors of `lanes` floats want (simd/simd_kernels.h).
  template <class T, class Value>
  const float* fill(int table, std::int64_t lanes, const Value& value) {
    float* to = sizeof(T) == 4 ? row(table) : row_of_scratch();
    for (std::int64_t c = 0; c < period_.channels; ++c) to[c] = value(c);
    for (std::int64_t done = period_.channels; done < period_.length;) {  // doubling
      const std::int64_t count = std::min(done, period_.length - done);
      std::memcpy(to + done, to, static_cast<std::size_t>(count) * sizeof(float));
      done += count;
    }
    if (sizeof(T) == 4) return to;
    float* ordered = row(table);
    for (std::int64_t unit = 0; unit < period_.length; unit += 2 * lanes)
      for (std::int64_t j = 0; j < lanes; ++j) {
        ordered[unit + j] = to[unit + 2 * j];
        ordered[unit + lanes + j] = to[unit + 2 * j + 1];
      }
    return ordered;
  }

 private:
  float* row(std::int64_t table) { return static_cast<float*>(memory_.ptr()) + (table + 1) * period_.length; }
  float* row_of_scratch() { return static_cast<float*>(memory_.ptr()); }

  ChannelPeriod period_;
  Tensor memory_;
};

}  // namespace lockstep
