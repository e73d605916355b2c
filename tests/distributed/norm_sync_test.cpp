// Batch-norm moments over groups of shards: against the joined samples in f64, at every world size, with uneven counts.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "distributed/local_group.h"
#include "distributed/norm_sync_group.h"
#include "distributed_test_util.h"

namespace lockstep {
namespace {

constexpr int kChannels = 5;

// Shard s brings an uneven number of samples (one shard none at all), with means far from 0.
std::int64_t samples_of(std::int64_t shard) { return shard == 3 ? 0 : 3 + shard * shard % 7; }
std::vector<double> samples(std::int64_t shard, int channel) {
  auto values = testing::shard_values<double>(shard, channel, samples_of(shard));
  for (double& value : values) value = value * 0.01 + 100 + static_cast<double>(shard);
  return values;
}

struct Moments {
  double count = 0;
  std::vector<double> mean, m2;
};

Moments moments_of(std::int64_t first, std::int64_t shards) {
  Moments moments{.mean = std::vector<double>(kChannels), .m2 = std::vector<double>(kChannels)};
  for (int c = 0; c < kChannels; ++c) {
    std::vector<double> joined;
    for (std::int64_t s = first; s < first + shards; ++s)
      for (const double value : samples(s, c)) joined.push_back(value);
    moments.count = static_cast<double>(joined.size());
    long double sum = 0, m2 = 0;
    for (const double value : joined) sum += value;
    const long double mean = joined.empty() ? 0 : sum / static_cast<long double>(joined.size());
    for (const double value : joined) m2 += (value - mean) * (value - mean);
    moments.mean[static_cast<std::size_t>(c)] = static_cast<double>(mean);
    moments.m2[static_cast<std::size_t>(c)] = static_cast<double>(m2);
  }
  return moments;
}

// All shards meet twice (different sizes in between), as batch norm does forward and backward. Result by global shard.
std::vector<Moments> meet(std::int64_t shards, std::int64_t group, int ranks, DType dtype) {
  std::vector<Moments> results(static_cast<std::size_t>(shards));
  LocalGroup world(ranks);
  world.run([&](Communicator& comm) {
    const int local = static_cast<int>(shards) / ranks;
    ShardCrew crew(local);
    NormSyncGroup groups(comm, crew, shards, group);
    for (int step = 0; step < 3; ++step) {
      groups.begin_step();
      crew.run([&](int shard) {
        NormSync& sync = groups.shard(shard);
        const std::int64_t global = comm.rank() * local + shard;
        const Moments own = moments_of(global, 1);
        Tensor mean = Tensor::zeros(Shape{kChannels}, dtype), m2 = Tensor::zeros(Shape{kChannels}, dtype);
        for (std::size_t c = 0; c < kChannels; ++c) {
          if (dtype == DType::kF64) {
            mean.host<double>()[c] = own.mean[c];
            m2.host<double>()[c] = own.m2[c];
          } else {
            mean.host<float>()[c] = static_cast<float>(own.mean[c]);
            m2.host<float>()[c] = static_cast<float>(own.m2[c]);
          }
        }
        Moments merged;
        merged.count = sync.merge_moments(own.count, mean, m2);
        for (std::size_t c = 0; c < kChannels; ++c) {
          merged.mean.push_back(dtype == DType::kF64 ? mean.host<double>()[c] : mean.host<float>()[c]);
          merged.m2.push_back(dtype == DType::kF64 ? m2.host<double>()[c] : m2.host<float>()[c]);
        }
        Tensor one = Tensor::zeros(Shape{2}, dtype);
        if (dtype == DType::kF64) one.host<double>()[1] = 1; else one.host<float>()[1] = 1;
        sync.sum(one);
        EXPECT_EQ(dtype == DType::kF64 ? one.host<double>()[1] : one.host<float>()[1], static_cast<double>(group));
        results[static_cast<std::size_t>(global)] = merged;
      });
    }
  });
  return results;
}

TEST(NormSync, EqualsTheJoinedSamplesInF64) {
  for (const auto& [shards, group] : std::vector<std::pair<int, int>>{{8, 8}, {8, 4}, {8, 2}, {8, 1}, {12, 12}, {12, 6}, {12, 3}})
    for (const int ranks : {1, 2, 4}) {
      const auto results = meet(shards, group, ranks, DType::kF64);
      for (int s = 0; s < shards; ++s) {
        const Moments want = moments_of(s / group * group, group);
        const Moments& got = results[static_cast<std::size_t>(s)];
        EXPECT_EQ(got.count, want.count);
        // Each of at most group merges adds a few roundings of values up to |mean| ~ 110; m2 sums squares of ~12.
        const double u = dtype_epsilon(DType::kF64);
        for (std::size_t c = 0; c < kChannels; ++c) {
          EXPECT_NEAR(got.mean[c], want.mean[c], 4 * u * group * std::abs(want.mean[c]) + 1e-300);
          EXPECT_NEAR(got.m2[c], want.m2[c], 8 * u * (group + 60) * (want.m2[c] + 110 * std::sqrt(want.m2[c] * want.count)) + 1e-300);
        }
      }
    }
}

TEST(NormSync, SameBitsAtEveryWorldSize) {
  for (const DType dtype : {DType::kF32, DType::kF64})
    for (const auto& [shards, group] : std::vector<std::pair<int, int>>{{8, 8}, {8, 4}, {12, 12}, {12, 6}, {12, 3}}) {
      const auto alone = meet(shards, group, 1, dtype);
      for (const int ranks : {2, 3, 4}) {
        if (shards % ranks != 0) continue;
        const auto split = meet(shards, group, ranks, dtype);
        for (std::size_t s = 0; s < alone.size(); ++s) {
          EXPECT_EQ(split[s].mean, alone[s].mean) << shards << "/" << group << " on " << ranks;
          EXPECT_EQ(split[s].m2, alone[s].m2) << shards << "/" << group << " on " << ranks;
        }
      }
    }
}

TEST(NormSync, GroupsDifferFromEachOther) {  // negative control: a group sees its own shards only
  const auto results = meet(8, 4, 2, DType::kF64);
  EXPECT_NE(results[0].mean, results[4].mean);
  EXPECT_EQ(results[0].mean, results[1].mean);
}

TEST(NormSync, RefusesGroupsThatDoNotDivideTheShards) {
  const auto comm = make_solo_communicator();
  ShardCrew crew(8);
  const std::string message = testing::message_of<UserError>([&] { NormSyncGroup(*comm, crew, 8, 3); });
  EXPECT_NE(message.find("groups of 3 shards"), std::string::npos) << message;
}

TEST(NormSync, AFailureInOneShardEndsAllRanksAndTheNextStepWorks) {
  const auto comm = make_solo_communicator();
  ShardCrew crew(4);
  NormSyncGroup groups(*comm, crew, 4, 4);
  const auto work = [&](int failing) {
    groups.begin_step();
    crew.run([&](int shard) {
      Tensor values = Tensor::zeros(Shape{1}, DType::kF32);
      groups.shard(shard).sum(values);
      if (shard == failing) throw UserError("bad sample in shard " + std::to_string(shard));
      values.host<float>()[0] = 1;
      groups.shard(shard).sum(values);
      EXPECT_EQ(values.host<float>()[0], 4);
    });
  };
  EXPECT_EQ(testing::message_of<UserError>([&] { work(2); }), "bad sample in shard 2");
  work(-1);
}

}  // namespace
}  // namespace lockstep
