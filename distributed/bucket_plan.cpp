// SPDX-License-Identifier: Apache-2.0
#include "distributed/bucket_plan.h"

#include <fmt/format.h>

#include <string_view>

#include "core/error.h"

namespace lockstep {
namespace {

constexpr std::size_t kAlignment = 64;  // a cache line, and the widest vector

// FNV-1a, 64 bits.
class Hasher {
 public:
  void add(std::string_view text) {
    for (const char c : text) hash_ = (hash_ ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    add(static_cast<std::uint64_t>(text.size()));
  }
  void add(std::uint64_t value) {
    for (int shift = 0; shift < 64; shift += 8) hash_ = (hash_ ^ ((value >> shift) & 0xff)) * 0x100000001b3u;
  }
  std::uint64_t value() const { return hash_; }

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325u;
};

std::vector<int> launch_order(std::span<const ReduceEntry> entries) {
  std::vector<int> order;
  const int count = static_cast<int>(entries.size());
  for (const EntryKind kind : {EntryKind::kTotal, EntryKind::kObservation})
    for (int i = 0; i < count; ++i)
      if (entries[static_cast<std::size_t>(i)].kind == kind) order.push_back(i);
  for (int i = count - 1; i >= 0; --i)
    if (entries[static_cast<std::size_t>(i)].kind == EntryKind::kGradient) order.push_back(i);
  for (int i = 0; i < count; ++i)
    if (entries[static_cast<std::size_t>(i)].kind == EntryKind::kLateTotal) order.push_back(i);
  return order;
}

std::size_t padded_bytes(const ReduceEntry& entry) {
  const std::size_t nbytes = static_cast<std::size_t>(entry.shape.numel()) * dtype_size(entry.dtype);
  return (nbytes + kAlignment - 1) / kAlignment * kAlignment;
}

// Where, in launch order, the gradients begin that fit the small cap together with all that follow.
std::size_t last_bucket_begin(const std::vector<int>& order, std::span<const ReduceEntry> entries, std::size_t cap) {
  const auto at = [&](std::size_t place) -> const ReduceEntry& { return entries[static_cast<std::size_t>(order[place])]; };
  std::size_t begin = order.size(), nbytes = 0;
  while (begin > 0 && at(begin - 1).kind == EntryKind::kLateTotal) --begin;
  while (begin > 0) {
    const ReduceEntry& entry = at(begin - 1);
    nbytes += padded_bytes(entry);
    if (entry.kind != EntryKind::kGradient || nbytes > cap) break;
    --begin;
  }
  return begin;
}

void check_entry(const ReduceEntry& entry) {
  LS_CHECK(entry.dtype == DType::kF32 || entry.dtype == DType::kF64,
           fmt::format("'{}' is {}; only f32 and f64 are reduced", entry.name, dtype_name(entry.dtype)));
}

void add_labels(BucketPlan& plan, std::span<const ReduceEntry> entries) {
  for (std::size_t b = 0; b < plan.buckets.size(); ++b) {
    Bucket& bucket = plan.buckets[b];
    const auto name = [&](const BucketSlice& slice) { return entries[static_cast<std::size_t>(slice.entry)].name; };
    const std::size_t count = bucket.slices.size();
    bucket.label = fmt::format("bucket {} of {} ({}{}{})", b + 1, plan.buckets.size(), name(bucket.slices.front()),
                               count > 1 ? " .. " + name(bucket.slices.back()) : "",
                               count > 1 ? fmt::format(", {} tensors", count) : "");
  }
}

std::uint64_t hash_plan(const BucketPlan& plan, std::span<const ReduceEntry> entries) {
  Hasher hasher;
  for (const Bucket& bucket : plan.buckets) {
    hasher.add(static_cast<std::uint64_t>(bucket.kind));
    hasher.add(static_cast<std::uint64_t>(bucket.dtype));
    hasher.add(bucket.nbytes);
    for (const BucketSlice& slice : bucket.slices) {
      hasher.add(entries[static_cast<std::size_t>(slice.entry)].name);
      hasher.add(static_cast<std::uint64_t>(slice.entry));
      hasher.add(slice.offset_bytes);
      hasher.add(static_cast<std::uint64_t>(slice.numel));
    }
  }
  return hasher.value();
}

}  // namespace

BucketPlan plan_buckets(std::span<const ReduceEntry> entries, std::size_t first_cap_bytes, std::size_t cap_bytes) {
  if (first_cap_bytes == 0 || cap_bytes == 0)
    throw UserError(fmt::format("gradient buckets of {} bytes (first) and {} bytes: both must be more than 0",
                                first_cap_bytes, cap_bytes));
  BucketPlan plan;
  plan.bucket_of.resize(entries.size());
  plan.slice_of.resize(entries.size());
  bool first_gradient_bucket = true;
  const std::vector<int> order = launch_order(entries);
  const std::size_t last_begin = last_bucket_begin(order, entries, first_cap_bytes);
  for (std::size_t i = 0; i < order.size(); ++i) {
    const int id = order[i];
    const ReduceEntry& entry = entries[static_cast<std::size_t>(id)];
    check_entry(entry);
    const std::size_t nbytes = padded_bytes(entry);
    const Bucket* open = plan.buckets.empty() ? nullptr : &plan.buckets.back();
    const bool continues = open != nullptr && open->kind == entry.kind && open->dtype == entry.dtype;
    const std::size_t cap = entry.kind == EntryKind::kGradient && first_gradient_bucket ? first_cap_bytes : cap_bytes;
    if (!continues || open->nbytes + nbytes > cap || i == last_begin) {
      if (open != nullptr && open->kind == EntryKind::kGradient) first_gradient_bucket = false;
      plan.buckets.push_back({.kind = entry.kind, .dtype = entry.dtype});
    }
    Bucket& bucket = plan.buckets.back();
    plan.bucket_of[static_cast<std::size_t>(id)] = static_cast<int>(plan.buckets.size()) - 1;
    plan.slice_of[static_cast<std::size_t>(id)] = static_cast<int>(bucket.slices.size());
    bucket.slices.push_back({.entry = id, .offset_bytes = bucket.nbytes, .numel = entry.shape.numel()});
    bucket.nbytes += nbytes;
  }
  add_labels(plan, entries);
  plan.hash = hash_plan(plan, entries);
  return plan;
}

}  // namespace lockstep
