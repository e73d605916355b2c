// Small training states with every dtype and rank that a checkpoint may hold, and their exact comparison.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstring>
#include <filesystem>
#include <string>

#include "core/philox.h"
#include "train/checkpoint/checkpoint_store.h"

namespace lockstep::test {

inline Tensor random_tensor(const Shape& shape, DType dtype, std::uint64_t seed) {
  Tensor tensor = Tensor::empty(shape, dtype);
  RandomStream random({.seed = seed, .purpose = RandomPurpose::kTest});
  auto* bytes = static_cast<unsigned char*>(tensor.ptr());
  for (std::size_t i = 0; i < tensor.nbytes(); ++i) bytes[i] = static_cast<unsigned char>(random.bits());
  return tensor;
}

// Every step has other values.
inline TrainingState sample_state(std::uint64_t step) {
  TrainingState state;
  state.step = step;
  state.epoch = step / 7;
  state.samples_in_epoch = step % 7 * 64;
  state.seed = 42;
  state.counters = {{"loss_scale_growth", static_cast<std::int64_t>(step) - 3}};
  state.model = {{"conv1.weight", random_tensor({4, 3, 3, 3}, DType::kF32, step)},
                 {"layer1.0.conv1.weight", random_tensor({5, 4, 1, 1}, DType::kF32, step + 1000)},
                 {"bn1.running_mean", random_tensor({4}, DType::kF64, step + 2000)},
                 {"bn1.num_batches_tracked", random_tensor({}, DType::kI64, step + 3000)},
                 {"half", random_tensor({2, 2, 3, 2}, DType::kBF16, step + 4000)},
                 {"fc.weight", random_tensor({3, 5}, DType::kF32, step + 5000)},
                 {"bytes", random_tensor({3}, DType::kU8, step + 6000)},
                 {"empty", random_tensor({0, 3}, DType::kI32, step)}};
  state.optimizer = {{"momentum.conv1.weight", random_tensor({4, 3, 3, 3}, DType::kF32, step + 7000)},
                     {"momentum.fc.weight", random_tensor({3, 5}, DType::kF32, step + 8000)}};
  state.contract = {32, 8, 1, "EXACT", "SHARD", "f32", "d41d", "c0ff", "optimizer { lr_per_256: 0.1 }\n"};
  state.bad_samples = {{"n01/a\xff.JPEG", "truncated"}};
  state.best_metric = 0.1 + static_cast<double>(step) * 1e-3;
  state.accumulators = {{"loss_sum", 1.0 / 3.0 * static_cast<double>(step)}};
  state.provenance = {"abc123", {{"dnnl", "2.6.3"}}, "avx512", 2, "node07"};
  return state;
}

inline bool same_tensors(const std::vector<NamedTensor>& a, const std::vector<NamedTensor>& b) {
  if (a.size() != b.size()) return false;
  for (const NamedTensor& left : a) {
    const auto right = std::find_if(b.begin(), b.end(), [&](const NamedTensor& t) { return t.name == left.name; });
    if (right == b.end() || !(right->tensor.shape() == left.tensor.shape()) || right->tensor.dtype() != left.tensor.dtype() ||
        std::memcmp(right->tensor.ptr(), left.tensor.ptr(), left.tensor.nbytes()) != 0)
      return false;
  }
  return true;
}

// Bit for bit, everything.
inline bool same_state(const TrainingState& a, const TrainingState& b) {
  return a.step == b.step && a.epoch == b.epoch && a.samples_in_epoch == b.samples_in_epoch && a.seed == b.seed &&
         a.counters == b.counters && same_tensors(a.model, b.model) && same_tensors(a.optimizer, b.optimizer) &&
         a.contract.shard_batch == b.contract.shard_batch && a.contract.shards == b.contract.shards &&
         a.contract.threads_per_shard == b.contract.threads_per_shard && a.contract.reduction == b.contract.reduction &&
         a.contract.bn_scope == b.contract.bn_scope && a.contract.wire_dtype == b.contract.wire_dtype &&
         a.contract.dataset_digest == b.contract.dataset_digest && a.contract.config_digest == b.contract.config_digest &&
         a.contract.config_text == b.contract.config_text && a.bad_samples == b.bad_samples && a.best_metric == b.best_metric &&
         a.accumulators == b.accumulators && a.provenance.build_id == b.provenance.build_id &&
         a.provenance.libraries == b.provenance.libraries && a.provenance.cpu_isa == b.provenance.cpu_isa &&
         a.provenance.world_size == b.provenance.world_size && a.provenance.host == b.provenance.host;
}

inline TrainingState load(Fs& fs, const std::string& path) {
  TrainingState state;
  load_checkpoint(fs, path, state);
  return state;
}

// Removed at the end of the test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "lockstep-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace lockstep::test
