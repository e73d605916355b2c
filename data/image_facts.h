// ImageFacts: what the headers of an encoded image say, found by walking its segments without decoding anything.
//
// For reports: decode_image (data/decode.h) alone judges whether an image can be read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace lockstep {

enum class ImageFormat : std::uint8_t { kUnknown, kJpeg, kPng };

struct ImageFacts {
  ImageFormat format = ImageFormat::kUnknown;  // by content
  int height = 0, width = 0;                   // 0: no header with a size was found
  int channels = 0;                            // as stored, without transparency; a palette counts as colour
  int bits = 0;                                // per channel
  bool usual = true;  // JPEG: of a process that decoders know (Huffman or arithmetic, sequential or progressive, 8 bits)
  bool ends = false;  // the end marker is where the walk arrives: the file was not cut short
};

// Pure; any bytes will do. Costs one pass over a JPEG's bytes.
ImageFacts image_facts(std::span<const std::uint8_t> bytes);

// What a file that is no image probably is, by its first bytes: "a GIF", "an HTML page"; empty when unknown.
std::string_view guess_content(std::span<const std::uint8_t> bytes);

}  // namespace lockstep
