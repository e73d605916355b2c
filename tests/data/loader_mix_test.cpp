// Mix rows in the loader: beside every batch, a function of step, shard and labels, whatever the threads and ranks.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <vector>

#include "data/loader.h"
#include "tests/data/probe_source.h"
#include "tests/data/test_support.h"

namespace lockstep {
namespace {

LoaderOptions options(int threads, std::int64_t start = 0) {
  return {.seed = 3,
          .shard_batch = 10,
          .global_batch = 40,
          .first_shard = 0,
          .last_shard = 4,
          .start_step = start,
          .mix = {.mixup_alpha = 0.4, .cutmix_alpha = 1, .probability = 0.9},
          .threads = threads,
          .ring_depth = 3};
}

std::vector<MixRow> rows_of(const Batch& batch) {
  const auto words = batch.mix().host<std::int32_t>();
  std::vector<MixRow> rows(words.size() / kMixRowWords);
  std::memcpy(static_cast<void*>(rows.data()), words.data(), words.size_bytes());
  return rows;
}

// All rows of `batches` batches as bytes.
std::string run(const Source& source, const LoaderOptions& options, int batches) {
  Loader loader(source, options);
  std::string out;
  for (int i = 0; i < batches; ++i) {
    const Batch batch = loader.next();
    const auto words = batch.mix().host<std::int32_t>();
    out.append(reinterpret_cast<const char*>(words.data()), words.size_bytes());
  }
  return out;
}

TEST(LoaderMix, RowsAreThoseOfTheStepTheShardAndTheLabelsOfTheImagesReallyRead) {
  test::ProbeSource source(120);
  source.bad = {3, 17, 18, 90};  // replaced: the labels are those of the substitutes
  LoaderOptions mine = options(2, 5);
  mine.max_bad_samples = 4;
  Loader loader(source, mine);
  for (int i = 0; i < 12; ++i) {
    const Batch batch = loader.next();
    ASSERT_EQ(batch.mix().shape(), (Shape{10, kMixRowWords}));
    std::vector<MixRow> want(10);
    const auto labels = batch.labels().host<std::int32_t>();
    draw_mix(mine.mix, 2, 2, 3, 5 + i / 4, i % 4, labels, want);
    const auto got = rows_of(batch);
    EXPECT_EQ(std::memcmp(got.data(), want.data(), want.size() * sizeof(MixRow)), 0) << i;
    for (const MixRow& row : got) EXPECT_EQ(row.label, source.label(batch.ids()[static_cast<std::size_t>(row.partner)]));
  }
}

TEST(LoaderMix, DoNotDependOnTheThreadsTheRingTheRanksOrTheStart) {
  test::ProbeSource source(120);
  source.bad = {3, 17, 18, 90};
  const auto made_with = [&](LoaderOptions mine, int batches) {
    mine.max_bad_samples = 4;
    return run(source, mine, batches);
  };
  const std::string base = made_with(options(0), 24);
  const std::size_t batch_bytes = base.size() / 24;
  for (const int threads : {1, 2, 5})
    for (const int depth : {1, 4}) {
      LoaderOptions mine = options(threads);
      mine.ring_depth = depth;
      EXPECT_EQ(made_with(mine, 24), base) << threads << " threads, depth " << depth;
    }
  EXPECT_EQ(made_with(options(2, 3), 12), base.substr(12 * batch_bytes));
  LoaderOptions second_rank = options(2);
  second_rank.first_shard = 2;
  const std::string half = made_with(second_rank, 12);
  for (std::size_t step = 0; step < 6; ++step)
    EXPECT_EQ(half.substr(2 * step * batch_bytes, 2 * batch_bytes), base.substr((4 * step + 2) * batch_bytes, 2 * batch_bytes));
  LoaderOptions other_seed = options(2);
  other_seed.seed = 4;
  EXPECT_NE(made_with(other_seed, 24), base);
}

TEST(LoaderMix, WithoutMixingThereAreNoRows) {
  const test::ProbeSource source(120);
  LoaderOptions plain = options(1);
  plain.mix = {};
  Loader loader(source, plain);
  EXPECT_FALSE(loader.next().mix());
  EvalLoader evaluation(source, {.batch = 8});
  EXPECT_FALSE(evaluation.next().mix());
}

TEST(LoaderMix, WrongOptionsAreErrors) {
  const test::ProbeSource source(120);
  const auto wrong = [&](const MixOptions& mix, std::initializer_list<std::string> parts) {
    LoaderOptions mine = options(1);
    mine.mix = mix;
    return test::not_the_user_error([&] { Loader(source, mine); }, ExitCode::kUsage, parts);
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(wrong({.mixup_alpha = -1}, {"mixup_alpha", "-1"}), "");
  EXPECT_EQ(wrong({.cutmix_alpha = nan}, {"cutmix_alpha"}), "");
  EXPECT_EQ(wrong({.mixup_alpha = 1, .probability = 1.5}, {"probability", "1.5"}), "");
  EXPECT_EQ(wrong({.mixup_alpha = 1, .switch_probability = nan}, {"switch_probability"}), "");
}

}  // namespace
}  // namespace lockstep
