// The optimizer's tables: which tensors there are and how their elements are cut into chunks, one block's work each, so that
// one launch covers all tensors evenly, whatever their sizes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "cuda/launch.h"
#include "ops/kernels.h"

namespace lockstep::cuda {

// 64 KB of f32: ResNet-50's 25.6 million parameters are some 1,700 chunks, twelve for each of an H100's multiprocessors.
constexpr std::int64_t kChunkElements = 16384;

LS_DEVICE constexpr std::int64_t chunks_of(std::int64_t numel) { return (numel + kChunkElements - 1) / kChunkElements; }

// One parameter. Pointers are null where a call has no use for them.
struct TensorEntry {
  float* value = nullptr;
  float* momentum = nullptr;
  void* compute = nullptr;
  const float* grad = nullptr;
  std::int64_t numel = 0;
  std::int64_t first_chunk = 0;  // set by place_chunks, chunks_of(numel) from here on
  double weight_decay = 0;
  double lr = 0;                 // multiplier of the control's rate; 0 where the call brings its rates
  DType compute_dtype = DType::kF32;
  bool aligned = false;          // 16-byte accesses are possible
  bool operator==(const TensorEntry&) const = default;
};

// One running statistic, or one average of weights.
struct AverageEntry {
  float* value = nullptr;
  const float* observed = nullptr;
  std::int64_t numel = 0;
  std::int64_t first_chunk = 0;
  float keep = 0, take = 0;      // value = keep * value + take * observed; 0 where the call brings its momentum
  bool aligned = false;          // 16-byte accesses are possible
  bool operator==(const AverageEntry&) const = default;
};

static_assert(std::is_trivially_copyable_v<TensorEntry> && std::is_trivially_copyable_v<AverageEntry>);

// Numbers the chunks of all entries, one after the other, and says whose each chunk is.
template <class Entry>
std::vector<std::int32_t> place_chunks(std::span<Entry> entries) {
  std::vector<std::int32_t> owners;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    entries[i].first_chunk = static_cast<std::int64_t>(owners.size());
    owners.insert(owners.end(), static_cast<std::size_t>(chunks_of(entries[i].numel)), static_cast<std::int32_t>(i));
  }
  return owners;
}

}  // namespace lockstep::cuda
