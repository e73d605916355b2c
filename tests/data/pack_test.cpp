// Packed sets: the same images under the same digest, shards whose bytes never vary, and nothing half-written.
// SPDX-License-Identifier: Apache-2.0
#include "data/pack.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <map>

#include "data/decode.h"
#include "data/image_writer.h"
#include "data/resize.h"
#include "data/tar.h"
#include "data/tar_writer.h"
#include "tests/data/test_support.h"

namespace lockstep::test {
namespace {

namespace fs = std::filesystem;

std::unique_ptr<Source> open(const std::string& path, Split split = Split::kTrain) {
  return open_source({.path = path, .split = split, .index_cache = ""});
}

std::map<std::string, Bytes> files_of(const std::string& folder) {
  std::map<std::string, Bytes> files;
  for (const auto& item : fs::directory_iterator(folder)) files[item.path().filename().string()] = read_bytes(item.path().string());
  return files;
}

std::map<std::string, Bytes> members_of(const std::string& path) {
  TarReader reader(ByteRange(std::make_shared<DiskFile>(path)), path);
  std::map<std::string, Bytes> members;
  for (TarMember member; reader.next(member);) {
    Bytes bytes(member.size);
    reader.read(member, bytes.data(), bytes.size());
    members[member.name] = bytes;
  }
  return members;
}

PackOptions options_for(const std::string& output) {
  PackOptions options;
  options.output = output;
  options.split_name = "train";
  options.threads = 2;
  return options;
}

TEST(Pack, APackedSetIsTheSameDataSet) {
  const TempDir dir;
  make_folder(dir, "in/train", 3, 5);
  make_folder(dir, "in/val", 3, 2);
  make_pack_folder(dir / "out");
  for (const auto& [split, name] : {std::pair(Split::kTrain, "train"), std::pair(Split::kEval, "val")}) {
    const auto source = open(dir / "in", split);
    PackOptions options = options_for(dir / "out");
    options.split_name = name;
    options.shard_bytes = 8 << 10;
    if (split == Split::kTrain) write_class_names(*source, dir / "out");
    const PackedSplit packed = pack(*source, options);
    EXPECT_EQ(packed.images, source->size());
    EXPECT_EQ(packed.resized, 0);
  }
  EXPECT_GT(files_of(dir / "out").count("train-000001.tar"), 0u) << "several shards";
  for (const Split split : {Split::kTrain, Split::kEval}) {
    const auto before = open(dir / "in", split), after = open(dir / "out", split);
    EXPECT_EQ(after->digest(), before->digest());
    ReadScratch a, b;
    for (std::int64_t i = 0; i < before->size(); ++i) {
      EXPECT_EQ(after->label(i), before->label(i));
      const auto x = before->fetch(i, a), y = after->fetch(i, b);
      EXPECT_TRUE(std::equal(x.begin(), x.end(), y.begin(), y.end())) << before->name(i);
    }
  }
}

TEST(Pack, ShardsHaveTheSameBytesWithAnyNumberOfThreadsAtAnyTime) {
  const TempDir dir;
  make_folder(dir, "in/train", 3, 5);
  const auto source = open(dir / "in");
  for (const int threads : {1, 3}) {
    PackOptions options = options_for(dir / fmt::format("out{}", threads));
    options.threads = threads;
    options.shard_bytes = 8 << 10;
    make_pack_folder(options.output);
    pack(*source, options);
  }
  const auto one = files_of(dir / "out1");
  EXPECT_GT(one.size(), 1u);
  EXPECT_EQ(one, files_of(dir / "out3"));
  for (const auto& [name, bytes] : one) EXPECT_LE(bytes.size(), (8u << 10) + 1024) << name << ": a shard and the end marker";
}

TEST(Pack, ResizeShrinksToTheShortSideAsPillowDoesAndLeavesSmallImages) {
  const TempDir dir;
  const Bytes large = make_jpeg(JpegKind::kYcc, 90, 61, 1), small = make_jpeg(JpegKind::kYcc, 40, 80, 2), png = make_png(2, 8, 70, 120);
  dir.write("in/train/a/large.JPEG", large);
  dir.write("in/train/a/png.png", png);
  dir.write("in/train/a/small.JPEG", small);
  PackOptions options = options_for(dir / "out");
  options.resize_short = 40;
  options.quality = 77;
  make_pack_folder(options.output);
  EXPECT_EQ(pack(*open(dir / "in"), options).resized, 2);
  auto members = members_of(dir / "out/train-000000.tar");
  EXPECT_EQ(members.size(), 6u);
  EXPECT_EQ(members["a/small.JPEG"], small);
  EXPECT_EQ(members["a/large.cls"], (Bytes{'0'}));
  ReadScratch scratch;
  const Image image = decode_image(large, "large", scratch);
  Bytes pixels(std::size_t{3} * 59 * 40), wanted;  // 90 * 40 / 61 = 59.01
  ResizeScratch resize_scratch;
  resize({.pixels = image.pixels,
          .row_bytes = 61 * 3,
          .height = 90,
          .width = 61,
          .channels = 3,
          .to_height = 59,
          .to_width = 40,
          .out_height = 59,
          .out_width = 40},
         resize_scratch, pixels.data());
  encode_jpeg({pixels.data(), 59, 40, 3}, 77, wanted);
  EXPECT_EQ(members["a/large.jpg"], wanted);
  const Image from_png = decode_image(members["a/png.jpg"], "png", scratch);
  EXPECT_EQ(from_png.height, 40);
  EXPECT_EQ(from_png.width, 68);
}

TEST(Pack, BadImagesStopItOrAreLeftOutWithinABudget) {
  const TempDir dir;
  make_folder(dir, "in/train", 2, 4);
  dir.write("in/train/c1/0001.jpg", {1, 2, 3});
  dir.write("in/train/c1/0002.jpg", {});
  make_pack_folder(dir / "out");
  PackOptions options = options_for(dir / "out");
  EXPECT_EQ(not_the_user_error([&] { pack(*open(dir / "in"), options); }, ExitCode::kData,
                               {"2 bad images", "c1/0001.jpg", "c1/0002.jpg", "empty", "--skip-bad"}),
            "");
  EXPECT_TRUE(fs::is_empty(dir / "out")) << "nothing half-written stays";
  options.max_skipped = 2;
  const PackedSplit packed = pack(*open(dir / "in"), options);
  EXPECT_EQ(packed.images, 6);
  ASSERT_EQ(packed.skipped.size(), 2u);
  EXPECT_THAT(packed.skipped[0], ::testing::HasSubstr("c1/0001.jpg"));
  EXPECT_EQ(open(dir / "out")->size(), 6);
}

TEST(Pack, NamesThatWouldShareAKeyAndFoldersThatHoldSomethingAreRefused) {
  const TempDir dir;
  for (const char* name : {"x.jpeg", "x.jpg"}) dir.write(std::string("in/train/c/") + name, make_jpeg(JpegKind::kYcc, 40, 40));
  make_pack_folder(dir / "out");
  EXPECT_EQ(not_the_user_error([&] { pack(*open(dir / "in"), options_for(dir / "out")); }, ExitCode::kData, {"x.jpeg", "x.jpg", "\"x\""}), "");
  dir.write("dots/train/c/x.v2.jpg", make_jpeg(JpegKind::kYcc, 40, 40));
  EXPECT_EQ(not_the_user_error([&] { pack(*open(dir / "dots"), options_for(dir / "out")); }, ExitCode::kData, {"x.v2.jpg", "dots"}), "");
  EXPECT_EQ(not_the_user_error([&] { make_pack_folder(dir / "in"); }, ExitCode::kCantCreate, {"in", "empty"}), "");
  dir.write("file", {1});
  EXPECT_EQ(not_the_user_error([&] { make_pack_folder(dir / "file"); }, ExitCode::kCantCreate, {"file"}), "");
}

TEST(Pack, ClassesWithoutPlainNamesGoByNumber) {
  const TempDir dir;
  dir.write("in/train/plain_1/a.jpg", make_jpeg(JpegKind::kYcc, 40, 40, 1));
  dir.write("in/train/tench, Tinca tinca/b.jpg", make_jpeg(JpegKind::kYcc, 40, 40, 2));
  make_pack_folder(dir / "out");
  pack(*open(dir / "in"), options_for(dir / "out"));
  const auto members = members_of(dir / "out/train-000000.tar");
  EXPECT_EQ(members.count("0/a.jpg"), 1u) << "one name that is not plain, and all go by number: no two may meet";
  EXPECT_EQ(members.count("1/b.jpg"), 1u);
}

TEST(TarWriter, NamesOfEveryLengthReadBack) {
  const TempDir dir;
  std::map<std::string, Bytes> wanted;
  std::int64_t planned = 0;
  {
    TarWriter tar(dir / "a.tar");
    for (const std::size_t length : {1, 99, 100, 101, 102, 155, 200, 255, 256, 257, 300, 1000})
      for (const bool slashes : {false, true}) {
        std::string name(length, 'n');
        if (slashes)
          for (std::size_t i = 2; i + 2 < length; i += 60) name[i] = '/';
        if (length > 3) name.replace(length - 3, 3, fmt::format("{:03}", wanted.size()));
        const Bytes bytes = pattern(static_cast<std::uint32_t>(length), length * 3 % 700);
        if (!wanted.emplace(name, bytes).second) continue;
        tar.add(name, bytes);
        planned += TarWriter::member_bytes(name, std::ssize(bytes));
        EXPECT_EQ(tar.nbytes(), planned) << name;
      }
    EXPECT_FALSE(fs::exists(dir / "a.tar")) << "it has its name only when it is whole";
    tar.finish();
  }
  EXPECT_EQ(members_of(dir / "a.tar"), wanted);
  EXPECT_FALSE(fs::exists(dir / "a.tar.partial"));
}

TEST(TarWriter, WithoutFinishNothingStays) {
  const TempDir dir;
  { TarWriter(dir / "a.tar").add("x", Bytes(100, 1)); }
  EXPECT_TRUE(fs::is_empty(dir.path()));
  EXPECT_THROW(TarWriter(dir / "none/a.tar"), EnvironmentError);
}

}  // namespace
}  // namespace lockstep::test
