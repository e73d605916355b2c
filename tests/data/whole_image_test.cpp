// Crop NONE from a source to a batch: images of another size than the network's arrive resized, in training and in
// evaluation, from sources of one size (IDX, synthetic) and of many (folders).
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "data/idx.h"
#include "data/loader.h"
#include "data/resize.h"
#include "tests/data/test_support.h"

namespace lockstep {
namespace {

constexpr int kToHeight = 18, kToWidth = 10;

test::Bytes resized(const Image& image) {
  test::Bytes out(static_cast<std::size_t>(kToHeight) * kToWidth * image.channels);
  ResizeScratch scratch;
  resize({.pixels = image.pixels,
          .row_bytes = std::ptrdiff_t{1} * image.width * image.channels,
          .height = image.height,
          .width = image.width,
          .channels = image.channels,
          .to_height = kToHeight,
          .to_width = kToWidth,
          .out_height = kToHeight,
          .out_width = kToWidth},
         scratch, out.data());
  return out;
}

void expect_resized(const Source& source, const Batch& batch) {
  EXPECT_EQ(batch.images().shape()[2], kToHeight);
  EXPECT_EQ(batch.images().shape()[3], kToWidth);
  const auto pixels = batch.images().host<std::uint8_t>();
  const std::size_t nbytes = pixels.size() / batch.ids().size();
  ReadScratch scratch;
  for (std::size_t i = 0; i < batch.ids().size(); ++i) {
    if (batch.ids()[i] < 0) continue;  // padding
    const auto got = pixels.subspan(i * nbytes, nbytes);
    EXPECT_EQ(test::Bytes(got.begin(), got.end()), resized(source.read(batch.ids()[i], scratch)))
        << source.name(batch.ids()[i]);
  }
}

void expect_resized_everywhere(const Source& source) {
  const AugmentOptions whole{.out_height = kToHeight, .out_width = kToWidth};
  for (const int threads : {0, 2}) {
    Loader train(source, {.seed = 1,
                          .shard_batch = 4,
                          .global_batch = 4,
                          .first_shard = 0,
                          .last_shard = 1,
                          .augment = whole,
                          .threads = threads});
    for (int i = 0; i < 3; ++i) expect_resized(source, train.next());
    EvalLoader eval(source, {.batch = 5, .augment = whole, .threads = threads});
    while (const Batch batch = eval.next()) expect_resized(source, batch);
  }
}

TEST(WholeImage, SyntheticImagesAreResized) {
  expect_resized_everywhere(*open_source(
      {.kind = SourceKind::kSynthetic, .classes = 3, .size = 12, .height = 9, .width = 14, .channels = 3, .seed = 1}));
}

TEST(WholeImage, IdxImagesAreResized) {
  const test::TempDir dir;
  const std::string images = dir.write("images", test::idx({12, 7, 28}, test::pattern(1, 12 * 7 * 28))),
                    labels = dir.write("labels", test::idx({12}, test::Bytes(12, 1)));
  expect_resized_everywhere(*open_idx_files(images, labels, 3));
}

TEST(WholeImage, FoldersOfManySizesAreResized) {
  const test::TempDir dir;
  test::make_folder(dir, "train", 3, 4);
  expect_resized_everywhere(*open_source({.kind = SourceKind::kFolder, .path = dir.path()}));
}

}  // namespace
}  // namespace lockstep
