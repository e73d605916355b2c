// Batch norm's own promises: statistics, running averages' observations, and shards that meet equal the joined batch.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <barrier>
#include <cmath>
#include <thread>

#include "core/error.h"
#include "cpu/reference/reference_kernels.h"
#include "ops/batch_norm.h"
#include "tests/ops/sample_values.h"
#include "tests/tolerance.h"

namespace lockstep {
namespace {

constexpr std::int64_t kChannels = 4;

struct Layer {
  Parameter gamma{0, "bn.weight", ParameterKind::kNormScale, random_tensor({kChannels}, DType::kF64, 11, 0.5, 1.5)};
  Parameter beta{1, "bn.bias", ParameterKind::kNormBias, random_tensor({kChannels}, DType::kF64, 12)};
  Buffer mean{0, "bn.running_mean", random_tensor({kChannels}, DType::kF64, 13)};
  Buffer var{1, "bn.running_var", random_tensor({kChannels}, DType::kF64, 14, 0.5, 1.5)};
  BatchNormState state() const { return {gamma, beta, mean, var}; }
};

class Observations final : public ObservationSink {
 public:
  Tensor observation(const Buffer& buffer) override {
    return seen[buffer.id] = Tensor::empty(buffer.value.shape(), buffer.value.dtype());
  }
  std::map<int, Tensor> seen;
};

// Two shards that run in two threads. A mutant keeps the moments merged but forgets to add the backward sums.
struct Meeting {
  std::barrier<> barrier{2};
  double counts[2] = {};
  Tensor a[2], b[2];
  bool forget_sums = false;
};

class ShardSync final : public NormSync {
 public:
  ShardSync(Meeting& meeting, int shard) : meeting_(meeting), shard_(shard) {}

  double merge_moments(double count, Tensor& mean, Tensor& m2) override {
    meeting_.counts[shard_] = count;
    meet(mean.clone(), m2.clone());
    const double n0 = meeting_.counts[0], n1 = meeting_.counts[1], n = n0 + n1;
    for (std::int64_t c = 0; c < mean.numel(); ++c) {
      const double d = get_value(meeting_.a[1], c) - get_value(meeting_.a[0], c);
      set_value(mean, c, get_value(meeting_.a[0], c) + d * n1 / n);
      set_value(m2, c, get_value(meeting_.b[0], c) + get_value(meeting_.b[1], c) + d * d * n0 * n1 / n);
    }
    meeting_.barrier.arrive_and_wait();
    return n;
  }

  void sum(Tensor& values) override {
    meet(values.clone(), {});
    for (std::int64_t i = 0; i < values.numel() && !meeting_.forget_sums; ++i)
      set_value(values, i, get_value(meeting_.a[0], i) + get_value(meeting_.a[1], i));
    meeting_.barrier.arrive_and_wait();
  }

 private:
  void meet(Tensor a, Tensor b) {
    meeting_.a[shard_] = std::move(a);
    meeting_.b[shard_] = std::move(b);
    meeting_.barrier.arrive_and_wait();
  }
  Meeting& meeting_;
  int shard_;
};

struct Outcome {
  Tensor y, dx, dgamma, dbeta, observed_mean, observed_var;
};

struct Variant {
  bool relu, residual;
};

Outcome run(const Layer& layer, const Tensor& x, const Tensor& residual, const Tensor& dy, Variant variant, NormSync* sync) {
  const auto kernels = make_reference_kernels();
  Tape tape;
  Observations observations;
  Context ctx{.kernels = *kernels, .tape = &tape, .training = true, .norm_sync = sync, .observations = &observations};
  const Var in = tape.input(x), added = tape.input(residual);
  const Var y = batch_norm(ctx, in, layer.state(), {.relu = variant.relu}, variant.residual ? &added : nullptr);
  GradCollector sink;
  tape.backward(y, dy.clone(), &sink);
  return {y.value, tape.gradient_of(in), sink.grads.at(0), sink.grads.at(1), observations.seen.at(0), observations.seen.at(1)};
}

Tensor rows(const Tensor& joined, std::int64_t first, std::int64_t count) {
  Shape shape = joined.shape();
  const std::size_t row_bytes = joined.nbytes() / static_cast<std::size_t>(shape[0]);
  shape.set(0, count);
  return joined.view(shape, joined.dtype(), static_cast<std::size_t>(first) * row_bytes);
}

enum class Sync { kNone, kMeeting, kForgetsSums };

// Shard 0 has the first `split` samples, shard 1 the rest.
std::array<Outcome, 2> run_shards(const Layer& layer, const Tensor& x, const Tensor& residual, const Tensor& dy, Variant variant,
                                  std::int64_t split, Sync sync) {
  Meeting meeting;
  meeting.forget_sums = sync == Sync::kForgetsSums;
  std::array<Outcome, 2> outcomes;
  const auto shard = [&](int i) {
    const std::int64_t first = i == 0 ? 0 : split, count = i == 0 ? split : x.shape()[0] - split;
    ShardSync own(meeting, i);
    outcomes[static_cast<std::size_t>(i)] = run(layer, rows(x, first, count), rows(residual, first, count), rows(dy, first, count),
                                                variant, sync == Sync::kNone ? nullptr : &own);
  };
  std::thread other(shard, 1);
  shard(0);
  other.join();
  return outcomes;
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) largest = std::max(largest, std::fabs(a[i] - b[i]));
  return largest;
}

std::vector<double> joined_values(const Tensor& a, const Tensor& b) {
  std::vector<double> values = to_vector(a);
  const std::vector<double> more = to_vector(b);
  values.insert(values.end(), more.begin(), more.end());
  return values;
}

std::vector<double> added_values(const Tensor& a, const Tensor& b) {
  std::vector<double> values = to_vector(a);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] += get_value(b, static_cast<std::int64_t>(i));
  return values;
}

// Rounding of batch norm over n values per channel: the inputs are at most 1 in size (gamma 1.5), so with s = 1 / std every term
// of y, of the statistics and of dx (which multiplies by xhat twice: at most 2 s each) is at most 1.5 s (2 s)^2 + 2, and sums over
// the batch have n of them.
double bound(double inv_std, double n) {
  const double term = 1.5 * inv_std * 4 * inv_std * inv_std + 2;
  return 2 * error_bound(DType::kF64, static_cast<std::int64_t>(n) + 16, n * term);
}

class Shards : public ::testing::TestWithParam<Variant> {
 protected:
  const Layer layer_;
  const Tensor x_ = random_tensor({7, kChannels, 3, 2}, DType::kF64, 1);
  const Tensor residual_ = random_tensor({7, kChannels, 3, 2}, DType::kF64, 2);
  const Tensor dy_ = random_tensor({7, kChannels, 3, 2}, DType::kF64, 3);
  const double n_ = 42;
  const double inv_std_bound_ = 3;  // uniform on [-1, 1): 1.73
};

TEST_P(Shards, ThatMeetEqualTheJoinedBatchWithUnevenCounts) {
  const Outcome joined = run(layer_, x_, residual_, dy_, GetParam(), nullptr);
  for (const std::int64_t split : {1, 2, 3}) {
    const auto [a, b] = run_shards(layer_, x_, residual_, dy_, GetParam(), split, Sync::kMeeting);
    const double tolerance = bound(inv_std_bound_, n_);
    EXPECT_LE(largest_difference(joined_values(a.y, b.y), to_vector(joined.y)), tolerance);
    EXPECT_LE(largest_difference(joined_values(a.dx, b.dx), to_vector(joined.dx)), tolerance);
    EXPECT_LE(largest_difference(added_values(a.dgamma, b.dgamma), to_vector(joined.dgamma)), tolerance);
    EXPECT_LE(largest_difference(added_values(a.dbeta, b.dbeta), to_vector(joined.dbeta)), tolerance);
    for (const Outcome* shard : {&a, &b}) {
      EXPECT_LE(largest_difference(to_vector(shard->observed_mean), to_vector(joined.observed_mean)), tolerance);
      EXPECT_LE(largest_difference(to_vector(shard->observed_var), to_vector(joined.observed_var)), tolerance);
    }
    EXPECT_EQ(to_vector(a.observed_var), to_vector(b.observed_var)) << "the same bits on both shards";
  }
}

TEST_P(Shards, ThatDoNotMeetDiffer) {
  const Outcome joined = run(layer_, x_, residual_, dy_, GetParam(), nullptr);
  const auto [a, b] = run_shards(layer_, x_, residual_, dy_, GetParam(), 3, Sync::kNone);
  const double visible = 1e6 * bound(inv_std_bound_, n_);
  EXPECT_GT(largest_difference(joined_values(a.y, b.y), to_vector(joined.y)), visible);
  EXPECT_GT(largest_difference(joined_values(a.dx, b.dx), to_vector(joined.dx)), visible);
  EXPECT_GT(largest_difference(to_vector(a.observed_var), to_vector(joined.observed_var)), visible);
}

TEST_P(Shards, ForgottenBackwardSumsShow) {
  const Outcome joined = run(layer_, x_, residual_, dy_, GetParam(), nullptr);
  const auto [a, b] = run_shards(layer_, x_, residual_, dy_, GetParam(), 3, Sync::kForgetsSums);
  EXPECT_LE(largest_difference(joined_values(a.y, b.y), to_vector(joined.y)), bound(inv_std_bound_, n_));
  EXPECT_GT(largest_difference(joined_values(a.dx, b.dx), to_vector(joined.dx)), 1e6 * bound(inv_std_bound_, n_));
}

INSTANTIATE_TEST_SUITE_P(BatchNorm, Shards,
                         ::testing::Values(Variant{false, false}, Variant{true, false}, Variant{true, true}, Variant{false, true}));

TEST(BatchNorm, OutputHasTheAskedMeanAndStandardDeviation) {
  const Layer layer;
  const Tensor x = random_tensor({8, kChannels, 5, 5}, DType::kF64, 1, 100, 103);
  const Outcome r = run(layer, x, x, x, {false, false}, nullptr);
  for (std::int64_t c = 0; c < kChannels; ++c) {
    double sum = 0, squares = 0;
    const double n = 200, beta = get_value(layer.beta.value, c), gamma = get_value(layer.gamma.value, c);
    for (std::int64_t i = c; i < x.numel(); i += kChannels) sum += get_value(r.y, i);
    for (std::int64_t i = c; i < x.numel(); i += kChannels) squares += std::pow(get_value(r.y, i) - beta, 2);
    const double amplified = error_bound(DType::kF64, 200, 103 * 2 * n);  // x - mean at 103, 1 / std below 2
    EXPECT_PRED3(within, sum / n, beta, amplified);
    const double variance = get_value(r.observed_var, c) * (n - 1) / n;
    EXPECT_PRED3(within, squares / n, gamma * gamma * variance / (variance + 1e-5), 4 * amplified);
  }
}

TEST(BatchNorm, ObservesTheUnbiasedVariance) {
  const Layer layer;
  Tensor x = Tensor::zeros({2, kChannels, 1, 1}, DType::kF64);
  for (std::int64_t c = 0; c < kChannels; ++c) set_value(x, kChannels + c, 2.0);  // values 0 and 2
  const Outcome r = run(layer, x, x, x, {false, false}, nullptr);
  EXPECT_EQ(to_vector(r.observed_mean), std::vector<double>(kChannels, 1.0));
  EXPECT_EQ(to_vector(r.observed_var), std::vector<double>(kChannels, 2.0)) << "biased would be 1";
}

TEST(BatchNorm, EvaluationUsesTheBuffersAndObservesNothing) {
  const Layer layer;
  const auto kernels = make_reference_kernels();
  Observations observations;
  Context ctx{.kernels = *kernels, .observations = &observations};
  const Tensor x = random_tensor({1, kChannels, 1, 1}, DType::kF64, 1);
  const Tensor y = batch_norm(ctx, {x}, layer.state()).value;
  for (std::int64_t c = 0; c < kChannels; ++c) {
    const double want = (get_value(x, c) - get_value(layer.mean.value, c)) / std::sqrt(get_value(layer.var.value, c) + 1e-5) *
                            get_value(layer.gamma.value, c) + get_value(layer.beta.value, c);
    EXPECT_PRED3(within, get_value(y, c), want, error_bound(DType::kF64, 8, 8));
  }
  EXPECT_TRUE(observations.seen.empty());
}

TEST(BatchNorm, AnEmptyShardAddsNothingToItsGroup) {
  const Layer layer;
  const Tensor x = random_tensor({3, kChannels, 2, 2}, DType::kF64, 1), dy = random_tensor({3, kChannels, 2, 2}, DType::kF64, 3);
  const Outcome alone = run(layer, x, x, dy, {true, false}, nullptr);
  const auto [full, empty] = run_shards(layer, x, x, dy, {true, false}, 3, Sync::kMeeting);
  EXPECT_EQ(to_vector(full.y), to_vector(alone.y));
  EXPECT_EQ(to_vector(full.dx), to_vector(alone.dx));
  EXPECT_EQ(to_vector(empty.dgamma), std::vector<double>(kChannels, 0.0));
}

TEST(BatchNorm, AMaskIsKeptOnlyWhileRecordingAndOnlyWhereBackwardCannotRecomputeIt) {
  const Layer layer;
  const auto kernels = make_reference_kernels();
  const Tensor x = random_tensor({64, kChannels, 16, 16}, DType::kF64, 1);
  const auto peak = [&](Tape* tape, const Var* residual) {
    Context ctx{.kernels = *kernels, .tape = tape, .training = true};
    cpu_pool().reset_peak();
    const std::size_t before = cpu_pool().stats().in_use_bytes;
    const Var y = batch_norm(ctx, {x}, layer.state(), {.relu = true}, residual);
    return cpu_pool().stats().peak_bytes - before;
  };
  Tape tape;
  const Var residual{x.clone()};
  EXPECT_EQ(peak(&tape, &residual) - peak(nullptr, &residual), static_cast<std::size_t>(x.numel()) / 8);
  EXPECT_EQ(peak(&tape, nullptr), peak(nullptr, nullptr));
}

}  // namespace
}  // namespace lockstep
