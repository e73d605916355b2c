// SPDX-License-Identifier: Apache-2.0
#include "data/contact_sheet.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "data/bitmap_font.h"
#include "data/limits.h"

namespace lockstep {
namespace {

constexpr int kSmallSide = 64;
constexpr int kGap = 4, kCaptionGap = 2;
constexpr std::uint8_t kPaper = 32, kInk = 235;

}  // namespace

ContactSheet::ContactSheet(int count, int height, int width) : count_(count), height_(height), width_(width) {
  LS_CHECK(count > 0 && height > 0 && width > 0, fmt::format("{} images of {}x{}", count, height, width));
  zoom_ = std::max(1, kSmallSide / std::max(height, width));
  columns_ = static_cast<int>(std::ceil(std::sqrt(static_cast<double>(count))));
  const std::int64_t rows = (count + columns_ - 1) / columns_;
  const std::int64_t sheet_height = kGap + rows * (std::int64_t{height} * zoom_ + kCaptionGap + kGlyphHeight + kGap);
  const std::int64_t sheet_width = kGap + columns_ * (std::int64_t{width} * zoom_ + kGap);
  if (sheet_height > kMaxImageSide || sheet_width > kMaxImageSide || sheet_height * sheet_width > kMaxImagePixels)
    throw UserError(fmt::format("contact sheet: {} images of {}x{} make {}x{} pixels, want at most {} a side and {} in all: show fewer (--count).",
                                count, height, width, sheet_height, sheet_width, kMaxImageSide, kMaxImagePixels));
  sheet_height_ = static_cast<int>(sheet_height);
  sheet_width_ = static_cast<int>(sheet_width);
  pixels_.assign(std::size_t{3} * sheet_height_ * sheet_width_, kPaper);
}

int ContactSheet::top(int place) const { return kGap + place / columns_ * (height_ * zoom_ + kCaptionGap + kGlyphHeight + kGap); }
int ContactSheet::left(int place) const { return kGap + place % columns_ * (width_ * zoom_ + kGap); }
std::uint8_t* ContactSheet::pixel(int y, int x) { return pixels_.data() + std::size_t{3} * (std::size_t{1} * y * sheet_width_ + x); }
Image ContactSheet::picture() const { return {pixels_.data(), sheet_height_, sheet_width_, 3}; }

void ContactSheet::add(const Image& image, std::string_view caption) {
  LS_CHECK(used_ < count_ && image.height == height_ && image.width == width_ && (image.channels == 1 || image.channels == 3),
           fmt::format("image {} of {}: {}x{}x{}", used_, count_, image.height, image.width, image.channels));
  const int y0 = top(used_), x0 = left(used_);
  for (int y = 0; y < height_ * zoom_; ++y)
    for (int x = 0; x < width_ * zoom_; ++x) {
      const std::uint8_t* from = image.pixels + std::size_t{1} * image.channels * (std::size_t{1} * (y / zoom_) * width_ + x / zoom_);
      for (int c = 0; c < 3; ++c) pixel(y0 + y, x0 + x)[c] = from[image.channels == 1 ? 0 : c];
    }
  write(caption, y0 + height_ * zoom_ + kCaptionGap, x0);
  ++used_;
}

void ContactSheet::write(std::string_view caption, int y0, int x0) {
  const int room = (width_ * zoom_ + kGap) / kGlyphAdvance;
  for (int i = 0; i < std::min(room, static_cast<int>(caption.size())); ++i) {
    const auto& rows = glyph_of(caption[static_cast<std::size_t>(i)]);
    for (int y = 0; y < kGlyphHeight; ++y)
      for (int x = 0; x < kGlyphWidth; ++x)
        if ((rows[static_cast<std::size_t>(y)] >> (kGlyphWidth - 1 - x) & 1) != 0)
          std::fill_n(pixel(y0 + y, x0 + i * kGlyphAdvance + x), 3, kInk);
  }
}

}  // namespace lockstep
