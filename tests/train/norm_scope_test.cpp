// Batch norm over ranks: two ranks with GLOBAL scope equal one rank on the joined batch in f64, with uneven counts too;
// SHARD scope, the control, must differ.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <mutex>

#include "core/philox.h"
#include "cpu/reference/reference_kernels.h"
#include "distributed/local_group.h"
#include "distributed/norm_sync_group.h"
#include "ops/batch_norm.h"
#include "tests/tolerance.h"

namespace lockstep {
namespace {

constexpr std::int64_t kChannels = 3, kHeight = 4, kWidth = 5;

// What one pass over a batch leaves behind.
struct Outcome {
  std::vector<double> y, dx;                  // of this batch, in order
  std::vector<double> dgamma, dbeta;          // sums over this batch
  std::vector<double> mean, variance;         // observed
};

double value_at(std::int64_t i, std::uint32_t stream) {
  const PhiloxBlock block = RandomKey{.seed = 5, .a = stream, .b = static_cast<std::uint64_t>(i)}.block(0);
  return 3.0 * uniform_from_bits(block[0]) + static_cast<double>(i % kChannels);
}

class MapSink final : public GradSink, public ObservationSink {
 public:
  Tensor gradient(const Parameter& parameter) override { return slot(parameter.name, parameter.value); }
  void mark_ready(const Parameter&) override {}
  Tensor observation(const Buffer& buffer) override { return slot(buffer.name, buffer.value); }
  std::vector<double> values(const std::string& name) {
    const auto span = slots_.at(name).host<double>();
    return {span.begin(), span.end()};
  }

 private:
  Tensor slot(const std::string& name, const Tensor& like) { return slots_[name] = Tensor::zeros(like.shape(), like.dtype()); }
  std::map<std::string, Tensor> slots_;
};

// Images [first, first + count) of one fixed stream of images through batch norm with ReLU, and back.
Outcome pass(std::int64_t first, std::int64_t count, NormSync* sync) {
  const auto kernels = make_reference_kernels();
  const Shape shape{count, kChannels, kHeight, kWidth};
  const auto fill = [&](std::uint32_t stream) {
    Tensor tensor = Tensor::empty(shape, DType::kF64);
    const std::int64_t begin = first * kChannels * kHeight * kWidth;
    for (std::int64_t i = 0; i < tensor.numel(); ++i) tensor.host<double>()[static_cast<std::size_t>(i)] = value_at(begin + i, stream);
    return tensor;
  };
  const auto channel = [](double value) {
    Tensor tensor = Tensor::empty({kChannels}, DType::kF64);
    for (double& each : tensor.host<double>()) each = value;
    return tensor;
  };
  const Parameter gamma{0, "gamma", ParameterKind::kNormScale, channel(1.5)};
  const Parameter beta{1, "beta", ParameterKind::kNormBias, channel(-0.2)};
  const Buffer mean{0, "mean", channel(0)};
  const Buffer variance{1, "variance", channel(1)};

  Tape tape;
  MapSink sink;
  Context context{.kernels = *kernels, .tape = &tape, .training = true, .norm_sync = sync, .observations = &sink};
  const Var x = tape.input(fill(1));
  const Var y = batch_norm(context, x, {gamma, beta, mean, variance}, {.relu = true});
  tape.backward(y, fill(2), &sink);
  const auto copy = [](const Tensor& tensor) {
    const auto span = tensor.host<double>();
    return std::vector<double>(span.begin(), span.end());
  };
  return {copy(y.value), copy(tape.gradient_of(x)), sink.values("gamma"), sink.values("beta"), sink.values("mean"), sink.values("variance")};
}

// Two ranks, `counts[r]` images on rank r.
std::vector<Outcome> two_ranks(const std::vector<std::int64_t>& counts, bool global) {
  std::vector<Outcome> outcomes(2);
  LocalGroup group(2);
  group.run([&](Communicator& comm) {
    ShardCrew crew(1);
    NormSyncGroup sync(comm, crew, 2, 2);
    sync.begin_step();
    const auto rank = static_cast<std::size_t>(comm.rank());
    crew.run([&](int) { outcomes[rank] = pass(rank == 0 ? 0 : counts[0], counts[rank], global ? &sync.shard(0) : nullptr); });
  });
  return outcomes;
}

std::vector<double> joined(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> result = a;
  result.insert(result.end(), b.begin(), b.end());
  return result;
}

std::vector<double> added(std::vector<double> a, const std::vector<double>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::fabs(a[i] - b[i]));
  return largest;
}

class NormScope : public ::testing::TestWithParam<std::vector<std::int64_t>> {};

TEST_P(NormScope, GlobalOnTwoRanksEqualsOneRankOnTheJoinedBatch) {
  const std::vector<std::int64_t> counts = GetParam();
  const std::int64_t images = counts[0] + counts[1];
  const Outcome whole = pass(0, images, nullptr);
  const std::vector<Outcome> parts = two_ranks(counts, true);
  // Sums over a channel of values below 6, multiplied by gamma / sigma < 4 and by sums again: a few roundings of each.
  const std::int64_t length = images * kHeight * kWidth;
  const double bound = error_bound(DType::kF64, length, 100.0 * static_cast<double>(length));
  EXPECT_LE(largest_difference(joined(parts[0].y, parts[1].y), whole.y), bound);
  EXPECT_LE(largest_difference(joined(parts[0].dx, parts[1].dx), whole.dx), bound);
  EXPECT_LE(largest_difference(added(parts[0].dgamma, parts[1].dgamma), whole.dgamma), bound);
  EXPECT_LE(largest_difference(added(parts[0].dbeta, parts[1].dbeta), whole.dbeta), bound);
  for (const Outcome& part : parts) {
    EXPECT_LE(largest_difference(part.mean, whole.mean), bound);
    EXPECT_LE(largest_difference(part.variance, whole.variance), bound);
  }
  EXPECT_EQ(parts[0].mean, parts[1].mean) << "all shards of a group see the same bits";
  EXPECT_EQ(parts[0].variance, parts[1].variance);
}

TEST_P(NormScope, ShardScopeDiffers) {
  const std::vector<std::int64_t> counts = GetParam();
  const Outcome whole = pass(0, counts[0] + counts[1], nullptr);
  const std::vector<Outcome> parts = two_ranks(counts, false);
  EXPECT_GT(largest_difference(joined(parts[0].y, parts[1].y), whole.y), 1e-3);
  EXPECT_GT(largest_difference(parts[0].mean, whole.mean), 1e-3);
}

INSTANTIATE_TEST_SUITE_P(Counts, NormScope, ::testing::Values(std::vector<std::int64_t>{4, 4}, std::vector<std::int64_t>{5, 2}, std::vector<std::int64_t>{1, 6}));

}  // namespace
}  // namespace lockstep
