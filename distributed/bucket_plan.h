// plan_buckets: which gradients travel together. A pure function, so that ranks can compare plans by one hash.
//
// Launch order: totals, observations (known when the forward pass ends), then gradients in reverse order of parameters
// (roughly the order in which the backward pass completes them), then late totals. A bucket closes when the next entry would exceed the
// cap or has another dtype. The first gradient bucket has its own, smaller cap so that communication starts early; so has
// the last, because nothing is left to compute while it travels.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/shape.h"

namespace lockstep {

// kGradient: mean over shards; may travel as bf16. kObservation: mean over shards, always in its own precision (batch
// statistics). kTotal: sum over shards, always in its own precision (loss sums, counts). kLateTotal: the same, known when the
// backward pass ends (norms of gradients).
enum class EntryKind : std::uint8_t { kGradient, kObservation, kTotal, kLateTotal };

struct ReduceEntry {
  std::string name;
  Shape shape;
  DType dtype = DType::kF32;  // f32 or f64
  EntryKind kind = EntryKind::kGradient;
};

struct BucketSlice {
  int entry = 0;                 // index into the entries
  std::size_t offset_bytes = 0;  // from the bucket's start, a multiple of 64
  std::int64_t numel = 0;
};

struct Bucket {
  EntryKind kind = EntryKind::kGradient;
  DType dtype = DType::kF32;
  std::size_t nbytes = 0;  // padding included: a multiple of 64
  std::vector<BucketSlice> slices;
  std::string label;       // "bucket 3 of 12 (layer3.0.conv2.weight .. layer3.0.bn2.bias, 5 tensors)"
};

struct BucketPlan {
  std::vector<Bucket> buckets;  // in launch order
  std::vector<int> bucket_of;   // by entry
  std::vector<int> slice_of;    // by entry: place in its bucket
  std::uint64_t hash = 0;       // of everything above and the entries' names
};

// Throws InternalError for an entry that isn't f32 or f64, UserError for caps of 0 bytes.
BucketPlan plan_buckets(std::span<const ReduceEntry> entries, std::size_t first_cap_bytes, std::size_t cap_bytes);

}  // namespace lockstep
