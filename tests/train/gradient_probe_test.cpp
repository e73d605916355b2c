// What a step measures for the gradient noise scale: from gradients whose mean and covariance are known in closed form, and from a
// training job at several numbers of ranks.
//
// The toy problem: L(theta) = E |theta - x|^2 / 2 with x ~ N(mu, diag(sigma^2)). A sample's gradient is theta - x, so that G = theta - mu
// and Sigma = diag(sigma^2), exactly. Theta lies in the parameters of a network, so that groups, buckets and tree are a run's own.
// SPDX-License-Identifier: Apache-2.0
#include "train/gradient_probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include "core/philox.h"
#include "tests/train/step_job.h"

namespace lockstep {
namespace {

using testing_job::digest_after;
using testing_job::Overrides;
using testing_job::run_steps;
using testing_job::session_of;

constexpr int kShards = 4, kShardBatch = 2;
const Overrides kToy{"model.base_width=1", "batch.global_batch=8", "batch.shard_batch=2"};

// G and sigma of a parameter's elements; the noise differs between parameters, so that groups have other ratios.
double slope(int id) { return 0.02 * (1 + id % 3); }
double sigma(int id) { return 0.5 + 0.25 * (id % 4); }

// One shard's gradients: the mean over its samples of theta - x. `common`: variance that all samples of a step share, as when batch norm
// sees them all.
using Fill = std::function<void(std::int64_t step, int shard, int id, std::span<float> gradient)>;
void fill_toy(std::int64_t step, int shard, int id, std::span<float> gradient, double common = 0) {
  const auto key = [&](int stream) {
    return RandomKey{.seed = 11, .a = static_cast<std::uint32_t>(step), .b = static_cast<std::uint64_t>(id * 1000 + stream)};
  };
  RandomStream own(key(shard)), shared(key(999));
  for (float& value : gradient) {
    double sum = 0;
    for (int i = 0; i < kShardBatch; ++i) sum += static_cast<double>(own.normal()) * std::sqrt(1 - common);
    const double together = common > 0 ? static_cast<double>(shared.normal()) * std::sqrt(common) : 0;
    value = static_cast<float>(slope(id) + sigma(id) * (sum / kShardBatch + together));
  }
}

// Steps of the reducer with a probe; every rank's results in order of steps, of rank 0.
std::vector<GradientSquares> probe_steps(const Overrides& set, int ranks, int steps, const Fill& fill, std::vector<int>* group_of = nullptr) {
  std::vector<GradientSquares> all;
  LocalGroup group(ranks);
  group.run([&](Communicator& comm) {
    Session session = session_of(set, ranks);
    const auto& parameters = session.network.model->parameters();
    StepEntries entries(*session.network.model);
    ReducerOptions options = reducer_options(session.config().distributed(), session.plan.shards, {});
    options.bucket_bytes = options.first_bucket_bytes = 2048;  // several buckets, and groups that lie in two
    NoisePlan plan = plan_noise(session.config(), session.plan, *session.network.model);
    plan.every_steps = 1;
    GradientProbe probe(session.network, plan, entries, options);
    GradientReducer reducer(comm, entries.list, options);
    probe.attach(reducer);
    for (std::int64_t step = 0; step < steps; ++step) {
      reducer.begin_step(step);
      probe.begin_step(step);
      for (int shard = 0; shard < reducer.local_shards(); ++shard)
        for (int id = entries.totals; id >= 0; --id) {
          Tensor gradient = reducer.gradient(shard, id);
          if (id < entries.first_buffer) fill(step, session.plan.first_shard(comm.rank()) + shard, id, gradient.host<float>());
          reducer.mark_ready(shard, id);
        }
      for (int shard = 0; shard < reducer.local_shards(); ++shard) probe.close(shard);
      EXPECT_EQ(reducer.finish().buckets.size(), reducer.plan().buckets.size());
      session.optimizer->gradient_norm(*session.network.kernels, {}, [&](const Parameter& each) { return reducer.result(each.id); });
      if (comm.rank() == 0) all.push_back(probe.squares(session.optimizer->gradient_squares()));
    }
    if (comm.rank() == 0 && group_of != nullptr) *group_of = noise_groups(parameters).of_parameter;
  });
  return all;
}

std::vector<std::int64_t> parameter_sizes() {
  const Session session = session_of(kToy);
  std::vector<std::int64_t> sizes;
  for (const Parameter* parameter : session.network.model->parameters()) sizes.push_back(parameter->value.numel());
  return sizes;
}

// Mean and standard error over the steps of one estimate.
struct Mean {
  double mean = 0, error = 0;
};
Mean mean_of(const std::vector<double>& values) {
  double sum = 0, squares = 0;
  for (const double value : values) sum += value;
  const double n = static_cast<double>(values.size()), mean = sum / n;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {mean, std::sqrt(squares / (n - 1) / n)};
}

struct Truth {
  double norm2 = 0, variance = 0;
};
std::vector<Truth> truth_by_group(const std::vector<int>& group_of) {
  std::vector<Truth> truth(kMostNoiseGroups);
  const std::vector<std::int64_t> sizes = parameter_sizes();
  for (std::size_t id = 0; id < sizes.size(); ++id) {
    Truth& group = truth[static_cast<std::size_t>(group_of[id])];
    group.norm2 += static_cast<double>(sizes[id]) * slope(static_cast<int>(id)) * slope(static_cast<int>(id));
    group.variance += static_cast<double>(sizes[id]) * sigma(static_cast<int>(id)) * sigma(static_cast<int>(id));
  }
  return truth;
}

// The two estimates of one group over all steps.
std::array<Mean, 2> estimates(const std::vector<GradientSquares>& steps, std::size_t group) {
  std::vector<double> norm2, variance;
  for (const GradientSquares& step : steps) {
    const NoiseEstimate estimate = estimate_noise(step.part[group], step.mean[group], kShardBatch, kShards * kShardBatch);
    norm2.push_back(estimate.norm2);
    variance.push_back(estimate.variance);
  }
  return {mean_of(norm2), mean_of(variance)};
}

constexpr double kErrors = 3;  // standard errors: the seed is fixed, one in 370 seeds would fail for each estimate

TEST(GradientProbe, IsUnbiasedWhereGAndSigmaAreKnown) {
  std::vector<int> group_of;
  const auto steps = probe_steps(kToy, 1, 1000, [](auto... what) { fill_toy(what...); }, &group_of);
  const std::vector<Truth> truth = truth_by_group(group_of);
  std::size_t groups = 0;
  for (std::size_t g = 0; g < truth.size(); ++g) {
    const auto [norm2, variance] = estimates(steps, g);
    if (truth[g].variance == 0) {
      EXPECT_EQ(variance.mean, 0) << "no such group";
      continue;
    }
    ++groups;
    EXPECT_LT(std::fabs(norm2.mean - truth[g].norm2), kErrors * norm2.error) << "group " << g << ": " << norm2.mean;
    EXPECT_LT(std::fabs(variance.mean - truth[g].variance), kErrors * variance.error) << "group " << g << ": " << variance.mean;
    EXPECT_LT(variance.error, 0.02 * truth[g].variance) << "nothing was tested";
  }
  EXPECT_GE(groups, 4u);
}

// The control: where samples of different shards share noise, both estimates are off, by far more than the error allowed above.
TEST(GradientProbe, ShowsABiasWhereShardsAreNotIndependent) {
  std::vector<int> group_of;
  const auto steps = probe_steps(kToy, 1, 200, [](auto... what) { fill_toy(what..., 0.2); }, &group_of);
  const std::vector<Truth> truth = truth_by_group(group_of);
  const auto [norm2, variance] = estimates(steps, 0);
  EXPECT_GT(std::fabs(norm2.mean - truth[0].norm2), 3 * kErrors * norm2.error);
  EXPECT_LT(variance.mean, truth[0].variance - 3 * kErrors * variance.error);
}

bool same_squares(const GradientSquares& a, const GradientSquares& b) {
  return a.measured == b.measured && std::memcmp(a.part.data(), b.part.data(), sizeof a.part) == 0 &&
         std::memcmp(a.mean.data(), b.mean.data(), sizeof a.mean) == 0;
}

TEST(GradientProbe, HasTheSameBitsAtEveryNumberOfRanks) {
  const auto alone = probe_steps(kToy, 1, 3, [](auto... what) { fill_toy(what...); });
  for (const int ranks : {2, 4}) {
    const auto several = probe_steps(kToy, ranks, 3, [](auto... what) { fill_toy(what...); });
    for (std::size_t i = 0; i < alone.size(); ++i) EXPECT_TRUE(same_squares(several[i], alone[i])) << ranks << " ranks, step " << i;
  }
}

// Against sums in double over the gradients themselves. A part of two shards is their mean.
TEST(GradientProbe, MeasuresThePartsOfBatchNorm) {
  const std::vector<std::int64_t> sizes = parameter_sizes();
  for (const int part_shards : {1, 2}) {
    Overrides set = kToy;
    if (part_shards > 1) set.insert(set.end(), {"model.batch_norm.scope=GROUP", "model.batch_norm.group_shards=2"});
    std::vector<int> group_of;
    const auto got = probe_steps(set, 1, 1, [](auto... what) { fill_toy(what...); }, &group_of);
    GradientSquares want;
    for (std::size_t id = 0; id < sizes.size(); ++id) {
      std::vector<std::vector<float>> shards(kShards, std::vector<float>(static_cast<std::size_t>(sizes[id])));
      for (int s = 0; s < kShards; ++s) fill_toy(0, s, static_cast<int>(id), shards[static_cast<std::size_t>(s)]);
      const auto group = static_cast<std::size_t>(group_of[id]);
      for (std::size_t i = 0; i < shards[0].size(); ++i) {
        double all = 0;
        for (int first = 0; first < kShards; first += part_shards) {
          double part = 0;
          for (int s = first; s < first + part_shards; ++s) part += static_cast<double>(shards[static_cast<std::size_t>(s)][i]) / part_shards;
          want.part[group] += part * part * part_shards / kShards;
          all += part * part_shards / kShards;
        }
        want.mean[group] += all * all;
      }
    }
    for (std::size_t g = 0; g < want.part.size(); ++g) {
      EXPECT_NEAR(got[0].part[g], want.part[g], want.part[g] * 4e-7) << "f32 sums of two";
      EXPECT_NEAR(got[0].mean[g], want.mean[g], want.mean[g] * 8e-7) << "and of four";
    }
  }
}

// ---- in training

// Of the first three measured steps.
std::vector<GradientSquares> squares_of_training(const Overrides& set, int ranks) {
  std::vector<GradientSquares> squares;
  LocalGroup group(ranks);
  group.run([&](Communicator& comm) {
    Session session = session_of(set, ranks);
    const std::int64_t every = plan_noise(session.config(), session.plan, *session.network.model).every_steps;
    for (const StepResult& result : run_steps(session, comm, 0, 2 * every + 1))
      if (comm.rank() == 0 && result.squares.measured) squares.push_back(result.squares);
  });
  return squares;
}

TEST(GradientProbe, OfTrainingHasTheSameBitsAtEveryNumberOfRanks) {
  const Overrides pairs{"model.batch_norm.scope=GROUP", "model.batch_norm.group_shards=2"};
  for (const auto& [set, most] : std::vector<std::pair<Overrides, int>>{{{}, 4}, {pairs, 2}}) {
    const auto alone = squares_of_training(set, 1);
    ASSERT_EQ(alone.size(), 3u);
    for (const GradientSquares& each : alone) {
      EXPECT_GT(each.part[0], each.mean[0]);
      EXPECT_GT(each.mean[0], 0);
    }
    EXPECT_FALSE(same_squares(alone[0], alone[1])) << "each is measured anew";
    for (int ranks = 2; ranks <= most; ranks *= 2) {
      const auto several = squares_of_training(set, ranks);
      ASSERT_EQ(several.size(), alone.size());
      for (std::size_t i = 0; i < alone.size(); ++i) EXPECT_TRUE(same_squares(several[i], alone[i])) << ranks << " ranks, step " << i;
    }
  }
}

TEST(GradientProbe, ChangesNoBitOfTheTraining) {
  for (const Overrides& job : std::vector<Overrides>{{}, {"optimizer.clip_norm=0.05"}, {"optimizer.type=LARS"}, {"distributed.wire=BF16"}}) {
    Overrides off = job;
    off.emplace_back("logging.noise_scale=false");
    for (const int ranks : {1, 2}) EXPECT_EQ(digest_after(job, 3, ranks), digest_after(off, 3, ranks));
  }
  EXPECT_NE(digest_after({}, 3), digest_after({"optimizer.clip_norm=0.05"}, 3)) << "the control";
}

}  // namespace
}  // namespace lockstep
