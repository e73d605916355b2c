// The digest of the training state: what changes it and what doesn't; contract differences; the replica check.
// SPDX-License-Identifier: Apache-2.0
#include "train/checkpoint/state.h"

#include <gtest/gtest.h>

#include <functional>

#include "tests/checkpoint/memory_fs.h"
#include "tests/checkpoint/sample_state.h"

namespace lockstep::test {
namespace {

void flip_bit(Tensor tensor, std::size_t byte) { static_cast<unsigned char*>(tensor.ptr())[byte] ^= 1; }

TEST(Hash, PrintsWhatXxh128sumPrints) {
  // From the xxHash specification's sanity data: XXH3-128 of nothing, seed 0.
  EXPECT_EQ(hash_128("").hex(), "99aa06d3014798d86001c324468d497f");
  Hash128 parsed;
  EXPECT_TRUE(Hash128::parse(hash_128("abc").hex(), parsed));
  EXPECT_EQ(parsed, hash_128("abc"));
  EXPECT_FALSE(Hash128::parse("99AA06d3014798d86001c324468d497f", parsed));
  EXPECT_FALSE(Hash128::parse("99", parsed));
}

TEST(Hash, StreamEqualsOneShot) {
  std::string text(100000, 'x');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 31 >> 3);
  Hasher hasher;
  for (std::size_t at = 0, step = 1; at < text.size(); at += step, step = step * 2 % 7919)
    hasher.update(text.data() + at, std::min(step, text.size() - at));
  EXPECT_EQ(hasher.value(), hash_128(text));
}

TEST(StateDigest, ChangesWithEveryPartOfTheState) {
  const std::string original = state_digest(sample_state(5));
  EXPECT_EQ(state_digest(sample_state(5)), original);
  EXPECT_EQ(original.size(), 32u);
  const auto changed = [&](const char* what, const std::function<void(TrainingState&)>& change) {
    TrainingState state = sample_state(5);
    change(state);
    EXPECT_NE(state_digest(state), original) << what;
  };
  changed("step", [](auto& s) { ++s.step; });
  changed("epoch", [](auto& s) { ++s.epoch; });
  changed("samples", [](auto& s) { ++s.samples_in_epoch; });
  changed("seed", [](auto& s) { ++s.seed; });
  changed("counter", [](auto& s) { ++s.counters["loss_scale_growth"]; });
  for (std::size_t i = 0; i < sample_state(5).model.size(); ++i)
    changed("model", [i](auto& s) {
      Tensor& tensor = s.model[i].tensor;
      if (tensor.nbytes() > 0) flip_bit(tensor, tensor.nbytes() - 1); else s.model[i].tensor = Tensor::zeros({0, 4}, DType::kI32);
    });
  changed("optimizer", [](auto& s) { flip_bit(s.optimizer[1].tensor, 0); });
  changed("name", [](auto& s) { s.model[0].name += "x"; });
  changed("group", [](auto& s) { s.optimizer.push_back(s.model.back()), s.model.pop_back(); });
  changed("shape", [](auto& s) { s.model[5].tensor = s.model[5].tensor.reshape({5, 3}); });
  changed("dtype", [](auto& s) { s.model[5].tensor = s.model[5].tensor.view({3, 5}, DType::kI32); });
}

TEST(StateDigest, IgnoresWhereAndWhenAndOrderOfTensors) {
  const std::string original = state_digest(sample_state(5));
  TrainingState state = sample_state(5);
  state.provenance = {};
  state.contract = {};
  state.accumulators.clear();
  state.bad_samples.clear();
  state.best_metric.reset();
  std::reverse(state.model.begin(), state.model.end());
  EXPECT_EQ(state_digest(state), original);
}

// A second implementation of the text in docs/checkpoint_format.md.
TEST(StateDigest, IsTheHashOfTheDocumentedText) {
  TrainingState state;
  state.step = 7;
  state.epoch = 1;
  state.samples_in_epoch = 64;
  state.seed = 3;
  state.counters = {{"n", -2}};
  Tensor w = Tensor::zeros({1, 2, 2, 1}, DType::kU8);
  for (std::uint8_t i = 0; i < 4; ++i) w.host<std::uint8_t>()[i] = i;  // channels-last 0 1 2 3 = row-major 0 2 1 3
  state.model = {{"w", w}, {"b", Tensor::zeros({}, DType::kI64)}};
  const std::string text = "lockstep training state 1\nstep 7\nepoch 1\nsamples_in_epoch 64\nseed 3\ncounter 1:n -2\n"
                           "model 1:b I64 [] " + hash_128(std::string(8, '\0')).hex() + "\n"
                           "model 1:w U8 [1,2,2,1] " + hash_128(std::string("\0\2\1\3", 4)).hex() + "\n";
  EXPECT_EQ(state_digest(state), hash_128(text).hex());
}

TEST(ContractDifferences, SeparatesAnotherRunFromOtherBits) {
  const TrainingState saved = sample_state(5);
  TrainingState current = sample_state(0);
  EXPECT_TRUE(contract_differences(saved, current).breaking.empty());
  EXPECT_TRUE(contract_differences(saved, current).bits.empty());
  current.contract.shards = 4;
  current.contract.threads_per_shard = 2;
  current.provenance.libraries["dnnl"] = "3.1";
  const ContractDifferences found = contract_differences(saved, current);
  EXPECT_EQ(found.breaking, std::vector<std::string>{"shards: saved 8, now 4"});
  EXPECT_EQ(found.bits, (std::vector<std::string>{"threads per shard: saved 1, now 2", "dnnl: saved 2.6.3, now 3.1"}));
}

}  // namespace
}  // namespace lockstep::test
