// The reducer over ranks that are threads: the same bits at every world size, and its checked states.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <numeric>

#include "distributed/gradient_reducer.h"
#include "distributed/local_group.h"
#include "distributed_test_util.h"

namespace lockstep {
namespace {

using testing::message_of;
using testing::shard_values;

std::vector<ReduceEntry> some_entries() {
  return {{"conv.weight", Shape{40, 3, 3, 3}}, {"bn.weight", Shape{40}}, {"bn.bias", Shape{1}},
          {"fc.weight", Shape{700, 10}}, {"fc.bias", Shape{10}},
          {"bn.mean", Shape{40}, DType::kF32, EntryKind::kObservation}, {"loss", Shape{2}, DType::kF64, EntryKind::kTotal}};
}

void write(GradientReducer& reducer, std::int64_t global_shard, int shard, int id) {
  Tensor gradient = reducer.gradient(shard, id);
  EXPECT_EQ(gradient.shape(), reducer.entry(id).shape);
  if (gradient.dtype() == DType::kF64)
    std::ranges::copy(shard_values<double>(global_shard, id, gradient.numel()), gradient.host<double>().begin());
  else
    std::ranges::copy(shard_values<float>(global_shard, id, gradient.numel()), gradient.host<float>().begin());
}

// One step in which shard s writes its entries in the order that `order(local shard)` says, interleaved if wanted.
std::vector<std::vector<std::byte>> step(Communicator& comm, GradientReducer& reducer, bool interleaved) {
  const int entries = static_cast<int>(some_entries().size()), shards = reducer.local_shards();
  reducer.begin_step(3);
  for (int i = 0; i < entries * shards; ++i) {
    const int shard = interleaved ? (i % shards + i / shards) % shards : i / entries;
    const int id = entries - 1 - (interleaved ? i / shards : i % entries);
    write(reducer, comm.rank() * shards + shard, shard, id);
    reducer.mark_ready(shard, id);
  }
  const ReduceReport report = reducer.finish();
  EXPECT_EQ(report.buckets.size(), reducer.plan().buckets.size());
  std::vector<std::vector<std::byte>> results;
  for (int id = 0; id < entries; ++id) {
    const Tensor tensor = reducer.result(id);
    const auto* bytes = static_cast<const std::byte*>(tensor.ptr());
    results.emplace_back(bytes, bytes + tensor.nbytes());
  }
  return results;
}

std::vector<std::vector<std::byte>> run(std::int64_t shards, int ranks, ReducerOptions options = {}, bool interleaved = false) {
  options.shards = shards;
  options.first_bucket_bytes = 512;
  options.bucket_bytes = 8192;
  LocalGroup group(ranks);
  std::vector<std::vector<std::vector<std::byte>>> all(static_cast<std::size_t>(ranks));
  group.run([&](Communicator& comm) {
    GradientReducer reducer(comm, some_entries(), options);
    step(comm, reducer, interleaved);
    all[static_cast<std::size_t>(comm.rank())] = step(comm, reducer, interleaved);  // warm buffers, other contents
  });
  for (const auto& each : all) EXPECT_EQ(each, all[0]);
  return all[0];
}

TEST(GradientReducer, SameBitsAtEveryWorldSize) {
  const std::map<std::int64_t, std::vector<int>> worlds = {
      {1, {1}}, {2, {1, 2}}, {4, {1, 2, 4}}, {6, {1, 2}}, {8, {1, 2, 4, 8}}, {12, {1, 2, 4}}, {16, {1, 2, 4, 8}}, {24, {1, 2, 4, 8}}};
  for (const auto& [shards, ranks] : worlds) {
    const auto alone = run(shards, 1);
    for (const int world : ranks)
      for (const bool interleaved : {false, true}) EXPECT_EQ(run(shards, world, {}, interleaved), alone) << shards << " on " << world;
  }
}

TEST(GradientReducer, HasTheDocumentedTreeMeanAndTotal) {
  for (const std::int64_t shards : {8, 12}) {
    const auto got = run(shards, 4);
    const auto entries = some_entries();
    for (int id = 0; id < 6; ++id) {
      auto want = testing::tree_sum<float>(0, shards, [&](std::int64_t s) {
        return shard_values<float>(s, id, entries[static_cast<std::size_t>(id)].shape.numel());
      });
      for (float& value : want) value /= static_cast<float>(shards);
      EXPECT_EQ(std::memcmp(got[static_cast<std::size_t>(id)].data(), want.data(), want.size() * 4), 0) << entries[static_cast<std::size_t>(id)].name;
    }
    const auto total = testing::tree_sum<double>(0, shards, [](std::int64_t s) { return shard_values<double>(s, 6, 2); });
    EXPECT_EQ(std::memcmp(got[6].data(), total.data(), 16), 0);
  }
}

TEST(GradientReducer, FastAtFourRanksAndAnotherShardCountAreDifferentRuns) {
  const auto exact = run(8, 1);
  EXPECT_NE(run(8, 4, {.order = ReduceOrder::kFast}), exact);
  EXPECT_NE(run(4, 1), exact);
  EXPECT_EQ(run(6, 3, {.order = ReduceOrder::kFast}).size(), exact.size());  // any divisor will do
}

TEST(GradientReducer, BF16TouchesGradientsOnly) {
  const auto exact = run(8, 4);
  const auto rounded = run(8, 4, {.wire = WireFormat::kBF16});
  EXPECT_NE(rounded[0], exact[0]);
  EXPECT_EQ(rounded[5], exact[5]);  // batch statistics
  EXPECT_EQ(rounded[6], exact[6]);  // totals
}

// Records the order of launches.
class RecordingCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  const std::string& host_of(int) const override { return host_; }
  int local_rank() const override { return 0; }
  std::string_view transport() const override { return "recording"; }
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all, std::string_view) override { std::ranges::copy(mine, all.begin()); }
  void broadcast(std::span<std::byte>, int, std::string_view) override {}
  void barrier(std::string_view) override {}
  Ticket all_reduce_async(Tensor, const ReduceOptions&, std::string_view label) override {
    launches.emplace_back(label);
    return launches.size();
  }
  OperationTimes wait(Ticket) override { return {}; }
  void set_activity(std::int64_t, const char*) override {}
  void set_report_dir(const std::string&) override {}
  void set_deadline(double) override {}
  void abort(ExitCode, const std::string&) override {}
  void finalize() override {}
  std::vector<std::string> launches;

 private:
  std::string host_ = "here";
};

TEST(GradientReducer, LaunchesInOrderWhenLaterBucketFillsFirst) {
  RecordingCommunicator comm;
  GradientReducer reducer(comm, {{"a", Shape{100}}, {"b", Shape{100}}, {"c", Shape{100}}}, {.shards = 2, .first_bucket_bytes = 1, .bucket_bytes = 1});
  reducer.begin_step(0);
  const auto mark = [&](int shard, int id) {
    reducer.gradient(shard, id);
    reducer.mark_ready(shard, id);
  };
  for (const int id : {0, 1, 2}) mark(0, id);
  EXPECT_TRUE(comm.launches.empty()) << "launched before the last local shard";
  mark(1, 0);  // the last bucket fills first
  mark(1, 1);
  EXPECT_TRUE(comm.launches.empty());
  mark(1, 2);
  EXPECT_EQ(comm.launches, (std::vector<std::string>{"bucket 1 of 3 (c)", "bucket 2 of 3 (b)", "bucket 3 of 3 (a)"}));
  EXPECT_EQ(reducer.finish().buckets.size(), 3u);
}

TEST(GradientReducer, SequentialShardsNeedLogarithmicMemoryAndAWarmStepNone) {
  RecordingCommunicator comm;
  const std::int64_t numel = 1 << 18;  // 1 MiB
  GradientReducer reducer(comm, {{"w", Shape{numel}}}, {.shards = 16});
  const auto step = [&] {
    reducer.begin_step(0);
    for (int shard = 0; shard < 16; ++shard) {
      reducer.gradient(shard, 0);
      reducer.mark_ready(shard, 0);
    }
    return reducer.finish();
  };
  const std::size_t before = cpu_pool().stats().in_use_bytes;
  EXPECT_EQ(step().nbytes, std::size_t{1} << 20);
  const PoolStats warm = cpu_pool().stats();
  EXPECT_LE(warm.in_use_bytes - before, std::size_t{5} << 20);  // log2(16) + 1 buffers
  EXPECT_EQ(step().buckets.size(), 1u);
  EXPECT_EQ(cpu_pool().stats().in_use_bytes, warm.in_use_bytes);
}

TEST(GradientReducer, MisuseIsAnInternalErrorThatNamesTheTensor) {
  RecordingCommunicator comm;
  GradientReducer reducer(comm, {{"conv.weight", Shape{4}}, {"fc.bias", Shape{4}}}, {.shards = 1});
  const auto says = [](const std::string& message, const std::string& part) {
    EXPECT_NE(message.find(part), std::string::npos) << "'" << message << "' should say '" << part << "'";
  };
  says(message_of<InternalError>([&] { reducer.gradient(0, 0); }), "conv.weight");
  says(message_of<InternalError>([&] { (void)reducer.finish(); }), "begin_step");
  reducer.begin_step(5);
  says(message_of<InternalError>([&] { reducer.begin_step(6); }), "step 5");
  says(message_of<InternalError>([&] { reducer.mark_ready(0, 1); }), "'fc.bias' was marked ready but never written");
  reducer.gradient(0, 1);
  reducer.mark_ready(0, 1);
  says(message_of<InternalError>([&] { reducer.mark_ready(0, 1); }), "'fc.bias' was marked ready before");
  says(message_of<InternalError>([&] { reducer.gradient(0, 1); }), "'fc.bias' was marked ready before");
  says(message_of<InternalError>([&] { reducer.result(0); }), "'conv.weight' was read before finish()");
  says(message_of<InternalError>([&] { (void)reducer.finish(); }), "'conv.weight' of local shard 0 was never marked");
  says(message_of<InternalError>([&] { reducer.gradient(1, 0); }), "shard 1 of 1");
  reducer.gradient(0, 0);
  reducer.mark_ready(0, 0);
  (void)reducer.finish();
  EXPECT_EQ(reducer.result(0).numel(), 4);
  says(message_of<InternalError>([&] { reducer.gradient(0, 0); }), "conv.weight");
}

TEST(GradientReducer, WorldSizesThatCannotShareTheShardsAreUserErrors) {
  check_world_size(12, 4, ReduceOrder::kFixedTree);
  check_world_size(12, 6, ReduceOrder::kFast);
  const std::string no = message_of<UserError>([] { check_world_size(12, 6, ReduceOrder::kFixedTree); });
  EXPECT_NE(no.find("1, 2, 4 ranks"), std::string::npos) << no;
  EXPECT_NE(no.find("FAST"), std::string::npos) << no;
  const std::string uneven = message_of<UserError>([] { check_world_size(8, 3, ReduceOrder::kFast); });
  EXPECT_NE(uneven.find("1, 2, 4, 8 ranks"), std::string::npos) << uneven;
  EXPECT_NE(message_of<UserError>([] { check_world_size(12, 8, ReduceOrder::kFixedTree); }), "");
  RecordingCommunicator comm;
  EXPECT_THROW(GradientReducer(comm, {{"w", Shape{1}, DType::kF64}}, {.wire = WireFormat::kBF16}), UserError);
}

TEST(GradientReducer, NamesTheFirstRankWithAnotherPlan) {
  LocalGroup group(4);
  std::mutex mutex;
  std::vector<std::string> messages;
  group.run([&](Communicator& comm) {
    const std::int64_t numel = comm.rank() == 2 ? 11 : 10;
    const std::string message = message_of<UserError>([&] { GradientReducer(comm, {{"w", Shape{numel}}}, {.shards = 4}); });
    const std::lock_guard lock(mutex);
    messages.push_back(message);
  });
  for (const std::string& message : messages) EXPECT_EQ(message.find("rank 2 (localhost) reduces other tensors"), 0u) << message;
}

}  // namespace
}  // namespace lockstep
