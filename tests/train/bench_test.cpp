// The benchmarks' numbers: their statistics, what they count, what they refuse.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <numeric>

#include "core/error.h"
#include "distributed/local_group.h"
#include "train/allreduce_bench.h"
#include "train/loader_bench.h"
#include "train/op_bench.h"
#include "train/step_bench.h"

namespace lockstep {
namespace {

BenchOptions tiny() { return {.model = "resnet8", .batch = 4, .base_width = 4, .size = 16, .classes = 4, .warmup = 2, .steps = 3}; }

LoadedConfig synthetic_config() {
  return parse_config("epochs: 1 model { name: 'resnet8' } data { source: SYNTHETIC height: 8 width: 8 synthetic { size: 64 eval_size: 0 classes: 4 } "
                      "augment { crop: PAD_CROP pad: 2 flip: true } } batch { global_batch: 8 shard_batch: 4 } schedule { kind: CONSTANT lr: 0.01 }",
                      "test");
}

TEST(Spread, QuantilesLieBetweenTheirNeighbours) {
  std::vector<double> values(11);
  std::iota(values.rbegin(), values.rend(), 0.0);  // 10, 9, ... 0
  const Spread spread = spread_of(values);
  EXPECT_DOUBLE_EQ(spread.min, 0);
  EXPECT_DOUBLE_EQ(spread.p10, 1);
  EXPECT_DOUBLE_EQ(spread.median, 5);
  EXPECT_DOUBLE_EQ(spread.p90, 9);
  EXPECT_DOUBLE_EQ(spread.max, 10);
  EXPECT_DOUBLE_EQ(spread_of({1, 2}).median, 1.5);
  EXPECT_DOUBLE_EQ(spread_of({1, 2}).p90, 1.9);
  EXPECT_DOUBLE_EQ(spread_of({3}).p10, 3);
  EXPECT_THROW(spread_of({}), InternalError);
}

TEST(StepBench, TheClassesAndTheRestMakeUpTheStep) {
  const auto comm = make_solo_communicator();
  const StepBench bench = bench_step(tiny(), *comm);
  const StepBenchResult& r = bench.result;
  EXPECT_EQ(bench.subject.rank_batch, 4);
  EXPECT_EQ(r.steps, 3);
  EXPECT_LE(r.step_ms.min, r.step_ms.p10);
  EXPECT_LE(r.step_ms.p90, r.step_ms.max);
  EXPECT_EQ(r.warm_system_allocations, 0u);
  for (const OpClass present : {OpClass::kMatmul, OpClass::kNorm, OpClass::kPooling, OpClass::kLoss, OpClass::kOptimizer, OpClass::kInput})
    EXPECT_GT(r.class_ms[static_cast<std::size_t>(present)], 0) << op_class_name(present);
  // Each is a median of three steps, so they add up to a step only roughly; a step's own parts are checked by its trace.
  const double classes = std::accumulate(r.class_ms.begin(), r.class_ms.end(), 0.0);
  EXPECT_GT(classes + r.other_ms, 0.5 * r.traced_step_ms);
  EXPECT_LT(classes, 1.5 * r.traced_step_ms);
  EXPECT_GT(r.peaks.gflops, 0);
  EXPECT_GT(r.peaks.gbytes_per_second, 0);
  EXPECT_GT(r.flops, 0);
}

TEST(StepBench, SecondsDecideTheNumberOfSteps) {
  const auto comm = make_solo_communicator();
  BenchOptions options = tiny();
  options.seconds = 1e-9;
  BenchJob shortest(options, *comm);
  EXPECT_EQ(shortest.warm_up(options, *comm), 3);
  options.seconds = 1000;
  BenchJob longest(options, *comm);
  EXPECT_GT(longest.warm_up(options, *comm), 1000);
}

TEST(StepBench, AConfigIsMeasuredAsItStands) {
  const auto comm = make_solo_communicator();
  BenchOptions options;
  options.config = synthetic_config();
  BenchJob job(options, *comm);
  EXPECT_EQ(job.subject().model, "resnet8");
  EXPECT_EQ(job.subject().rank_batch, 8);
  EXPECT_EQ(job.subject().height, 8);
  for (int i = 0; i < 12; ++i) job.step();  // past the schedule's 8 steps
}

TEST(StepBench, RefusesWhatMeansNothing) {
  const auto comm = make_solo_communicator();
  const auto refuses = [&](const std::function<void(BenchOptions&)>& change) {
    BenchOptions options = tiny();
    change(options);
    EXPECT_THROW(bench_step(options, *comm), UserError);
  };
  refuses([](BenchOptions& o) { o.warmup = 0; });
  refuses([](BenchOptions& o) { o.steps = 0; });
  refuses([](BenchOptions& o) { o.dtype = "f8"; });
  refuses([](BenchOptions& o) { o.accumulate = 3; });
}

TEST(OpBench, EveryCallOfTheStepIsInTheTable) {
  const auto comm = make_solo_communicator();
  const OpBench bench = bench_ops(tiny(), *comm);
  double forward = 0, total_ms = 0;
  std::int64_t filters = 0;
  for (const OpGroup& group : bench.groups) {
    const std::string name = group.call.name;
    total_ms += group.median_ms;
    if (name.ends_with("forward") && is_arithmetic(group.call.op_class)) forward += group.call.flops * static_cast<double>(group.calls);
    if (name.ends_with("conv2d_backward_filter")) filters += group.calls;
  }
  const auto comm2 = make_solo_communicator();
  BenchJob job(tiny(), *comm2);
  double want = 0;
  std::int64_t convolutions = 0;
  for (const LayerInfo& layer : job.session().network.model->layers({4, 3, 16, 16})) {
    want += 2.0 * static_cast<double>(layer.multiply_adds);
    convolutions += layer.op == "conv2d";
  }
  EXPECT_DOUBLE_EQ(forward, want);
  EXPECT_EQ(filters, convolutions);
  EXPECT_GT(total_ms, 0);
}

TEST(AllReduceBench, CountsWhatEveryLinkCarries) {
  for (const int ranks : {2, 3}) {
    LocalGroup group(ranks);
    group.run([&](Communicator& comm) {
      const std::vector<AllReduceRow> rows = bench_all_reduce({.sizes = {64, 4096}, .warmup = 1, .repeats = 3}, {{1e-3, 2e-3, 3e-3}}, comm);
      if (comm.rank() != 0) return;
      const int ours = ranks == 2 ? 4 : 2;  // no fixed tree over three ranks
      ASSERT_EQ(rows.size(), static_cast<std::size_t>(2 * ours + 1));
      const AllReduceRow& mpi = rows[static_cast<std::size_t>(ours)];
      EXPECT_EQ(mpi.order, "MPI_Allreduce");
      EXPECT_DOUBLE_EQ(mpi.ms.median, 2);
      EXPECT_DOUBLE_EQ(mpi.algorithm_gbytes_per_second, 64 / 2e-3 * 1e-9);
      EXPECT_DOUBLE_EQ(mpi.bus_gbytes_per_second, mpi.algorithm_gbytes_per_second * 2 * (ranks - 1) / ranks);
      for (const AllReduceRow& row : rows) {
        EXPECT_GT(row.ms.min, 0);
        const double carried = 2.0 * (ranks - 1) / ranks * (row.wire == "BF16" ? 0.5 : 1);
        EXPECT_NEAR(row.bus_gbytes_per_second / row.algorithm_gbytes_per_second, carried, 1e-12);
      }
    });
  }
}

TEST(AllReduceBench, RefusesOneRankAndOddSizes) {
  const auto comm = make_solo_communicator();
  EXPECT_THROW(bench_all_reduce({}, {}, *comm), UserError);
  EXPECT_THROW(check_options({.sizes = {6}}), UserError);
  EXPECT_THROW(check_options({.repeats = 0}), UserError);
  EXPECT_NO_THROW(check_options({}));
}

TEST(LoaderBench, TimesEveryNumberOfThreadsAndItsStages) {
  const auto comm = make_solo_communicator();
  const LoaderBench bench = bench_loader(synthetic_config(), {.threads = {0, 2}, .warmup = 1, .batches = 10}, *comm);
  ASSERT_EQ(bench.rows.size(), 2u);
  EXPECT_EQ(bench.shard_batch, 4);
  for (const LoaderRow& row : bench.rows) {
    EXPECT_EQ(row.images, 40);
    EXPECT_GT(row.images_per_second, 0);
    ASSERT_EQ(row.stages.size(), 2u);  // nothing to decode here
    EXPECT_EQ(row.stages[0].name, "read");
    EXPECT_EQ(row.stages[1].name, "augment");
  }
  EXPECT_THROW(bench_loader(synthetic_config(), {.threads = {-1}}, *comm), UserError);
}

}  // namespace
}  // namespace lockstep
