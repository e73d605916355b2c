// Steps of the reducer on the host or on a device, with gradients that depend on shard and step: what its device tests compare.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "core/accelerator.h"
#include "distributed/gradient_reducer.h"
#include "distributed/local_group.h"
#include "tests/distributed/distributed_test_util.h"

namespace lockstep::testing {

inline std::vector<ReduceEntry> some_entries() {
  return {{"conv.weight", Shape{40, 3, 3, 3}}, {"bn.weight", Shape{40}}, {"bn.bias", Shape{1}},
          {"fc.weight", Shape{700, 10}}, {"fc.bias", Shape{10}},
          {"bn.mean", Shape{40}, DType::kF32, EntryKind::kObservation}, {"loss", Shape{2}, DType::kF64, EntryKind::kTotal}};
}

using Bytes = std::vector<std::vector<std::byte>>;

inline Bytes results_of(GradientReducer& reducer) {
  Bytes results;
  for (int id = 0; id < static_cast<int>(some_entries().size()); ++id) {
    const Tensor tensor = to_host(reducer.result(id));
    const auto* bytes = static_cast<const std::byte*>(tensor.ptr());
    results.emplace_back(bytes, bytes + tensor.nbytes());
  }
  return results;
}

// Gradients that are copied from where the step's inputs lie: what a backward pass is to the reducer.
class FakeBackward {
 public:
  FakeBackward(Communicator& comm, GradientReducer& reducer, Accelerator* accelerator) : comm_(comm), reducer_(reducer), accelerator_(accelerator) {
    for (int shard = 0; shard < reducer.local_shards(); ++shard)
      for (int id = 0; id < entries(); ++id) {
        const Tensor host = values(shard, id, 0);
        inputs_.push_back(accelerator_ == nullptr ? host : to_device(host, accelerator_->device()));
      }
  }

  void set_step(std::int64_t step) {
    for (int shard = 0; shard < reducer_.local_shards(); ++shard)
      for (int id = 0; id < entries(); ++id) copy_contents(values(shard, id, step), input(shard, id));
  }

  void run(std::int64_t step) {
    reducer_.begin_step(step);
    for (int shard = 0; shard < reducer_.local_shards(); ++shard)
      for (int id = entries(); id-- > 0;) {
        Tensor gradient = reducer_.gradient(shard, id);
        EXPECT_EQ(gradient.device(), accelerator_ == nullptr ? Device{} : accelerator_->device());
        if (accelerator_ == nullptr)
          copy_contents(input(shard, id), gradient);
        else
          accelerator_->copy(accelerator_->compute_stream(), gradient.ptr(), input(shard, id).ptr(), gradient.nbytes());
        reducer_.mark_ready(shard, id);
      }
    EXPECT_EQ(reducer_.finish().buckets.size(), reducer_.plan().buckets.size());
  }

 private:
  static int entries() { return static_cast<int>(some_entries().size()); }
  Tensor& input(int shard, int id) { return inputs_[static_cast<std::size_t>(shard * entries() + id)]; }
  Tensor values(int shard, int id, std::int64_t step) {
    const ReduceEntry& entry = reducer_.entry(id);
    const std::int64_t global = comm_.rank() * reducer_.local_shards() + shard + 100 * step, n = entry.shape.numel();
    const Tensor flat = entry.dtype == DType::kF64 ? tensor_of(shard_values<double>(global, id, n)) : tensor_of(shard_values<float>(global, id, n));
    return flat.view(entry.shape, entry.dtype);
  }

  Communicator& comm_;
  GradientReducer& reducer_;
  Accelerator* accelerator_;  // null: the host
  std::vector<Tensor> inputs_;
};

inline ReducerOptions small_buckets(std::int64_t shards, ReducerOptions options = {}) {
  options.shards = shards;
  options.first_bucket_bytes = 512;
  options.bucket_bytes = 8192;
  return options;
}

// The results of `steps` eager steps on this rank; null: on the host.
inline std::vector<Bytes> eager_steps(Communicator& comm, Accelerator* accelerator, ReducerOptions options, int steps) {
  if (accelerator != nullptr) options.device = accelerator->device();
  GradientReducer reducer(comm, some_entries(), options);
  FakeBackward backward(comm, reducer, accelerator);
  std::vector<Bytes> results;
  for (int step = 1; step <= steps; ++step) {
    backward.set_step(step);
    backward.run(step);
    results.push_back(results_of(reducer));
  }
  return results;
}

// Three steps on ranks that are threads, on the host: rank 0's results.
inline std::vector<Bytes> host_steps(std::int64_t shards, int ranks, const ReducerOptions& options = {}) {
  LocalGroup group(ranks);
  std::vector<Bytes> steps;
  group.run([&](Communicator& comm) {
    auto mine = eager_steps(comm, nullptr, small_buckets(shards, options), 3);
    if (comm.rank() == 0) steps = std::move(mine);
  });
  return steps;
}

}  // namespace lockstep::testing
