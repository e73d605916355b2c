// Image folders and synthetic sets.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "tests/data/test_support.h"

namespace lockstep {
namespace {

using test::JpegKind;
using test::TempDir;

TEST(ImageFolder, ClassesAreInByteOrderOfTheirNames) {
  const TempDir dir;
  const auto jpeg = test::make_jpeg(JpegKind::kYcc, 8, 9);
  for (const char* name : {"b/1.jpg", "B/1.JPEG", "a/2.png", "a/10.jpg", "\xc3\xa4/1.jpg", "_/x.Jpg"})
    dir.write(std::string("train/") + name, jpeg);
  for (const char* name : {"a/notes.txt", "a/.hidden.jpg", "README"})
    dir.write(std::string("train/") + name, {1, 2, 3});
  const auto opened = open_source({.path = dir.path()});
  const Source& source = *opened;
  const auto names = source.class_names();
  EXPECT_EQ(std::vector<std::string>(names.begin(), names.end()), (std::vector<std::string>{"B", "_", "a", "b", "\xc3\xa4"}));
  ASSERT_EQ(source.size(), 6);
  EXPECT_EQ(source.name(2), dir / "train/a/10.jpg");
  EXPECT_EQ(source.name(3), dir / "train/a/2.png");  // a JPEG in spite of its name
  EXPECT_EQ(source.label(3), 2);
  ReadScratch scratch;
  for (std::int64_t i = 0; i < source.size(); ++i) EXPECT_EQ(source.read(i, scratch).width, 9);
  EXPECT_NE(source.describe().find("1 other files ignored"), std::string::npos) << source.describe();
}

TEST(ImageFolder, EvaluationUsesTheClassesOfTrain) {
  const TempDir dir;
  test::make_folder(dir, "train", 3, 2);
  dir.write("val/c2/x.jpg", test::make_jpeg(JpegKind::kYcc, 8, 9));
  const auto source = open_source({.path = dir.path(), .split = Split::kEval});
  EXPECT_EQ(source->classes(), 3);
  EXPECT_EQ(source->label(0), 2);  // and not 0, although it is the only folder
  dir.write("val/c9/x.jpg", {});
  EXPECT_EQ(test::not_the_user_error([&] { open_source({.path = dir.path(), .split = Split::kEval}); }, ExitCode::kData,
                                     {"/val: ", "c9", "3 classes"}),
            "");
}

TEST(ImageFolder, EachFaultHasItsMessage) {
  const TempDir dir;
  std::filesystem::create_directories(dir / "train");
  EXPECT_EQ(test::not_the_user_error([&] { open_source({.path = dir.path()}); }, ExitCode::kNoInput,
                                     {"no class folders", "train"}),
            "");
  std::filesystem::create_directories(dir / "train/a");
  EXPECT_EQ(test::not_the_user_error([&] { open_source({.path = dir.path()}); }, ExitCode::kNoInput, {"no .jpg"}), "");
  dir.write("train/a/x.jpg", {'x'});
  EXPECT_EQ(test::not_the_user_error([&] { open_source({.path = dir.path(), .classes = 5}); }, ExitCode::kData,
                                     {"got 1", "want 5"}),
            "");
  EXPECT_EQ(test::not_the_user_error([&] { open_source({.path = dir.path(), .split = Split::kEval}); },
                                     ExitCode::kNoInput, {"val/", "test/"}),
            "");
  const auto source = open_source({.path = dir.path()});
  ReadScratch scratch;
  EXPECT_EQ(test::not_the_user_error([&] { source->read(0, scratch); }, ExitCode::kData, {"train/a/x.jpg", "neither"}),
            "");
  std::filesystem::remove(dir / "train/a/x.jpg");
  EXPECT_EQ(test::not_the_user_error([&] { source->read(0, scratch); }, ExitCode::kNoInput,
                                     {"train/a/x.jpg", "No such file"}),
            "");
}

TEST(ImageFolder, DigestSeesNamesSizesAndLabelsButNotThePlace) {
  const TempDir a, b;
  test::make_folder(a, "train", 2, 3);
  test::make_folder(b, "train", 2, 3);
  const auto digest = [](const TempDir& dir) { return open_source({.path = dir.path()})->digest(); };
  const std::string base = digest(a);
  EXPECT_EQ(digest(b), base);
  std::filesystem::rename(b / "train/c1/0002.jpg", b / "train/c1/0003.jpg");
  EXPECT_NE(digest(b), base);
  std::filesystem::rename(b / "train/c1/0003.jpg", b / "train/c1/0002.jpg");
  EXPECT_EQ(digest(b), base);
  auto bytes = test::read_bytes(b / "train/c1/0002.jpg");
  bytes.push_back(0);
  b.write("train/c1/0002.jpg", bytes);
  EXPECT_NE(digest(b), base);
}

TEST(ImageFolder, ReadsRealPhotos) {
  const std::string path = test::sample_images();
  if (path.empty())
    GTEST_SKIP() << "no sample photos: set LOCKSTEP_SAMPLE_IMAGES to a folder with train/<class>/*.JPEG";
  const auto source = open_source({.path = path, .index_cache = ""});
  EXPECT_GE(source->size(), 100);
  ReadScratch scratch;
  for (std::int64_t i = 0; i < source->size(); ++i) EXPECT_GT(source->read(i, scratch).height, 32) << source->name(i);
}

SourceOptions synthetic(Split split = Split::kTrain, std::uint64_t seed = 1) {
  return {.kind = SourceKind::kSynthetic,
          .split = split,
          .classes = 7,
          .size = 140,
          .height = 12,
          .width = 10,
          .channels = 3,
          .seed = seed};
}

test::Bytes image_bytes(const Source& source, std::int64_t i) {
  ReadScratch scratch;
  const Image image = source.read(i, scratch);
  return {image.pixels, image.pixels + image.height * image.width * image.channels};
}

TEST(Synthetic, IsAFunctionOfSeedSplitAndIndex) {
  const auto a = open_source(synthetic()), b = open_source(synthetic()),
             other = open_source(synthetic(Split::kTrain, 2)), eval = open_source(synthetic(Split::kEval));
  EXPECT_EQ(image_bytes(*a, 33), image_bytes(*b, 33));
  EXPECT_NE(image_bytes(*a, 33), image_bytes(*a, 40));  // of the same class
  EXPECT_NE(image_bytes(*a, 33), image_bytes(*other, 33));
  EXPECT_NE(image_bytes(*a, 33), image_bytes(*eval, 33));
  EXPECT_EQ(a->digest(), b->digest());
  EXPECT_NE(a->digest(), other->digest());
  EXPECT_NE(a->digest(), eval->digest());
}

// Nearest class mean, from the training split, on the evaluation split: far above the chance of 1 in 7.
TEST(Synthetic, CanBeLearnt) {
  const auto train = open_source(synthetic()), eval = open_source(synthetic(Split::kEval));
  const std::size_t bytes = image_bytes(*train, 0).size();
  std::vector<std::vector<double>> means(7, std::vector<double>(bytes));
  for (std::int64_t i = 0; i < train->size(); ++i) {
    const auto pixels = image_bytes(*train, i);
    for (std::size_t k = 0; k < bytes; ++k) means[static_cast<std::size_t>(train->label(i))][k] += pixels[k] / 20.0;
  }
  int right = 0;
  for (std::int64_t i = 0; i < eval->size(); ++i) {
    const auto pixels = image_bytes(*eval, i);
    std::size_t best = 0;
    double least = HUGE_VAL;
    for (std::size_t c = 0; c < 7; ++c) {
      double distance = 0;
      for (std::size_t k = 0; k < bytes; ++k) distance += std::pow(pixels[k] - means[c][k], 2);
      if (distance < least) least = distance, best = c;
    }
    right += static_cast<int>(best) == eval->label(i);
  }
  EXPECT_GT(right, 130);
}

TEST(Synthetic, SizesOutOfRangeAreErrors) {
  for (const auto& [field, change] : std::vector<std::pair<std::string, void (*)(SourceOptions&)>>{
           {"size", [](SourceOptions& o) { o.size = 0; }},
           {"height", [](SourceOptions& o) { o.height = 0; }},
           {"width", [](SourceOptions& o) { o.width = 1 << 20; }},
           {"channels", [](SourceOptions& o) { o.channels = 0; }},
           {"classes", [](SourceOptions& o) { o.classes = 0; }}}) {
    SourceOptions options = synthetic();
    change(options);
    EXPECT_EQ(test::not_the_user_error([&] { open_source(options); }, ExitCode::kUsage, {field, "got", "want"}), "");
  }
}

}  // namespace
}  // namespace lockstep
