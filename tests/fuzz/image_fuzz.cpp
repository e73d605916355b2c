// Images: whatever decode_image reads, decode_region reads too, with the same pixels.
// SPDX-License-Identifier: Apache-2.0
#include <xxhash.h>

#include <cstring>

#include "core/error.h"
#include "data/decode.h"
#include "data/image_facts.h"
#include "tests/fuzz/fuzz.h"

namespace lockstep::test {
namespace {

constexpr std::int64_t kMaxPixels = 1 << 20;  // larger ones are allowed, but slow

// Some window of the image, by its bytes.
Window window_of(std::uint64_t draw, int height, int width) {
  const auto below = [&](int end) {
    const auto value = static_cast<int>(draw % static_cast<std::uint64_t>(end));
    draw = draw * 6364136223846793005u + 1442695040888963407u;
    draw ^= draw >> 29;
    return value;
  };
  const int top = below(height), left = below(width);
  return {top, left, 1 + below(height - top), 1 + below(width - left)};
}

bool decodes(std::span<const std::uint8_t> bytes, ReadScratch& scratch, Image& image) {
  try {
    image = decode_image(bytes, "fuzz", scratch);
    return true;
  } catch (const UserError& error) {
    fuzz_check(error.code() == ExitCode::kData);
    return false;
  }
}

void compare(const Image& whole, const DecodedRegion& region, const Window& wanted) {
  const Window& window = region.window;
  fuzz_check(region.full_height == whole.height && region.full_width == whole.width && region.pixels.channels == whole.channels);
  fuzz_check(region.pixels.height == window.height && region.pixels.width == window.width);
  fuzz_check(window.top >= 0 && window.left >= 0 && window.top + window.height <= whole.height && window.left + window.width <= whole.width);
  fuzz_check(window.top <= wanted.top && window.left <= wanted.left && window.top + window.height >= wanted.top + wanted.height &&
             window.left + window.width >= wanted.left + wanted.width);
  const std::size_t row = std::size_t{1} * wanted.width * whole.channels;
  for (int y = 0; y < wanted.height; ++y) {
    const std::uint8_t* a = whole.pixels + (std::size_t{1} * (wanted.top + y) * whole.width + wanted.left) * whole.channels;
    const std::uint8_t* b =
        region.pixels.pixels + (std::size_t{1} * (wanted.top + y - window.top) * window.width + wanted.left - window.left) * whole.channels;
    fuzz_check(std::memcmp(a, b, row) == 0);
  }
}

}  // namespace
}  // namespace lockstep::test

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lockstep;
  const std::span<const std::uint8_t> bytes(data, size);
  const ImageFacts facts = image_facts(bytes);
  if (std::int64_t{facts.height} * facts.width > test::kMaxPixels) return 0;
  static ReadScratch whole_scratch, region_scratch;
  Image whole;
  const bool good = test::decodes(bytes, whole_scratch, whole);
  {
    ReadScratch fresh;  // what was decoded before may not matter
    Image again;
    fuzz_check(test::decodes(bytes, fresh, again) == good);
  }
  if (good) fuzz_check(whole.height == facts.height && whole.width == facts.width);
  Window wanted;
  try {
    const DecodedRegion region = decode_region(
        bytes, [] { return std::string("fuzz"); },
        [&](int height, int width) {
          wanted = test::window_of(XXH3_64bits(data, size), height, width);
          return wanted;
        },
        region_scratch);
    if (good) test::compare(whole, region, wanted);
  } catch (const UserError& error) {
    fuzz_check(!good && error.code() == ExitCode::kData);
  }
  return 0;
}
