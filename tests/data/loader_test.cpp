// The loaders: contents are a function of step and shard, whatever the threads, ranks and starting point.
// SPDX-License-Identifier: Apache-2.0
#include "data/loader.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <new>
#include <set>
#include <thread>

#include "tests/data/probe_source.h"
#include "tests/data/test_support.h"

namespace lockstep {
namespace {

using test::ProbeSource;
using test::TempDir;

std::unique_ptr<Source> synthetic(std::int64_t size, int side = 12) {
  return open_source({.kind = SourceKind::kSynthetic,
                      .classes = 5,
                      .size = size,
                      .height = side,
                      .width = side,
                      .channels = 3,
                      .seed = 1});
}

LoaderOptions options(int threads, std::int64_t start = 0) {
  return {.seed = 3,
          .shard_batch = 8,
          .global_batch = 32,
          .first_shard = 0,
          .last_shard = 4,
          .start_step = start,
          .augment = {.crop = Crop::kPadCrop, .flip = true, .pad = 2},
          .threads = threads,
          .ring_depth = 3};
}

// Everything that can be seen of a batch.
std::string print(const Batch& batch) {
  const auto pixels = batch.images().host<std::uint8_t>();
  std::string out =
      std::to_string(batch.step()) + "/" + std::to_string(batch.epoch()) + "/" + std::to_string(batch.shard()) + ":";
  for (const std::int64_t id : batch.ids()) out += " " + std::to_string(id);
  for (const std::int32_t label : batch.labels().host<std::int32_t>()) out += "," + std::to_string(label);
  return out + " " + test::fnv(pixels.data(), pixels.size());
}

std::vector<std::string> run(const Source& source, const LoaderOptions& options, int batches) {
  Loader loader(source, options);
  std::vector<std::string> out;
  for (int i = 0; i < batches; ++i) out.push_back(print(loader.next()));
  return out;
}

TEST(Loader, ContentsDoNotDependOnTheThreads) {
  const auto source = synthetic(150);
  const auto base = run(*source, options(0), 40);  // two epochs and a half
  for (const int threads : {1, 2, 5})
    for (const int depth : {1, 2, 7}) {
      LoaderOptions other = options(threads);
      other.ring_depth = depth;
      EXPECT_EQ(run(*source, other, 40), base) << threads << " threads, depth " << depth;
    }
  LoaderOptions other_seed = options(2);
  other_seed.seed = 4;
  EXPECT_NE(run(*source, other_seed, 40), base);
}

TEST(Loader, StartingInTheMiddleGoesOnAsIfNothingHadHappened) {
  const auto source = synthetic(150);
  const auto base = run(*source, options(2), 60);
  for (std::int64_t step = 0; step < 12; ++step)
    EXPECT_EQ(run(*source, options(2, step), 8),
              std::vector<std::string>(base.begin() + step * 4, base.begin() + step * 4 + 8))
        << step;
}

TEST(Loader, RanksTogetherReadWhatOneRankReads) {
  const auto source = synthetic(150);
  const auto base = run(*source, options(1), 32);
  for (const int world : {2, 4}) {
    std::vector<std::string> joined(base.size());
    for (int rank = 0; rank < world; ++rank) {
      LoaderOptions mine = options(2);
      mine.first_shard = rank * 4 / world;
      mine.last_shard = (rank + 1) * 4 / world;
      const int shards = mine.last_shard - mine.first_shard;
      const auto part = run(*source, mine, 8 * shards);
      for (int i = 0; i < 8 * shards; ++i)
        joined[static_cast<std::size_t>(i / shards * 4 + mine.first_shard + i % shards)] =
            part[static_cast<std::size_t>(i)];
    }
    EXPECT_EQ(joined, base) << world;
  }
}

TEST(Loader, EveryEpochShowsEverySampleAtMostOnceWhenDroppingAndAtLeastOnceWhenWrapping) {
  const auto source = synthetic(150);
  for (const LastBatch policy : {LastBatch::kDrop, LastBatch::kWrap}) {
    LoaderOptions mine = options(2);
    mine.last_batch = policy;
    Loader loader(*source, mine);
    ASSERT_EQ(loader.steps_per_epoch(), policy == LastBatch::kDrop ? 4 : 5);
    std::set<std::int64_t> first_epoch_left_out;
    for (int epoch = 0; epoch < 2; ++epoch) {
      std::map<std::int64_t, int> counts;
      for (int i = 0; i < 4 * loader.steps_per_epoch(); ++i) {
        const Batch batch = loader.next();
        ASSERT_EQ(batch.epoch(), epoch);
        for (const std::int64_t id : batch.ids()) ++counts[id];
      }
      for (const auto& [id, count] : counts) EXPECT_LE(count, policy == LastBatch::kDrop ? 1 : 2);
      EXPECT_EQ(counts.size(), policy == LastBatch::kDrop ? 128u : 150u);
    }
  }
}

TEST(Loader, BatchesCarryTheSourcesImages) {
  const auto source = synthetic(40);
  LoaderOptions plain = options(1);
  plain.augment = {};
  Loader loader(*source, plain);
  const Batch batch = loader.next();
  EXPECT_EQ(batch.images().shape(), (Shape{8, 3, 12, 12}));
  EXPECT_EQ(batch.samples(), 8);
  ReadScratch scratch;
  for (std::size_t i = 0; i < 8; ++i) {
    const Image image = source->read(batch.ids()[i], scratch);
    const auto pixels = batch.images().host<std::uint8_t>().subspan(i * 432, 432);
    EXPECT_TRUE(std::equal(pixels.begin(), pixels.end(), image.pixels));
    EXPECT_EQ(batch.labels().host<std::int32_t>()[i], source->label(batch.ids()[i]));
  }
}

TEST(Loader, FoldersDoNotDependOnTheThreadsEither) {
  const TempDir dir;
  test::make_folder(dir, "train", 3, 20);
  const auto source = open_source({.path = dir.path()});
  LoaderOptions mine = options(0);
  mine.augment = {.crop = Crop::kRandomResizedCrop, .flip = true, .out_height = 16, .out_width = 16};
  const auto base = run(*source, mine, 12);
  for (const int threads : {1, 2, 5}) {
    mine.threads = threads;
    EXPECT_EQ(run(*source, mine, 12), base);
  }
}

TEST(Loader, HoldingSeveralBatchesAndReturningThemInAnyOrderIsFine) {
  const auto source = synthetic(150);
  const auto base = run(*source, options(0), 30);
  Loader loader(*source, options(3));
  for (std::size_t i = 0; i < 30; i += 3) {
    Batch a = loader.next(), b = loader.next(), c = loader.next();
    EXPECT_EQ(print(a), base[i]);
    EXPECT_EQ(print(b), base[i + 1]);
    EXPECT_EQ(print(c), base[i + 2]);
    EXPECT_THROW(loader.next(), InternalError);  // all three slots are held: it would wait for ever
    c.reset();
    a = std::move(b);
  }
}

TEST(Loader, StopsAtAnyTime) {
  const auto source = synthetic(150, 64);
  for (int i = 0; i < 60; ++i) {
    Loader loader(*source, options(i % 6));
    for (int k = 0; k < i % 7; ++k) loader.next();
    if (i % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(i * 20));
  }
}

LoaderOptions probe_options(int threads) {
  return {.seed = 1,
          .shard_batch = 4,
          .global_batch = 4,
          .first_shard = 0,
          .last_shard = 1,
          .threads = threads,
          .ring_depth = 2};
}

TEST(Loader, MeasuresTheWaiting) {
  ProbeSource source(64);
  source.delay = std::chrono::microseconds(2000);
  for (const int threads : {0, 1}) {
    Loader loader(source, probe_options(threads));
    for (int i = 0; i < 5; ++i) loader.next();
    EXPECT_EQ(loader.stats().batches, 5);
    EXPECT_GE(loader.stats().waits, 4);
    EXPECT_GE(loader.stats().wait_ns, 4 * 4 * 2'000'000);  // four samples of 2 ms each
  }
  source.delay = std::chrono::microseconds(0);
  Loader loader(source, probe_options(1));
  std::int64_t waits = 0;
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    loader.next();
    waits = loader.stats().waits;
  }
  EXPECT_LE(waits, 1);
}

TEST(Loader, ErrorsOfWorkersArriveAsTheyWere) {
  ProbeSource source(64);
  source.internal = {EpochOrder(64, 1, 0)[9]};  // in the third batch
  for (const int threads : {0, 1, 3}) {
    Loader loader(source, probe_options(threads));
    loader.next();
    loader.next();
    EXPECT_THROW(loader.next(), InternalError);
    EXPECT_THROW(loader.next(), InternalError);  // and it stays an error
  }
}

TEST(Loader, TheFirstOfSeveralErrorsIsReported) {
  ProbeSource source(64);
  source.bad = {EpochOrder(64, 1, 0)[1], EpochOrder(64, 1, 0)[2], EpochOrder(64, 1, 0)[3]};
  const std::string first = source.name(EpochOrder(64, 1, 0)[1]);
  for (int i = 0; i < 20; ++i) {
    Loader loader(source, probe_options(3));
    EXPECT_EQ(
        test::not_the_user_error([&] { loader.next(); }, ExitCode::kData, {first, "max_bad_samples", "want at most 0"}),
        "");
  }
}

TEST(Loader, BadSamplesAreReplacedByTheNextGoodOneCountedAndListed) {
  ProbeSource source(64);
  source.bad = {10, 11, 63};
  std::vector<std::string> base;
  for (const int threads : {0, 1, 3}) {
    source.reads = 0;
    LoaderOptions mine = probe_options(threads);
    mine.max_bad_samples = 3;
    Loader loader(source, mine);
    std::map<std::int64_t, int> counts;
    std::vector<std::string> seen;
    for (int i = 0; i < 32; ++i) {  // two epochs
      const Batch batch = loader.next();
      seen.push_back(print(batch));
      for (std::size_t k = 0; k < 4; ++k) {
        ++counts[batch.ids()[k]];
        EXPECT_EQ(batch.labels().host<std::int32_t>()[k], batch.ids()[k] % 2);  // the label of the image that is shown
      }
    }
    if (base.empty()) base = seen;
    EXPECT_EQ(seen, base);
    EXPECT_EQ(counts[12], 6);  // itself and for 10 and 11, twice
    EXPECT_EQ(counts[0], 4);   // itself and for 63
    EXPECT_FALSE(counts.contains(10) || counts.contains(11) || counts.contains(63));
    const auto list = loader.bad_samples().list();
    ASSERT_EQ(list.size(), 3u);
    EXPECT_EQ(list[0].id, 10);
    EXPECT_EQ(list[2].id, 63);
    EXPECT_EQ(list[2].name, "probe 63");
    EXPECT_NE(list[2].reason.find("broken"), std::string::npos);
    if (threads == 0) {
      EXPECT_EQ(source.reads, 128 + 2 * 4);  // tried anew in each epoch: 10 and its next, 11 (for itself), 63
    }
  }
}

TEST(Loader, TheBudgetForBadSamplesIsKept) {
  ProbeSource source(64);
  source.bad = {10, 11, 63};
  LoaderOptions mine = probe_options(2);
  mine.max_bad_samples = 2;
  Loader loader(source, mine);
  EXPECT_EQ(test::not_the_user_error(
                [&] {
                  for (int i = 0; i < 16; ++i) loader.next();
                },
                ExitCode::kData, {"got 3", "want at most 2"}),
            "");
}

TEST(Loader, ASetWithoutOneGoodSampleIsAnError) {
  ProbeSource source(4);
  source.bad = {0, 1, 2, 3};
  LoaderOptions mine = probe_options(1);
  mine.max_bad_samples = 100;
  Loader loader(source, mine);
  EXPECT_EQ(test::not_the_user_error([&] { loader.next(); }, ExitCode::kData, {"not one sample"}), "");
}

TEST(Loader, WrongOptionsAreErrors) {
  const auto source = synthetic(150);
  const auto wrong = [&](void (*change)(LoaderOptions&), std::initializer_list<std::string> parts) {
    LoaderOptions mine = options(1);
    change(mine);
    return test::not_the_user_error([&] { Loader(*source, mine); }, ExitCode::kUsage, parts);
  };
  EXPECT_EQ(wrong([](LoaderOptions& o) { o.shard_batch = 0; }, {"shard_batch"}), "");
  EXPECT_EQ(wrong([](LoaderOptions& o) { o.shard_batch = 5; }, {"global_batch", "32", "5"}), "");
  EXPECT_EQ(wrong([](LoaderOptions& o) { o.last_shard = 5; }, {"[0, 5)", "[0, 4)"}), "");
  EXPECT_EQ(wrong([](LoaderOptions& o) { o.start_step = -1; }, {"start_step"}), "");
  EXPECT_EQ(wrong([](LoaderOptions& o) { o.threads = -1; }, {"threads"}), "");
  EXPECT_EQ(wrong([](LoaderOptions& o) { o.ring_depth = 0; }, {"ring depth"}), "");
  EXPECT_EQ(wrong([](LoaderOptions& o) { o.global_batch = 160; }, {"160", "150"}), "");
  EXPECT_EQ(wrong([](LoaderOptions& o) { o.augment = {.crop = Crop::kPadCrop, .out_height = 17, .out_width = 12, .pad = 2}; },
                  {"12x12", "17x12"}),
            "");
}

TEST(EvalLoader, CountsEverySampleOnceAtAnyWorldSize) {
  for (const std::int64_t size : {1, 7, 64, 150}) {
    const auto source = synthetic(size);
    for (const std::int64_t batch_size : {1, 16, 200})
      for (int world = 1; world <= 5; ++world) {
        std::map<std::int64_t, int> counts;
        for (int rank = 0; rank < world; ++rank) {
          EvalLoader loader(*source, {.batch = batch_size, .rank = rank, .world = world, .threads = rank % 3});
          for (int pass = 0; pass < 2; ++pass) {
            std::int64_t batches = 0;
            while (const Batch batch = loader.next()) {
              ++batches;
              EXPECT_EQ(batch.epoch(), pass);
              ASSERT_EQ(batch.step() % world, rank);
              ASSERT_EQ(batch.images().shape()[0], batch_size);
              std::int64_t real = 0;
              for (std::size_t i = 0; i < batch.ids().size(); ++i) {
                const std::int64_t id = batch.ids()[i];
                const std::int32_t label = batch.labels().host<std::int32_t>()[i];
                if (id < 0) {
                  EXPECT_EQ(label, -1);
                  continue;
                }
                EXPECT_EQ(label, source->label(id));
                ++counts[id], ++real;
              }
              EXPECT_EQ(batch.samples(), real);
            }
            EXPECT_EQ(batches, loader.batches());
          }
        }
        ASSERT_EQ(counts.size(), static_cast<std::size_t>(size));
        for (const auto& [id, count] : counts) EXPECT_EQ(count, 2) << id;
      }
  }
}

TEST(EvalLoader, BadSamplesAndRandomnessAreErrors) {
  ProbeSource source(64);
  source.bad = {10};
  EvalLoader loader(source, {.batch = 8});
  loader.next();
  EXPECT_EQ(test::not_the_user_error([&] { loader.next(); }, ExitCode::kData, {"probe 10"}), "");
  EXPECT_EQ(test::not_the_user_error([&] { EvalLoader(source, {.batch = 8, .augment = {.flip = true}}); },
                                     ExitCode::kUsage, {"random"}),
            "");
  EXPECT_EQ(test::not_the_user_error([&] { EvalLoader(source, {.batch = 8, .rank = 2, .world = 2}); }, ExitCode::kUsage,
                                     {"2 of 2"}),
            "");
}

}  // namespace
}  // namespace lockstep
