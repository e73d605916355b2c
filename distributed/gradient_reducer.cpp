// SPDX-License-Identifier: Apache-2.0
#include "distributed/gradient_reducer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "distributed/collectives.h"
#include "distributed/device_memory.h"
#include "distributed/shard_tree.h"
#include "distributed/vector_add.h"

namespace lockstep {
namespace {

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string possible_ranks(std::int64_t shards, ReduceOrder order) {
  std::string text;
  for (std::int64_t ranks = 1; ranks <= std::min<std::int64_t>(shards, 4096); ++ranks) {
    if (shards % ranks != 0 || (order == ReduceOrder::kFixedTree && !is_power_of_two(ranks))) continue;
    text += fmt::format("{}{}", text.empty() ? "" : ", ", ranks);
  }
  return text;
}

}  // namespace

void check_world_size(std::int64_t shards, int ranks, ReduceOrder order) {
  if (shards < 1) throw UserError(fmt::format("a global batch of {} shards: at least 1 is needed", shards));
  const bool exact = order == ReduceOrder::kFixedTree;
  if (shards % ranks == 0 && (!exact || is_power_of_two(ranks))) return;
  throw UserError(fmt::format(
      "{} ranks can't share the {} shards of the global batch (global_batch / shard_batch){}.\n"
      "Start one of {} ranks, change global_batch or shard_batch{}.",
      ranks, shards, exact ? " with EXACT reduction, which adds along a binary tree" : "", possible_ranks(shards, order),
      exact && shards % ranks == 0 ? ", or choose FAST reduction" : ""));
}

GradientReducer::GradientReducer(Communicator& comm, std::vector<ReduceEntry> entries, const ReducerOptions& options)
    : comm_(comm), entries_(std::move(entries)), options_(options) {
  check_world_size(options_.shards, comm_.size(), options_.order);
  if (options_.device != Device{}) accelerator_ = &accelerator_of(options_.device);
  local_shards_ = static_cast<int>(options_.shards / comm_.size());
  for (const ReduceEntry& entry : entries_)
    if (options_.wire == WireFormat::kBF16 && entry.kind == EntryKind::kGradient && entry.dtype != DType::kF32)
      throw UserError(fmt::format("bf16 on the wire needs f32 gradients, but '{}' is {}; choose the native wire format",
                                  entry.name, dtype_name(entry.dtype)));
  plan_ = plan_buckets(entries_, options_.first_bucket_bytes, options_.bucket_bytes);
  compare_plans();
  const std::size_t shards = static_cast<std::size_t>(local_shards_);
  for (const Bucket& bucket : plan_.buckets) {
    BucketState& state = states_.emplace_back();
    state.memory_of.assign(shards, -1);
    state.unmarked.assign(shards, 0);
    state.span.assign(shards, 0);
    state.marked.assign(shards * bucket.slices.size(), 0);
  }
}

void GradientReducer::compare_plans() {
  const auto hashes = comm_.all_gather_values(plan_.hash, "comparison of bucket plans");
  for (std::size_t r = 1; r < hashes.size(); ++r)
    if (hashes[r] != hashes[0])
      throw UserError(fmt::format("rank {} ({}) reduces other tensors than rank 0 ({}): plan {:016x}, want {:016x}.\n"
                                  "Start all ranks with the same program and the same config.",
                                  r, comm_.host_of(static_cast<int>(r)), comm_.host_of(0), hashes[r], hashes[0]));
}

void GradientReducer::begin_step(std::int64_t step) {
  LS_CHECK(state_ == State::kIdle || state_ == State::kDone,
           fmt::format("begin_step({}) while step {} is still being reduced", step, step_));
  state_ = State::kCollecting;
  step_ = step;
  next_launch_ = 0;
  for (std::size_t b = 0; b < states_.size(); ++b) {
    BucketState& state = states_[b];
    state.free_memory.clear();
    for (int i = static_cast<int>(state.memory.size()); i-- > 0;) state.free_memory.push_back(i);
    std::ranges::fill(state.memory_of, -1);
    std::ranges::fill(state.unmarked, static_cast<int>(plan_.buckets[b].slices.size()));
    std::ranges::fill(state.span, 0);
    std::ranges::fill(state.marked, std::uint8_t{0});
    state.complete = false;
    state.ticket = 0;
  }
}

GradientReducer::BucketState& GradientReducer::bucket_of(int shard, int id) {
  LS_CHECK(id >= 0 && id < static_cast<int>(entries_.size()), fmt::format("entry {} of {}", id, entries_.size()));
  LS_CHECK(shard >= 0 && shard < local_shards_, fmt::format("shard {} of {}, '{}'", shard, local_shards_, entry(id).name));
  LS_CHECK(state_ == State::kCollecting, fmt::format("gradient of '{}' outside of begin_step .. finish", entry(id).name));
  const auto index = static_cast<std::size_t>(id);
  BucketState& state = states_[static_cast<std::size_t>(plan_.bucket_of[index])];
  const std::size_t slices = state.marked.size() / static_cast<std::size_t>(local_shards_);
  LS_CHECK(state.marked[static_cast<std::size_t>(shard) * slices + static_cast<std::size_t>(plan_.slice_of[index])] == 0,
           fmt::format("'{}' was marked ready before, shard {}, step {}", entry(id).name, shard, step_));
  return state;
}

Tensor GradientReducer::slice_view(int id, const Tensor& memory) const {
  const auto index = static_cast<std::size_t>(id);
  const Bucket& bucket = plan_.buckets[static_cast<std::size_t>(plan_.bucket_of[index])];
  const BucketSlice& slice = bucket.slices[static_cast<std::size_t>(plan_.slice_of[index])];
  return memory.view(entries_[index].shape, bucket.dtype, slice.offset_bytes);
}

// Zeros: the padding is added and sent too.
Tensor GradientReducer::new_memory(const Bucket& bucket) {
  const Shape shape{static_cast<std::int64_t>(bucket.nbytes / dtype_size(bucket.dtype))};
  if (accelerator_ == nullptr) return comm_.make_buffer(shape, bucket.dtype);
  Tensor memory = lasting_device_memory(shape, bucket.dtype, options_.device);
  accelerator_->fill_zero(accelerator_->compute_stream(), memory.ptr(), memory.nbytes());
  return memory;
}

void GradientReducer::add(const Bucket& bucket, Tensor& sum, const Tensor& added) {
  if (accelerator_ == nullptr)
    add_arrays(bucket.dtype, sum.ptr(), sum.ptr(), added.ptr(), sum.numel());
  else
    accelerator_->add(accelerator_->compute_stream(), bucket.dtype, sum.ptr(), sum.ptr(), added.ptr(), sum.numel());
}

Tensor GradientReducer::gradient(int shard, int id) {
  BucketState& state = bucket_of(shard, id);
  int& memory = state.memory_of[static_cast<std::size_t>(shard)];
  if (memory < 0) {
    if (state.free_memory.empty()) {
      state.memory.push_back(new_memory(plan_.buckets[static_cast<std::size_t>(plan_.bucket_of[static_cast<std::size_t>(id)])]));
      state.free_memory.push_back(static_cast<int>(state.memory.size()) - 1);
    }
    memory = state.free_memory.back();
    state.free_memory.pop_back();
  }
  return slice_view(id, state.memory[static_cast<std::size_t>(memory)]);
}

void GradientReducer::mark_ready(int shard, int id) {
  BucketState& state = bucket_of(shard, id);
  const auto index = static_cast<std::size_t>(id);
  LS_CHECK(state.memory_of[static_cast<std::size_t>(shard)] >= 0,
           fmt::format("'{}' was marked ready but never written, shard {}, step {}", entry(id).name, shard, step_));
  const Bucket& bucket = plan_.buckets[static_cast<std::size_t>(plan_.bucket_of[index])];
  state.marked[static_cast<std::size_t>(shard) * bucket.slices.size() + static_cast<std::size_t>(plan_.slice_of[index])] = 1;
  if (--state.unmarked[static_cast<std::size_t>(shard)] > 0) return;
  add_shards(state, bucket, shard);
  if (state.complete) launch_complete_buckets();
}

void GradientReducer::observe(PartObserver observer) {
  LS_CHECK(state_ == State::kIdle && !observer_.seen, "observe() after the first step, or a second time");
  LS_CHECK(is_tree_node(local_shards_, observer.shards), fmt::format("parts of {} of {} shards", observer.shards, local_shards_));
  observer_ = std::move(observer);
}

Tensor GradientReducer::part_gradient(int first, int id) const {
  const BucketState& state = states_[static_cast<std::size_t>(plan_.bucket_of[static_cast<std::size_t>(id)])];
  const auto shard = static_cast<std::size_t>(first);
  LS_CHECK(state.span[shard] == observer_.shards, fmt::format("part {} of '{}' is not there", first, entry(id).name));
  return slice_view(id, state.memory[static_cast<std::size_t>(state.memory_of[shard])]);
}

void GradientReducer::show_part(const BucketState& state, const Bucket& bucket, int first) {
  if (!observer_.seen || bucket.kind != EntryKind::kGradient) return;
  if (first % observer_.shards == 0 && state.span[static_cast<std::size_t>(first)] == observer_.shards)
    observer_.seen(static_cast<int>(&bucket - plan_.buckets.data()), first);
}

// The shard's bucket is full: makes every addition of the tree that this allows.
void GradientReducer::add_shards(BucketState& state, const Bucket& bucket, int shard) {
  state.span[static_cast<std::size_t>(shard)] = 1;
  show_part(state, bucket, shard);
  const int leaf = static_cast<int>(leaf_shards(local_shards_));
  for (int at = shard;;) {
    const TreeMerge merge = next_merge(state.span, local_shards_, leaf, at);
    if (merge.left < 0) break;
    const auto left = static_cast<std::size_t>(merge.left), right = static_cast<std::size_t>(merge.right);
    add(bucket, state.memory[static_cast<std::size_t>(state.memory_of[left])], state.memory[static_cast<std::size_t>(state.memory_of[right])]);
    state.free_memory.push_back(state.memory_of[right]);
    state.memory_of[right] = -1;
    state.span[left] += state.span[right];
    state.span[right] = 0;
    show_part(state, bucket, merge.left);
    at = merge.left;
  }
  state.complete = state.span[0] == local_shards_;
}

// Strictly in plan order, whatever order the buckets fill in: ranks must agree on the order of operations.
void GradientReducer::launch_complete_buckets() {
  while (next_launch_ < static_cast<int>(states_.size()) && states_[static_cast<std::size_t>(next_launch_)].complete) {
    BucketState& state = states_[static_cast<std::size_t>(next_launch_)];
    const Bucket& bucket = plan_.buckets[static_cast<std::size_t>(next_launch_)];
    const bool gradients = bucket.kind == EntryKind::kGradient;
    const ReduceOptions options{.order = options_.order,
                                .wire = gradients ? options_.wire : WireFormat::kNative,
                                .divisor = bucket.kind == EntryKind::kTotal || bucket.kind == EntryKind::kLateTotal ? 1 : options_.shards};
    state.ticket = comm_.all_reduce_async(state.memory[static_cast<std::size_t>(state.memory_of[0])], options, bucket.label);
    ++next_launch_;
  }
}

std::string GradientReducer::unmarked_entries() const {
  for (std::size_t b = 0; b < states_.size(); ++b) {
    const auto& slices = plan_.buckets[b].slices;
    for (std::size_t i = 0; i < states_[b].marked.size(); ++i)
      if (states_[b].marked[i] == 0)
        return fmt::format("'{}' of local shard {}", entry(slices[i % slices.size()].entry).name, i / slices.size());
  }
  return "nothing";
}

const ReduceReport& GradientReducer::finish() {
  LS_CHECK(state_ == State::kCollecting, fmt::format("finish() without begin_step, last step {}", step_));
  LS_CHECK(next_launch_ == static_cast<int>(states_.size()),
           fmt::format("finish() of step {}, but {} was never marked ready", step_, unmarked_entries()));
  state_ = State::kReducing;
  report_.nbytes = 0;
  report_.exposed_wait_ns = 0;
  report_.buckets.clear();
  const std::int64_t start = now_ns();
  for (std::size_t b = 0; b < states_.size(); ++b) {
    const OperationTimes times = comm_.wait(states_[b].ticket);
    report_.buckets.push_back({plan_.buckets[b].nbytes, times});
    report_.nbytes += plan_.buckets[b].nbytes;
  }
  if (comm_.size() > 1) report_.exposed_wait_ns = now_ns() - start;
  state_ = State::kDone;
  return report_;
}

Tensor GradientReducer::result(int id) {
  LS_CHECK(id >= 0 && id < static_cast<int>(entries_.size()), fmt::format("entry {} of {}", id, entries_.size()));
  LS_CHECK(state_ == State::kDone, fmt::format("'{}' was read before finish() of step {}", entry(id).name, step_));
  BucketState& state = states_[static_cast<std::size_t>(plan_.bucket_of[static_cast<std::size_t>(id)])];
  return slice_view(id, state.memory[static_cast<std::size_t>(state.memory_of[0])]);
}

}  // namespace lockstep
