// JpegHuffman: entropy decoding of JPEGs with a single sequential scan, in place of libjpeg's own; everything after it (inverse
// DCT, upsampling, colours) stays libjpeg's. Huffman decoding is two thirds of the work on a photo and cannot be skipped for
// rows above a crop, so it decides how fast a core reads images.
//
// How it is faster: byte stuffing is removed beforehand, so that the bit buffer is refilled by one load without a branch; one
// table look-up gives run, value and length of most coefficients; blocks that nobody wants are walked through, not stored.
// The coefficients are libjpeg's, bit for bit. Codes that do not exist are an error here; libjpeg takes some of them for 0.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

struct jpeg_decompress_struct;

namespace lockstep::detail {

class JpegHuffman;

struct JpegHuffmanDeleter {
  void operator()(JpegHuffman* huffman) const;
};
using JpegHuffmanPtr = std::unique_ptr<JpegHuffman, JpegHuffmanDeleter>;  // one thread's, kept from image to image

// Takes entropy decoding over: to be called once, after jpeg_start_decompress and jpeg_crop_scanline, before the first row.
// Coefficients of MCU columns outside [first_column, last_column] may be left 0. Makes `huffman` where there is none; what is
// kept in it (memory, look-up tables) never changes results. False, and nothing is changed: this kind of JPEG (progressive,
// arithmetic, several scans) or this libjpeg needs libjpeg's own decoder.
bool use_own_huffman(jpeg_decompress_struct& info, unsigned first_column, unsigned last_column, JpegHuffmanPtr& huffman);

}  // namespace lockstep::detail
