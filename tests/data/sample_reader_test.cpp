// SampleReader: encoded images are decoded in part and give the same samples as whole ones; what is bad depends on sample and epoch,
// never on what was read before; colours follow the crop in a fixed order.
// SPDX-License-Identifier: Apache-2.0
#include "data/sample_reader.h"

#include <gtest/gtest.h>

#include "tests/data/test_support.h"

namespace lockstep {
namespace {

using test::Bytes;

// JPEGs in memory, handed out encoded or decoded.
class JpegSource final : public Source {
 public:
  JpegSource(std::vector<Bytes> files, bool encoded) : files_(std::move(files)), encoded_(encoded) {}
  std::int64_t size() const override { return static_cast<std::int64_t>(files_.size()); }
  int classes() const override { return 1; }
  int label(std::int64_t) const override { return 0; }
  int channels() const override { return 3; }
  int height() const override { return 0; }
  int width() const override { return 0; }
  bool encoded() const override { return encoded_; }
  std::span<const std::uint8_t> fetch(std::int64_t index, ReadScratch&) const override { return files_[static_cast<std::size_t>(index)]; }
  Image read(std::int64_t index, ReadScratch& scratch) const override { return decode_image(fetch(index, scratch), name(index), scratch); }
  std::string name(std::int64_t index) const override { return "picture " + std::to_string(index); }
  std::string describe() const override { return "pictures"; }
  std::string digest() const override { return ""; }

 private:
  std::vector<Bytes> files_;
  bool encoded_;
};

std::vector<Bytes> pictures() {
  std::vector<Bytes> files;
  for (int i = 0; i < 6; ++i) files.push_back(test::make_jpeg(test::JpegKind::kYcc, 50 + 9 * i, 90 - 7 * i, static_cast<std::uint32_t>(i)));
  files.push_back(test::make_jpeg(test::JpegKind::kProgressive, 60, 70));
  files.push_back(test::make_png(2, 8, 40, 50));
  return files;
}

struct Sample {
  std::int64_t id;
  Bytes pixels;
  bool operator==(const Sample&) const = default;
};

Sample read(const SampleReader& reader, std::int64_t id, std::int64_t epoch, SampleScratch& scratch) {
  Sample sample{0, Bytes(static_cast<std::size_t>(reader.image_bytes()))};
  sample.id = reader.read(id, epoch, scratch, sample.pixels.data());
  return sample;
}

TEST(SampleReader, EncodedImagesGiveTheSamplesOfDecodedOnes) {
  const JpegSource encoded(pictures(), true), decoded(pictures(), false);
  for (const AugmentOptions& options :
       {AugmentOptions{.crop = Crop::kRandomResizedCrop, .flip = true, .out_height = 24, .out_width = 20},
        AugmentOptions{.crop = Crop::kResizeCentreCrop, .out_height = 24, .out_width = 24, .resize_short = 28},
        AugmentOptions{.crop = Crop::kPadCrop, .flip = true, .out_height = 24, .out_width = 24}, AugmentOptions{.out_height = 16, .out_width = 30},
        AugmentOptions{.crop = Crop::kRandomResizedCrop,
                       .out_height = 24,
                       .out_width = 24,
                       .colour_jitter = {.brightness = 0.4, .contrast = 0.4, .saturation = 0.4, .hue = 0.1},
                       .rand_augment = {.ops = 2},
                       .random_erasing = {.probability = 0.5}}}) {
    const SampleReader one(encoded, options, 5, nullptr), other(decoded, options, 5, nullptr);
    SampleScratch a, b;
    for (std::int64_t epoch = 0; epoch < 5; ++epoch)
      for (std::int64_t id = 0; id < encoded.size(); ++id)
        ASSERT_EQ(read(one, id, epoch, a), read(other, id, epoch, b)) << "crop " << static_cast<int>(options.crop) << ", sample " << id;
  }
}

TEST(SampleReader, TellsWhereTheTimeGoes) {
  const JpegSource source(pictures(), true);
  const SampleReader reader(source, {.crop = Crop::kRandomResizedCrop, .out_height = 24, .out_width = 24}, 5, nullptr);
  SampleScratch scratch;
  for (int i = 0; i < 5; ++i) read(reader, i, 0, scratch);
  EXPECT_EQ(scratch.times.samples, 5);
  EXPECT_GT(scratch.times.read_ns, 0);
  EXPECT_GT(scratch.times.decode_ns, 0);
  EXPECT_GT(scratch.times.augment_ns, 0);
}

// The lowest rows of picture 2 are damaged: bad in epochs whose crop reaches there.
TEST(SampleReader, WhatIsBadDoesNotDependOnWhatWasReadBefore) {
  std::vector<Bytes> files = pictures();
  Bytes& damaged = files[2];
  damaged.resize(damaged.size() * 9 / 10);
  damaged.insert(damaged.end(), {0xff, 0xd9});
  const JpegSource source(files, true);
  const AugmentOptions options{.crop = Crop::kRandomResizedCrop, .flip = true, .out_height = 24, .out_width = 24};
  BadSamples bad(1);
  const SampleReader used(source, options, 5, &bad);
  SampleScratch scratch;
  int itself = 0, another = 0;
  for (std::int64_t epoch = 0; epoch < 100; ++epoch) {
    BadSamples none_yet(1);
    const SampleReader fresh(source, options, 5, &none_yet);
    SampleScratch fresh_scratch;
    const Sample sample = read(used, 2, epoch, scratch);
    ASSERT_EQ(sample, read(fresh, 2, epoch, fresh_scratch)) << "epoch " << epoch;
    ++(sample.id == 2 ? itself : another);
    if (sample.id != 2) {
      ASSERT_EQ(sample, read(used, 3, epoch, scratch)) << "the substitute has its own draw";
    }
  }
  EXPECT_GT(itself, 3);
  EXPECT_GT(another, 3);
  ASSERT_EQ(bad.count(), 1);
  EXPECT_NE(bad.list()[0].reason.find("picture 2"), std::string::npos);
}

// Crop and flip, jitter, RandAugment, erasing; all draws from one stream.
TEST(SampleReader, ColoursFollowTheCropInTorchvisionsOrder) {
  const JpegSource source(pictures(), true);
  const AugmentOptions crop{.crop = Crop::kRandomResizedCrop, .flip = true, .out_height = 24, .out_width = 24};
  AugmentOptions all = crop;
  all.colour_jitter = {.brightness = 0.4, .saturation = 0.4};
  all.rand_augment = {.ops = 2};
  all.random_erasing = {.probability = 1};
  const SampleReader plain(source, crop, 5, nullptr), full(source, all, 5, nullptr);
  SampleScratch scratch;
  ReadScratch read_scratch;
  for (std::int64_t id = 0; id < 6; ++id) {
    Sample want = read(plain, id, 3, scratch);
    RandomStream random = augment_stream(5, 3, id);
    const Image image = source.read(id, read_scratch);
    draw_augment(crop, image.height, image.width, random);
    std::vector<std::uint8_t> colours;
    apply_colour_jitter(all.colour_jitter, random, want.pixels.data(), 24, 24);
    apply_rand_augment(all.rand_augment, random, want.pixels.data(), 24, 24, colours);
    apply_random_erasing(all.random_erasing, random, want.pixels.data(), 24, 24, 3);
    EXPECT_EQ(read(full, id, 3, scratch), want) << id;
  }
}

TEST(SampleReader, ColoursOfGreyImagesAreAnError) {
  for (const AugmentOptions& options : {AugmentOptions{.colour_jitter = {.hue = 0.1}}, AugmentOptions{.rand_augment = {.ops = 1}}})
    EXPECT_EQ(test::not_the_user_error([&] { checked_augment(options, 28, 28, 1); }, ExitCode::kUsage, {"1 channel", "RGB"}), "");
  EXPECT_NO_THROW(checked_augment({.random_erasing = {.probability = 1}}, 28, 28, 1));
}

}  // namespace
}  // namespace lockstep
