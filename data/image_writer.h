// Encoding: pixels to JPEG or PNG bytes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "data/source.h"

namespace lockstep {

// RGB as YCbCr with halved chroma (4:2:0), or grey; Huffman, baseline: what Pillow's save(quality=q) writes. `quality` is 1 to
// 100. Appends to `out`, whose memory is reused. Throws EnvironmentError if libjpeg fails.
void encode_jpeg(const Image& image, int quality, std::vector<std::uint8_t>& out);

// 8-bit RGB or grey. Appends to `out`.
void encode_png(const Image& image, std::vector<std::uint8_t>& out);

}  // namespace lockstep
