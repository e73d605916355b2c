// Resize: Pillow's antialiased bilinear filter on uint8, bit for bit, because recipes and pretrained weights assume it.
//
// A triangle filter whose width grows when shrinking; a horizontal, then a vertical pass, each rounded to uint8, with
// coefficients of 22 fractional bits. Only the wanted window of the result, and only the rows it needs, are computed.
// (Pillow 12.0. Later versions run the vertical pass first for images over 100 times as tall as wide, which moves some pixels by 1.)
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace lockstep {

struct ResizeJob {
  const std::uint8_t* pixels = nullptr;  // the first pixel that is there
  std::ptrdiff_t row_bytes = 0;          // from one row to the next
  int height = 0, width = 0, channels = 0;
  // The part of the image that is there: it must hold what resize_inputs says. Sizes of 0: all of it.
  int in_top = 0, in_left = 0, in_height = 0, in_width = 0;
  int to_height = 0, to_width = 0;  // the size of the whole result
  int top = 0, left = 0;            // the window of the result that is wanted
  int out_height = 0, out_width = 0;
  bool flip = false;  // mirror the window left to right
};

// The taps of one axis: output i is the sum over t of weights[i * taps + t] * input[first[i] + t], t < count[i]; the other weights
// are 0. `taps` is a multiple of detail::kTapGroup.
struct ResizeTaps {
  int taps = 0;
  std::vector<int> first, count;
  std::vector<std::int32_t> weights;
  std::vector<std::int32_t> packed;  // the weights once more, as the kernels in use take them
};

// One thread's buffers; they only grow.
struct ResizeScratch {
  ResizeTaps horizontal, vertical;
  std::vector<double> weights;
  std::vector<std::uint8_t> rows;       // after the horizontal pass
  std::vector<std::uint8_t> last_rows;  // of the input
};

// Positions of the input, along one axis, that outputs [begin, begin + count) of `out` need: [first, first + count) of `in`.
struct ResizeInputs {
  int first = 0, count = 0;
};
ResizeInputs resize_inputs(int in, int out, int begin, int count);

// Writes the window, (out_height, out_width, channels), to `out`, which must not overlap the input.
void resize(const ResizeJob& job, ResizeScratch& scratch, std::uint8_t* out);

namespace detail {
struct ResizeKernels;
// The same with given kernels (data/resize_kernels.h): for tests.
void resize_with(const ResizeKernels& kernels, const ResizeJob& job, ResizeScratch& scratch, std::uint8_t* out);
}  // namespace detail

}  // namespace lockstep
