// IDX: an image file and a label file that need not agree. The input's first two bytes are the length of the label file, which
// follows; the rest is the image file.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/error.h"
#include "data/idx.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lockstep;
  if (size < 2) return 0;
  const std::span<const std::uint8_t> rest(data + 2, size - 2);
  const std::size_t label_bytes = std::min(rest.size(), std::size_t{data[0]} | std::size_t{data[1]} << 8);
  const test::FuzzFile labels(rest.first(label_bytes)), images(rest.subspan(label_bytes));
  try {
    const auto source = open_idx_files(images.path(), labels.path(), 10);
    fuzz_check(source->size() > 0 && source->classes() == 10);
    ReadScratch scratch;
    unsigned sum = 0;
    for (std::int64_t i = 0; i < source->size(); ++i) {
      fuzz_check(source->label(i) >= 0 && source->label(i) < 10);
      const Image image = source->read(i, scratch);
      const std::size_t bytes = std::size_t{1} * image.height * image.width * image.channels;
      sum += image.pixels[0] + image.pixels[bytes - 1];
    }
    fuzz_check(sum <= 510u * source->size());
  } catch (const UserError& error) {
    fuzz_check(error.code() == ExitCode::kData);
  }
  return 0;
}
