// What the loaders do around reading: read-ahead, times of the stages, and evaluation that counts bad images as misses.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <vector>

#include "data/loader.h"
#include "tests/data/probe_source.h"
#include "tests/data/test_support.h"

namespace lockstep {
namespace {

// Another source, with a record of what was announced and what was fetched, in order.
class RecordingSource final : public Source {
 public:
  explicit RecordingSource(const Source& inner) : inner_(inner) {}
  std::int64_t size() const override { return inner_.size(); }
  int classes() const override { return inner_.classes(); }
  int label(std::int64_t index) const override { return inner_.label(index); }
  int channels() const override { return inner_.channels(); }
  int height() const override { return inner_.height(); }
  int width() const override { return inner_.width(); }
  Image read(std::int64_t index, ReadScratch& scratch) const override {
    record(index);
    return inner_.read(index, scratch);
  }
  bool encoded() const override { return inner_.encoded(); }
  std::span<const std::uint8_t> fetch(std::int64_t index, ReadScratch& scratch) const override {
    record(index);
    return inner_.fetch(index, scratch);
  }
  void will_read(std::span<const std::int64_t> indices) const override {
    const std::lock_guard lock(mutex_);
    ++calls;
    for (const std::int64_t index : indices) ++announced_[index];
  }
  std::string name(std::int64_t index) const override { return inner_.name(index); }
  std::string describe() const override { return inner_.describe(); }
  std::string digest() const override { return inner_.digest(); }

  mutable int calls = 0, unannounced = 0, ahead_at_most = 0;  // read when no loader runs

 private:
  void record(std::int64_t index) const {
    const std::lock_guard lock(mutex_);
    if (--announced_[index] < 0) ++unannounced;
    int ahead = 0;
    for (const auto& [id, count] : announced_) ahead += std::max(count, 0);
    ahead_at_most = std::max(ahead_at_most, ahead);
  }

  const Source& inner_;
  mutable std::mutex mutex_;
  mutable std::map<std::int64_t, int> announced_;
};

LoaderOptions options(int threads) {
  return {.seed = 3,
          .shard_batch = 8,
          .global_batch = 16,
          .first_shard = 0,
          .last_shard = 2,
          .augment = {.crop = Crop::kRandomResizedCrop, .flip = true, .out_height = 16, .out_width = 16},
          .threads = threads,
          .ring_depth = 3};
}

std::string run(const Source& source, const LoaderOptions& options, int batches) {
  Loader loader(source, options);
  std::string out;
  for (int i = 0; i < batches; ++i) {
    const Batch batch = loader.next();
    const auto pixels = batch.images().host<std::uint8_t>();
    out += test::fnv(pixels.data(), pixels.size());
    for (const std::int64_t id : batch.ids()) out.append(1, ' ').append(std::to_string(id));
  }
  return out;
}

TEST(ReadAhead, SamplesAreAnnouncedBeforeTheyAreReadAndNotTooEarly) {
  const test::TempDir dir;
  test::make_folder(dir, "train", 3, 20);
  const auto folder = open_source({.path = dir.path(), .index_cache = ""});
  const std::string base = run(*folder, options(0), 20);
  for (const int threads : {0, 1, 2, 5}) {
    const RecordingSource source(*folder);
    EXPECT_EQ(run(source, options(threads), 20), base) << threads;  // and it changes nothing
    EXPECT_GE(source.calls, 20);
    EXPECT_EQ(source.unannounced, 0) << threads;
    // 128 samples, and the pieces that are being read: with 2 and 5 threads of one sample, else of a whole batch of 8.
    EXPECT_LE(source.ahead_at_most, 128 + 2 * (threads <= 1 ? 8 : threads)) << threads;
    EXPECT_GE(source.ahead_at_most, 120) << threads;
  }
}

TEST(ReadAhead, SourcesInMemoryAreLeftAlone) {
  const test::ProbeSource probe(40);
  const RecordingSource source(probe);
  LoaderOptions mine = options(2);
  mine.augment = {};
  run(source, mine, 10);
  EXPECT_EQ(source.calls, 0);
}

TEST(ReadAhead, EvaluationAnnouncesTooAndPaddingIsHarmless) {
  const test::TempDir dir;
  test::make_folder(dir, "train", 3, 7);
  const auto folder = open_source({.path = dir.path(), .index_cache = ""});
  const RecordingSource source(*folder);
  {
    EvalLoader loader(source, {.batch = 8, .augment = {.out_height = 16, .out_width = 16}, .threads = 2});
    for (int pass = 0; pass < 2; ++pass)
      while (const Batch batch = loader.next()) EXPECT_LE(batch.samples(), 8);
  }
  EXPECT_EQ(source.unannounced, 0);
  EXPECT_GE(source.calls, 6);
}

TEST(LoaderStats, AddUpTheStagesOfAllThreads) {
  test::ProbeSource source(64);
  source.delay = std::chrono::microseconds(1000);
  for (const int threads : {0, 1, 3}) {
    LoaderOptions mine = options(threads);
    mine.augment = {};
    Loader loader(source, mine);
    for (int i = 0; i < 6; ++i) loader.next();
    const LoaderStats stats = loader.stats();
    EXPECT_EQ(stats.threads, std::max(threads, 1));
    EXPECT_GE(stats.stages.samples, 48);
    EXPECT_GE(stats.stages.read_ns, stats.stages.samples * 1'000'000);
    EXPECT_GT(stats.stages.augment_ns, 0);
  }
}

TEST(EvalLoader, UnreadableImagesMayCountAsMisses) {
  test::ProbeSource source(50);
  source.bad = {0, 9, 10, 11, 49};
  source.slow = {9};  // other threads find 10 and 11 first
  for (const int threads : {0, 1, 3}) {
    EvalLoader loader(source, {.batch = 8, .threads = threads, .ring_depth = 2, .bad_is_miss = true});
    for (int pass = 0; pass < 3; ++pass) {
      std::vector<std::int64_t> missed;
      std::int64_t expected = 0;
      while (const Batch batch = loader.next()) {
        EXPECT_TRUE(std::ranges::is_sorted(batch.misses()));
        for (const std::int64_t position : batch.misses()) missed.push_back(8 * batch.step() + position);
        for (std::size_t i = 0; i < 8; ++i, ++expected) {
          const bool padding = expected >= 50, bad = source.bad.contains(expected);
          EXPECT_EQ(batch.ids()[i], padding ? -1 : expected);
          EXPECT_EQ(batch.labels().host<std::int32_t>()[i], padding ? -1 : expected % 2);  // a bad one has its own label
          EXPECT_EQ(batch.images().host<std::uint8_t>()[4 * i], padding || bad ? 0 : 1);
        }
      }
      EXPECT_EQ(missed, (std::vector<std::int64_t>{0, 9, 10, 11, 49}));
    }
    const auto list = loader.bad_samples().list();
    ASSERT_EQ(list.size(), 5u);
    EXPECT_EQ(list[1].id, 9);
    EXPECT_EQ(list[1].name, "probe 9");
    EXPECT_NE(list[1].reason.find("broken"), std::string::npos);
  }
}

TEST(EvalLoader, OtherErrorsThanTheSamplesAreNeverMisses) {
  test::ProbeSource source(50);
  source.internal = {3};
  EvalLoader loader(source, {.batch = 8, .bad_is_miss = true});
  EXPECT_THROW(loader.next(), InternalError);
}

TEST(Loader, TrainingBatchesHaveNoMisses) {
  test::ProbeSource source(64);
  source.bad = {1, 2};
  LoaderOptions mine = options(2);
  mine.augment = {};
  mine.max_bad_samples = 2;
  Loader loader(source, mine);
  for (int i = 0; i < 8; ++i) EXPECT_TRUE(loader.next().misses().empty());
}

}  // namespace
}  // namespace lockstep
