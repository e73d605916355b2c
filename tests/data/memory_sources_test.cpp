// IDX and CIFAR-10: what they load, and that every kind of damage is one clear error.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "core/philox.h"
#include "data/cifar10.h"
#include "data/idx.h"
#include "tests/data/test_support.h"

namespace lockstep {
namespace {

using test::Bytes;
using test::TempDir;

constexpr int kImages = 12, kHeight = 6, kWidth = 5;

Bytes idx_images() { return test::idx({kImages, kHeight, kWidth}, test::pattern(1, kImages * kHeight * kWidth)); }

Bytes idx_labels() {
  Bytes labels;
  for (int i = 0; i < kImages; ++i) labels.push_back(static_cast<std::uint8_t>(i % 4));
  return test::idx({kImages}, labels);
}

void check_idx(const Source& source) {
  ReadScratch scratch;
  ASSERT_EQ(source.size(), kImages);
  EXPECT_EQ(source.classes(), 4);
  const Bytes pixels = test::pattern(1, kImages * kHeight * kWidth);
  for (std::int64_t i = 0; i < kImages; ++i) {
    const Image image = source.read(i, scratch);
    EXPECT_EQ(source.label(i), i % 4);
    ASSERT_EQ(image.height, kHeight);
    ASSERT_EQ(image.width, kWidth);
    ASSERT_EQ(image.channels, 1);
    EXPECT_TRUE(std::equal(image.pixels, image.pixels + kHeight * kWidth, pixels.begin() + i * kHeight * kWidth));
  }
}

TEST(Idx, LoadsPlainAndGzipFilesUnderAllConventionalNames) {
  std::string digest;
  for (const auto& [joint, suffix] :
       {std::pair<std::string, std::string>{"-", ""}, {"-", ".gz"}, {".", ""}, {".", ".gz"}})
    for (const Split split : {Split::kTrain, Split::kEval}) {
      const TempDir dir;
      const std::string set = split == Split::kTrain ? "train" : "t10k";
      const auto pack = [&](const Bytes& bytes) { return suffix.empty() ? bytes : test::gzip(bytes); };
      dir.write(set + "-images" + joint + "idx3-ubyte" + suffix, pack(idx_images()));
      dir.write(set + "-labels" + joint + "idx1-ubyte" + suffix, pack(idx_labels()));
      const auto source = open_source({.path = dir.path(), .split = split});
      check_idx(*source);
      EXPECT_NE(source->name(7).find("image 7"), std::string::npos);
      if (digest.empty()) digest = source->digest();
      EXPECT_EQ(source->digest(), digest);  // the same set, wherever and however it is stored
    }
  EXPECT_EQ(digest.size(), 32u);
}

TEST(Idx, DigestSeesEveryPixelAndLabel) {
  const TempDir dir;
  const auto digest = [&](const Bytes& images, const Bytes& labels) {
    return open_idx_files(dir.write("i", images), dir.write("l", labels), 4)->digest();
  };
  const std::string base = digest(idx_images(), idx_labels());
  Bytes images = idx_images(), labels = idx_labels();
  images.back() ^= 1;
  EXPECT_NE(digest(images, labels), base);
  std::swap(labels[8], labels[9]);
  EXPECT_NE(digest(idx_images(), labels), base);
}

TEST(Idx, LoadsColourImages) {
  const TempDir dir;
  const auto source = open_idx_files(dir.write("i", test::idx({2, 3, 4, 3}, test::pattern(1, 72))),
                                     dir.write("l", test::idx({2}, {0, 1})), 0);
  EXPECT_EQ(source->channels(), 3);
}

// Truncated at every length, plain and gzip: always a data error that names the file.
TEST(Idx, TruncationAtEveryLengthIsAnErrorThatNamesTheFile) {
  const TempDir dir;
  const std::string good_labels = dir.write("labels", idx_labels()), good_images = dir.write("images", idx_images());
  for (const bool zipped : {false, true}) {
    const Bytes images = zipped ? test::gzip(idx_images()) : idx_images(),
                labels = zipped ? test::gzip(idx_labels()) : idx_labels();
    for (std::size_t n = 0; n < images.size(); ++n) {
      const std::string cut =
          dir.write("cut-images", Bytes(images.begin(), images.begin() + static_cast<std::ptrdiff_t>(n)));
      ASSERT_EQ(test::not_the_user_error([&] { open_idx_files(cut, good_labels, 4); }, ExitCode::kData, {cut}), "")
          << n << " zipped " << zipped;
    }
    for (std::size_t n = 0; n < labels.size(); ++n) {
      const std::string cut =
          dir.write("cut-labels", Bytes(labels.begin(), labels.begin() + static_cast<std::ptrdiff_t>(n)));
      ASSERT_EQ(test::not_the_user_error([&] { open_idx_files(good_images, cut, 4); }, ExitCode::kData, {cut}), "")
          << n << " zipped " << zipped;
    }
  }
}

// Every bit of the header, and every bit of a gzip file: an error that names a file, or the very same pixels (gzip
// has bytes without meaning, such as its time stamp).
TEST(Idx, FlippedBitsAreErrorsOrHarmless) {
  const TempDir dir;
  const std::string labels = dir.write("labels", idx_labels());
  const std::string digest = open_idx_files(dir.write("images", idx_images()), labels, 4)->digest();
  int harmless = 0;
  for (const bool zipped : {false, true}) {
    const Bytes original = zipped ? test::gzip(idx_images()) : idx_images();
    const std::size_t bits = 8 * (zipped ? original.size() : 16);
    for (std::size_t bit = 0; bit < bits; ++bit) {
      Bytes bytes = original;
      bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << (bit % 8));
      const std::string path = dir.write("mutant", bytes);
      try {
        ASSERT_EQ(open_idx_files(path, labels, 4)->digest(), digest) << bit << " zipped " << zipped;
        ++harmless;
      } catch (const UserError& error) {
        ASSERT_EQ(error.code(), ExitCode::kData);
        ASSERT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
      }
    }
  }
  EXPECT_LT(harmless, 8 * 10);  // in gzip's ten bytes of header only
}

TEST(Idx, EachFaultHasItsMessage) {
  const TempDir dir;
  const std::string images = dir.write("images", idx_images()), labels = dir.write("labels", idx_labels());
  const auto fault = [&](const std::string& i, const std::string& l, int classes,
                         std::initializer_list<std::string> parts) {
    return test::not_the_user_error([&] { open_idx_files(i, l, classes); }, ExitCode::kData, parts);
  };
  Bytes long_file = idx_images();
  long_file.push_back(0);
  const std::string extra = dir.write("extra", long_file), extra_gz = dir.write("extra.gz", test::gzip(long_file));
  EXPECT_EQ(fault(extra, labels, 4, {extra, "377 bytes", "want 376"}), "");
  EXPECT_EQ(fault(extra_gz, labels, 4, {extra_gz, "after the last element"}), "");
  EXPECT_EQ(fault(images, labels, 3, {labels, "image 3", "offset 11", "got 3", "want 0 to 2"}), "");
  EXPECT_EQ(fault(labels, labels, 4, {labels, "magic number", "00 00 08 01", "03 or 04"}), "");
  EXPECT_EQ(fault(images, images, 4, {images, "magic number", "want 00 00 08 (u8) and rank 01"}), "");
  const std::string eleven = dir.write("eleven", test::idx({11}, Bytes(11, 0)));
  EXPECT_EQ(fault(images, eleven, 4, {eleven, "got 11", "want 12", images}), "");
  const std::string none = dir.write("none", test::idx({0, 28, 28}, {}));
  EXPECT_EQ(fault(none, labels, 4, {none, "(0, 28, 28)"}), "");
  EXPECT_EQ(fault(dir.write("wide", test::idx({12, 1, 20000}, Bytes(240000, 0))), labels, 4, {"wide", "1x20000x1"}),
            "");
}

TEST(Idx, LyingHeadersAreRefusedBeforeAllocation) {
  const TempDir dir;
  const std::string labels = dir.write("labels", idx_labels());
  for (const auto& extents : {std::array<std::uint32_t, 3>{0xffffffffu, 0xffffffffu, 0xffffffffu},
                              {1u << 31, 1u << 31, 4u},
                              {60000, 4000, 4000},
                              {1u << 20, 1u << 6, 1u << 7}})
    for (const bool zipped : {false, true}) {
      const Bytes bytes = test::idx({extents[0], extents[1], extents[2]}, Bytes(100, 0));
      const std::string path = dir.write("liar", zipped ? test::gzip(bytes) : bytes);
      EXPECT_EQ(test::not_the_user_error([&] { open_idx_files(path, labels, 4); }, ExitCode::kData,
                                         {path, std::to_string(extents[0])}),
                "");
    }
}

TEST(Idx, MissingFilesAreListedWithTheCure) {
  const TempDir dir;
  EXPECT_EQ(
      test::not_the_user_error([&] { open_source({.kind = SourceKind::kIdx, .path = dir.path()}); }, ExitCode::kNoInput,
                               {dir.path(), "train-images-idx3-ubyte", "train-images-idx3-ubyte.gz",
                                "apt-get install dataset-fashion-mnist"}),
      "");
  dir.write("train-images-idx3-ubyte", idx_images());
  EXPECT_EQ(test::not_the_user_error([&] { open_source({.path = dir.path()}); }, ExitCode::kNoInput,
                                     {"label file", "train-labels-idx1-ubyte"}),
            "");
  EXPECT_EQ(
      test::not_the_user_error([&] { open_source({.path = "/nowhere/fashion-mnist"}); }, ExitCode::kNoInput,
                               {"/nowhere/fashion-mnist", "no such folder", "apt-get install dataset-fashion-mnist"}),
      "");
}

TEST(Idx, LoadsFashionMnist) {
  const std::string path = "/usr/share/datasets/fashion-mnist";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "dataset-fashion-mnist is not installed";
  const auto train = open_source({.path = path, .classes = 10}),
             test = open_source({.path = path, .split = Split::kEval, .classes = 10});
  EXPECT_EQ(train->size(), 60000);
  EXPECT_EQ(test->size(), 10000);
  std::array<int, 10> counts{};
  for (std::int64_t i = 0; i < train->size(); ++i) ++counts[static_cast<std::size_t>(train->label(i))];
  for (const int count : counts) EXPECT_EQ(count, 6000);
  EXPECT_EQ(train->height(), 28);
  EXPECT_NE(train->digest(), test->digest());
}

TEST(Cifar10, LoadsPlanesAsPixels) {
  const TempDir dir;
  const auto source =
      open_cifar_files({dir.write("a.bin", test::cifar(12)), dir.write("b.bin", test::cifar(12))}, 12, 10);
  ASSERT_EQ(source->size(), 24);
  ReadScratch scratch;
  for (const std::int64_t i : {0, 5, 13, 23}) {
    EXPECT_EQ(source->label(i), i % 12 % 10);
    const Bytes planes = test::pattern(static_cast<std::uint32_t>(i % 12), 3072);
    const Image image = source->read(i, scratch);
    for (std::size_t p = 0; p < 1024; ++p)
      for (std::size_t c = 0; c < 3; ++c) ASSERT_EQ(image.pixels[3 * p + c], planes[1024 * c + p]);
  }
  EXPECT_NE(source->name(13).find("b.bin, image 1"), std::string::npos);
}

TEST(Cifar10, OpensTheStandardFolder) {
  const TempDir dir;
  dir.write("cifar-10-batches-bin/test_batch.bin", test::cifar(10000));
  const auto source = open_source({.path = dir.path(), .split = Split::kEval});
  EXPECT_EQ(source->size(), 10000);
  EXPECT_EQ(source->classes(), 10);
  EXPECT_EQ(test::not_the_user_error([&] { open_source({.path = dir.path()}); }, ExitCode::kNoInput,
                                     {"data_batch_1.bin", "cifar-10-binary.tar.gz"}),
            "");
  EXPECT_EQ(test::not_the_user_error([&] { open_source({.path = dir.path(), .split = Split::kEval, .classes = 7}); },
                                     ExitCode::kUsage, {"7"}),
            "");
}

TEST(Cifar10, EachFaultHasItsMessage) {
  const TempDir dir;
  Bytes bytes = test::cifar(4);
  for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{3073}, bytes.size() - 1}) {
    const std::string cut = dir.write("cut.bin", Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n)));
    EXPECT_EQ(test::not_the_user_error([&] { open_cifar_files({cut}, 4, 10); }, ExitCode::kData,
                                       {cut, fmt::format("got {} bytes", n), "want 12292"}),
              "");
  }
  bytes[2 * 3073] = 10;
  const std::string bad = dir.write("bad.bin", bytes);
  EXPECT_EQ(test::not_the_user_error([&] { open_cifar_files({bad}, 4, 10); }, ExitCode::kData,
                                     {bad, "record 2", "offset 6146", "got 10", "0 to 9"}),
            "");
}

TEST(OpenSource, RefusesWhatItCannotTell) {
  const TempDir dir;
  EXPECT_EQ(test::not_the_user_error([&] { open_source({.path = dir.path()}); }, ExitCode::kNoInput,
                                     {dir.path(), "IDX", "CIFAR-10", "train/<class>/"}),
            "");
  EXPECT_EQ(test::not_the_user_error([&] { open_source({}); }, ExitCode::kUsage, {"--data"}), "");
  dir.write("train-images-idx3-ubyte", idx_images());
  dir.write("train/a/x.jpg", {});
  EXPECT_EQ(test::not_the_user_error([&] { open_source({.path = dir.path()}); }, ExitCode::kData,
                                     {"several", "IDX", "image folder"}),
            "");
}

}  // namespace
}  // namespace lockstep
