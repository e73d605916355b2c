// SampleIndex and its cache: order, digest, what makes a kept index useless, and that no damage gets through.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "data/index_cache.h"
#include "data/indexed_source.h"
#include "tests/data/archives.h"
#include "tests/data/test_support.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using test::Bytes;
using test::TempDir;

constexpr auto kOld = std::chrono::hours(1);

// Gives everything below `path` a time of change of an hour ago: what was changed just now is not kept.
void age(const std::string& path) {
  const auto then = fs::file_time_type::clock::now() - kOld;
  fs::last_write_time(path, then);
  for (const auto& item : fs::recursive_directory_iterator(path)) fs::last_write_time(item.path(), then);
}

std::vector<std::string> files_in(const std::string& path) {
  std::vector<std::string> files;
  if (fs::exists(path))
    for (const auto& item : fs::directory_iterator(path)) files.push_back(item.path().string());
  return files;
}

// Three classes of two images in a tar.
struct TarSet {
  TempDir dir;
  std::string cache = dir / "cache";
  TarSet() {
    fs::create_directories(dir / "data");
    write(2);
  }
  void write(int per_class) {
    test::TarBuilder tar;
    for (const char* name : {"b", "a", "c"})
      for (int i = 0; i < per_class; ++i)
        tar.add(fmt::format("{}/{}.jpg", name, i), test::make_jpeg(test::JpegKind::kYcc, 8, 8, static_cast<std::uint32_t>(*name + i)));
    dir.write("data/train.tar", tar.finish());
    age(dir / "data");
  }
  std::unique_ptr<Source> open() { return open_source({.path = dir / "data", .index_cache = cache}); }
};

TEST(SampleIndex, OrdersByClassAndBaseNameWhateverTheOrderOfArrival) {
  IndexBuilder builder;
  const int b = builder.class_id("b"), a = builder.class_id("a");
  builder.add(b, 0, 512, 10, "2.jpg");
  builder.add(a, 1, 512, 11, "9.jpg");
  builder.add(b, 1, 1024, 12, "10.jpg");
  builder.add(a, 0, 2048, 13, "1.jpg");
  const SampleIndex index = builder.finish({}, false, {{"x.tar", true}, {"y.tar", true}}, "here", "");
  EXPECT_EQ(index.classes, (std::vector<std::string>{"a", "b"}));
  std::string all;
  for (std::size_t i = 0; i < 4; ++i) all += fmt::format("{}/{} {}; ", index.entries[i].label, index.base_name(i), index.entries[i].size);
  EXPECT_EQ(all, "0/1.jpg 13; 0/9.jpg 11; 1/10.jpg 12; 1/2.jpg 10; ");
  EXPECT_EQ(index_fault(index), "");
}

TEST(SampleIndex, ClassesThatAreNumbersAreOrderedAsNumbers) {
  bool numbered = false;
  std::vector<std::string> ten, wnids{"n2", "n10"}, gap{"0", "2"}, padded{"00", "01"}, kit;
  for (int i = 0; i < 12; ++i) ten.push_back(fmt::format("{}", i));
  const std::vector<std::string> want = ten;
  order_classes(ten, numbered, "x");
  EXPECT_EQ(ten, want);
  EXPECT_TRUE(numbered);
  for (std::vector<std::string>* names : {&wnids, &gap, &padded}) {
    order_classes(*names, numbered, "x");
    EXPECT_FALSE(numbered);
    EXPECT_TRUE(std::is_sorted(names->begin(), names->end()));
  }
  for (int i = 1; i <= 1000; ++i) kit.push_back(fmt::format("{}", i));
  EXPECT_EQ(test::not_the_user_error([&] { order_classes(kit, numbered, "the/folder"); }, ExitCode::kData, {"the/folder", "1 to 1000", "wnid"}), "");
}

TEST(SampleIndex, UnknownClassesAreShown) {
  IndexBuilder builder;
  for (const char* name : {"a", "q1", "q2", "q3", "q4"}) builder.add(builder.class_id(name), 0, 0, 1, "x.jpg");
  EXPECT_EQ(test::not_the_user_error([&] { builder.finish({"a", "b"}, false, {{"x"}}, "val", "train/"); }, ExitCode::kData,
                                     {"val", "q1, q2, q3 and 1 more", "train/", "2 classes"}),
            "");
}

TEST(IndexCache, IsWrittenOnceAndRead) {
  TarSet set;
  const auto first = set.open();
  const std::vector<std::string> files = files_in(set.cache);
  ASSERT_EQ(files.size(), 1u);
  const auto written = fs::last_write_time(files[0]);
  const auto second = set.open();
  EXPECT_EQ(fs::last_write_time(files[0]), written);
  EXPECT_EQ(files_in(set.cache), files);
  const auto index = [](const Source& source) { return dynamic_cast<const IndexedSource&>(source).index(); };
  EXPECT_EQ(index(*first), index(*second));
  EXPECT_EQ(first->digest(), open_source({.path = set.dir / "data", .index_cache = ""})->digest());
}

// That the kept index is what is used, and not a new one: its file is replaced by one with another digest.
TEST(IndexCache, AKeptIndexIsUsedUntilAFileChanges) {
  TarSet set;
  const auto source = set.open();
  const std::string file = files_in(set.cache).at(0), root = set.dir / "data";
  SampleIndex other = dynamic_cast<const IndexedSource&>(*source).index();
  other.digest = std::string(32, 'f');
  ASSERT_TRUE(save_index(file, {stamp_of(root, "train.tar")}, other));
  EXPECT_EQ(set.open()->digest(), other.digest);
  set.write(2);  // the same bytes, but a new inode
  EXPECT_EQ(set.open()->digest(), source->digest());
  set.write(3);
  EXPECT_EQ(set.open()->size(), 9);
}

TEST(IndexCache, NoticesAChangeOfTheTimeAlone) {
  TarSet set;
  set.open();
  const auto written = fs::last_write_time(files_in(set.cache).at(0));
  fs::last_write_time(set.dir / "data/train.tar", fs::file_time_type::clock::now() - 2 * kOld);
  set.open();
  EXPECT_NE(fs::last_write_time(files_in(set.cache).at(0)), written);
}

TEST(IndexCache, WhatChangedJustNowIsNotKept) {
  TarSet set;
  fs::last_write_time(set.dir / "data/train.tar", fs::file_time_type::clock::now());
  EXPECT_EQ(set.open()->size(), 6);
  EXPECT_TRUE(files_in(set.cache).empty());
}

TEST(IndexCache, FoldersAreListedAgainWhenOneOfThemChanges) {
  const TempDir dir;
  test::make_folder(dir, "data/train", 3, 2);
  test::make_folder(dir, "data/val", 2, 1);
  age(dir / "data");
  const auto open = [&](Split split) { return open_source({.path = dir / "data", .split = split, .index_cache = dir / "cache"}); };
  const std::string digest = open(Split::kTrain)->digest();
  open(Split::kEval);
  ASSERT_EQ(files_in(dir / "cache").size(), 2u);
  EXPECT_EQ(open(Split::kTrain)->digest(), digest);
  dir.write("data/train/c1/new.jpg", test::make_jpeg(test::JpegKind::kYcc, 8, 8));
  EXPECT_EQ(open(Split::kTrain)->size(), 7);
  EXPECT_EQ(open(Split::kEval)->classes(), 3);
  dir.write("data/train/c9/new.jpg", test::make_jpeg(test::JpegKind::kYcc, 8, 8));
  EXPECT_EQ(open(Split::kEval)->classes(), 4);  // train/ says which classes there are
}

TEST(IndexCache, AFileThatIsRewrittenInPlaceIsAnErrorWhenItIsRead) {
  const TempDir dir;
  test::make_folder(dir, "data/train", 1, 1);
  age(dir / "data");
  const auto source = open_source({.path = dir / "data", .index_cache = dir / "cache"});
  fs::resize_file(dir / "data/train/c0/0000.jpg", 100);
  ReadScratch scratch;
  EXPECT_EQ(test::not_the_user_error([&] { source->read(0, scratch); }, ExitCode::kData, {"0000.jpg", "got 100 bytes", "touch"}), "");
}

TEST(IndexCache, AFolderThatCannotBeWrittenIsNoError) {
  TarSet set;
  set.dir.write("file", {1});
  set.cache = set.dir / "file/cache";
  EXPECT_EQ(set.open()->size(), 6);
  set.cache = "";
  EXPECT_EQ(set.open()->size(), 6);
}

TEST(IndexCache, DefaultsToTheUsersCacheFolder) {
  const char* old = std::getenv("XDG_CACHE_HOME");
  const std::string before = old == nullptr ? "" : old;
  setenv("XDG_CACHE_HOME", "/some/where", 1);
  EXPECT_EQ(default_index_cache(), "/some/where/lockstep");
  unsetenv("XDG_CACHE_HOME");
  if (const char* home = std::getenv("HOME"); home != nullptr) {
    EXPECT_EQ(default_index_cache(), std::string(home) + "/.cache/lockstep");
  }
  if (old != nullptr) setenv("XDG_CACHE_HOME", before.c_str(), 1);
}

// Every byte flipped and every length.
TEST(IndexCache, NoDamageGetsThrough) {
  TarSet set;
  const auto source = set.open();
  const std::string file = files_in(set.cache).at(0);
  const Bytes good = test::read_bytes(file);
  const std::vector<FileStamp> stamps{stamp_of(set.dir / "data", "train.tar")};
  const SampleIndex want = dynamic_cast<const IndexedSource&>(*source).index();
  ASSERT_EQ(load_index(file, stamps), want);
  const std::string bad = set.dir / "bad.index";
  for (std::size_t i = 0; i < good.size(); ++i) {
    Bytes bytes = good;
    bytes[i] ^= 0x10;
    set.dir.write("bad.index", bytes);
    ASSERT_FALSE(load_index(bad, stamps)) << "byte " << i;
    set.dir.write("bad.index", Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(i)));
    ASSERT_FALSE(load_index(bad, stamps)) << "length " << i;
  }
  EXPECT_FALSE(load_index(set.dir / "none", stamps));
  EXPECT_FALSE(load_index(set.dir.path(), stamps));
  EXPECT_FALSE(load_index(file, {}));
}

TEST(IndexCache, DamagedFilesAreReplaced) {
  TarSet set;
  const std::string digest = set.open()->digest(), file = files_in(set.cache).at(0);
  const Bytes good = test::read_bytes(file);
  set.dir.write("cache/" + fs::path(file).filename().string(), {1, 2, 3});
  EXPECT_EQ(set.open()->digest(), digest);
  EXPECT_EQ(test::read_bytes(file), good);
}

TEST(IndexCache, ManyMayWriteAtOnce) {
  TarSet set;
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 5; ++i) {
        const auto source = open_source({.path = set.dir / "data", .index_cache = set.cache});
        right += source->size() == 6;
        std::error_code ignored;
        for (const std::string& file : files_in(set.cache))
          if (file.ends_with(".index")) fs::remove(file, ignored);
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 20);
  EXPECT_TRUE(files_in(set.cache).size() <= 1);
}

}  // namespace
}  // namespace lockstep
