// ContactSheet: a grid of small images with a caption under each, as one RGB picture.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "data/source.h"

namespace lockstep {

class ContactSheet {
 public:
  // Room for `count` images of height x width. Small ones (below 64 pixels) are enlarged by a whole factor, pixel by pixel.
  // UserError(kUsage) for a sheet that would be larger than an image may be (data/limits.h).
  ContactSheet(int count, int height, int width);

  // The next place, row by row. The image has the height and width given above, 1 or 3 channels. A caption that is too long is
  // cut.
  void add(const Image& image, std::string_view caption);
  Image picture() const;  // valid while the sheet is
  int columns() const { return columns_; }
  // Where image `place` begins, and how much it is enlarged.
  int top(int place) const;
  int left(int place) const;
  int zoom() const { return zoom_; }

 private:
  std::uint8_t* pixel(int y, int x);
  void write(std::string_view caption, int top, int left);

  int count_, height_, width_, zoom_, columns_, used_ = 0;
  int sheet_height_ = 0, sheet_width_ = 0;
  std::vector<std::uint8_t> pixels_;
};

}  // namespace lockstep
