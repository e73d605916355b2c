// `lockstep data` as its users run it, and training on a set with every kind of bad image in it.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "data/decode.h"
#include "tests/data/odd_images.h"
#include "tests/tools/command.h"

namespace lockstep::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using nlohmann::json;
using Args = std::vector<std::string>;
using test::OddImage;

class DataCommand : public ::testing::Test {
 protected:
  void write(const std::string& name, const test::Bytes& bytes) { write_file(folder_ / name, {bytes.begin(), bytes.end()}); }
  // `count` good images of their own, in 4 classes.
  void write_good(const std::string& split, int count) {
    for (int i = 0; i < count; ++i)
      write(fmt::format("{}/c{}/good_{:05}.jpg", split, i % 4, i),
            test::make_jpeg(test::JpegKind::kYcc, 36 + i % 9, 40, static_cast<std::uint32_t>(i)));
  }
  CommandResult data(Args args) {
    args.insert(args.begin(), "data");
    args.insert(args.end(), {"--index-cache", folder_ / "cache"});
    return run(lockstep(std::move(args)));
  }
  TempDir folder_;
};

TEST_F(DataCommand, IndexSaysWhatThereIs) {
  write_good("set/train", 10);
  write_good("set/val", 5);
  const json out = json::parse(expect_ok(data({"index", folder_ / "set", "--json"})).out);
  ASSERT_EQ(out["splits"].size(), 2u);
  const json& train = out["splits"][0];
  EXPECT_EQ(train["images"], 10);
  EXPECT_EQ(train["classes"], 4);
  EXPECT_EQ(train["largest_class"]["images"], 3);
  EXPECT_EQ(train["largest_class"]["name"], "c0");
  EXPECT_EQ(train["smallest_class"]["name"], "c2");
  EXPECT_EQ(train["digest"].get<std::string>().size(), 32u);
  EXPECT_EQ(out["splits"][1]["images"], 5);
  const std::string text = expect_ok(data({"index", folder_ / "set", "--eval"})).out;
  EXPECT_THAT(text, HasSubstr("val"));
  EXPECT_THAT(text, HasSubstr("5 in 4 classes"));
  EXPECT_THAT(text, ::testing::Not(HasSubstr("train\n")));
}

TEST_F(DataCommand, WhatIsNotThereOrNotKnownIsAnError) {
  EXPECT_EQ(data({"index", folder_ / "none"}).exit_code, 66);
  fs::create_directories(folder_ / "empty");
  EXPECT_EQ(data({"scan", folder_ / "empty"}).exit_code, 66);
  const CommandResult source = data({"index", folder_ / "empty", "--source", "FOLDERS"});
  EXPECT_EQ(source.exit_code, 64);
  EXPECT_THAT(source.err, HasSubstr("FOLDERS"));
  EXPECT_EQ(run(lockstep({"data"})).exit_code, 64);
}

TEST_F(DataCommand, ScanListsExactlyTheBadImages) {
  write_good("set/train", 40);
  std::set<std::string> wanted;
  for (const OddImage& image : test::odd_images()) {
    write("set/train/c1/" + image.name, image.bytes);
    if (image.unreadable) wanted.insert(image.name + " " + std::string(scan_kind_name(*image.unreadable)));
  }
  fs::create_directories(folder_ / "set/train/c1/folder.jpg");
  fs::create_symlink("nowhere", folder_ / "set/train/c1/dangling.jpg");
  wanted.insert("dangling.jpg unavailable");
  const CommandResult result = data({"scan", folder_ / "set", "--json", "--report", folder_ / "report.tsv"});
  EXPECT_EQ(result.exit_code, 65) << result.err;
  const json out = json::parse(result.out);
  std::set<std::string> got;
  for (const json& finding : out["findings"])
    if (finding["unreadable"])
      got.insert(fs::path(finding["name"].get<std::string>()).filename().string() + " " + finding["kind"].get<std::string>());
  EXPECT_EQ(got, wanted);
  EXPECT_EQ(out["unreadable"], wanted.size());
  const std::string tsv = read_file(folder_ / "report.tsv");
  EXPECT_EQ(static_cast<std::size_t>(std::count(tsv.begin(), tsv.end(), '\n')), out["findings"].size() + 1);
  EXPECT_THAT(tsv, HasSubstr("\t1\ttrain\t"));
  const std::string text = data({"scan", folder_ / "set"}).out;
  for (const char* words : {"unreadable", "truncated", "header_65500.jpg", "65500x65500", "it looks like a GIF", "max_bad_samples"})
    EXPECT_THAT(text, HasSubstr(words));
}

TEST_F(DataCommand, ACleanSetScansWithExitCode0) {
  write_good("set/train", 12);
  write("set/train/c0/grey.jpg", test::make_jpeg(test::JpegKind::kGrey, 40, 40));
  const CommandResult result = expect_ok(data({"scan", folder_ / "set"}));
  EXPECT_THAT(result.out, HasSubstr("unreadable  none"));
  EXPECT_THAT(result.out, HasSubstr("grey 1"));
  EXPECT_EQ(result.err, "") << "no progress line where nobody looks";
}

TEST_F(DataCommand, APackedSetHasTheSameDigestAndBadImagesStopIt) {
  write_good("set/train", 40);
  write_good("set/val", 8);
  const auto digest = [&](const std::string& path) { return json::parse(expect_ok(data({"index", path, "--json"})).out)["splits"][0]["digest"]; };
  expect_ok(data({"pack", folder_ / "set", "--output", folder_ / "packed", "--shard-mb", "1"}));
  EXPECT_EQ(digest(folder_ / "packed"), digest(folder_ / "set"));
  EXPECT_TRUE(fs::exists(folder_ / "packed/classes.txt"));
  EXPECT_EQ(data({"pack", folder_ / "set", "--output", folder_ / "packed"}).exit_code, 73);
  EXPECT_EQ(data({"pack", folder_ / "set", "--output", folder_ / "q", "--quality", "80"}).exit_code, 64) << "quality goes with --resize";
  const json resized = json::parse(expect_ok(data({"pack", folder_ / "set", "--output", folder_ / "small", "--resize", "24", "--json"})).out);
  EXPECT_EQ(resized["splits"][0]["resized"], 40);
  write("set/train/c2/bad.jpg", {});
  const CommandResult bad = data({"pack", folder_ / "set", "--output", folder_ / "bad"});
  EXPECT_EQ(bad.exit_code, 65);
  EXPECT_THAT(bad.err, HasSubstr("bad.jpg"));
  fs::remove_all(folder_ / "bad");
  EXPECT_THAT(expect_ok(data({"pack", folder_ / "set", "--output", folder_ / "bad", "--skip-bad", "1"})).err, HasSubstr("left out: "));
}

TEST_F(DataCommand, ShowDrawsWhatTrainingSees) {
  write_good("set/train", 40);
  const Args show{
      "data",    "show", tiny(), "--set", "data.source=FOLDER", "--data", folder_ / "set", "--set", "data.augment.crop=RANDOM_RESIZED_CROP",
      "--count", "9"};
  const auto sheet = [&](const std::string& name, Args more) {
    Args args = show;
    args.insert(args.end(), {"--output", folder_ / name});
    args.insert(args.end(), more.begin(), more.end());
    expect_ok(run(lockstep(args), {"XDG_CACHE_HOME=" + (folder_ / "cache")}));
    return read_file(folder_ / name);
  };
  const std::string first = sheet("a.png", {});
  EXPECT_EQ(first, sheet("b.png", {})) << "the same samples at any time";
  EXPECT_NE(first, sheet("c.png", {"--epoch", "1"}));
  EXPECT_NE(first, sheet("d.png", {"--set", "data.augment.mix.mixup_alpha=1"}));
  EXPECT_EQ(first, sheet("e.png", {"--set", "data.augment.mix.mixup_alpha=1", "--unmixed"}));
  ReadScratch scratch;
  const Image image = decode_image({reinterpret_cast<const std::uint8_t*>(first.data()), first.size()}, "a.png", scratch);
  EXPECT_EQ(image.width, 4 + 3 * (64 + 4)) << "3 in a row, 16x16 enlarged to 64x64";
}

class OddTraining : public DataCommand {
 protected:
  // A set of `total` images with one of every odd kind among them.
  void write_set(int total) {
    const std::vector<OddImage>& odd = test::odd_images();
    write_good("set/train", total - static_cast<int>(odd.size()));
    write_good("set/val", 8);
    for (std::size_t i = 0; i < odd.size(); ++i) write(fmt::format("set/train/c{}/{}", i % 4, odd[i].name), odd[i].bytes);
  }
  // Trains for an epoch; the digest. `listed`: the bad samples that the checkpoint names.
  std::string train(int ranks, const std::string& crop, std::set<std::string>& listed) {
    const std::string run_dir = folder_ / fmt::format("run_{}_{}", crop, ranks);
    const Args args{"train",     tiny(),
                    "--run-dir", run_dir,
                    "--data",    folder_ / "set",
                    "--set",     "data.source=FOLDER",
                    "--set",     "data.index_cache=" + (folder_ / "cache"),
                    "--set",     "data.augment.crop=" + crop,
                    "--set",     "data.max_bad_samples=100",
                    "--set",     "data.last_batch=WRAP",
                    "--set",     "epochs=1",
                    "--set",     "batch.global_batch=32",
                    "--set",     "batch.shard_batch=8",
                    "--set",     "checkpoint.every_steps=0"};
    expect_ok(run(ranks == 1 ? lockstep(args) : mpi(ranks, args)));
    std::istringstream lines(expect_ok(run(lockstep({"inspect", run_dir}))).out);
    for (std::string line; std::getline(lines, line);)
      for (const OddImage& image : test::odd_images())
        if (line.starts_with("bad sample") && line.find("/" + image.name + ":") != std::string::npos) listed.insert(image.name);
    return expect_ok(run(lockstep({"inspect", run_dir, "--digest"}))).out;
  }
};

// Every odd kind, together 1 % of a set: training does not crash, does not depend on who meets a bad image first, and lists them all.
TEST_F(OddTraining, TheDigestIsTheSameAtAnyNumberOfRanksAndAllBadAreListed) {
  write_set(100 * static_cast<int>(test::odd_images().size()));
  std::set<std::string> bad;
  for (const OddImage& image : test::odd_images())
    if (image.unreadable) bad.insert(image.name);
  std::set<std::string> digests;
  for (const int ranks : {1, 2, 4}) {
    std::set<std::string> listed;
    digests.insert(train(ranks, "NONE", listed));
    EXPECT_EQ(listed, bad) << ranks << " ranks";
  }
  EXPECT_EQ(digests.size(), 1u);
}

// With random crops damage outside of the crop may go unnoticed, on all numbers of ranks alike.
TEST_F(OddTraining, RandomCropsOfDamagedImagesAreTheSameAtAnyNumberOfRanks) {
  write_set(4 * static_cast<int>(test::odd_images().size()));
  std::set<std::string> alone, shared;
  EXPECT_EQ(train(1, "RANDOM_RESIZED_CROP", alone), train(4, "RANDOM_RESIZED_CROP", shared));
  EXPECT_EQ(alone, shared);
  EXPECT_GT(alone.size(), 20u);
}

}  // namespace
}  // namespace lockstep::testing
