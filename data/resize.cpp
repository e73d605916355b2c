// SPDX-License-Identifier: Apache-2.0
#include "data/resize.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "data/files.h"
#include "data/resize_kernels.h"

namespace lockstep {
namespace {

double triangle(double x) { return std::max(0.0, 1.0 - std::abs(x)); }

// Taps of outputs begin .. begin + count - 1 of an axis of `in` pixels resized to `out`. The order of the double
// operations is Pillow's, because its roundings decide the last bit of a coefficient.
void compute_taps(int in, int out, int begin, int count, std::vector<double>& weights, ResizeTaps& result) {
  const double scale = static_cast<double>(in) / out;
  const double filter_scale = std::max(scale, 1.0);
  const double support = filter_scale;  // the triangle's is 1
  const double inverse = 1.0 / filter_scale;
  result.taps = static_cast<int>(std::ceil(support)) * 2 + 1;
  grow(result.first, static_cast<std::size_t>(count));
  grow(result.count, static_cast<std::size_t>(count));
  grow(result.weights, static_cast<std::size_t>(count) * result.taps);
  grow(weights, static_cast<std::size_t>(result.taps));
  for (int i = 0; i < count; ++i) {
    const double center = (begin + i + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(center - support + 0.5));
    const int taps = std::min(in, static_cast<int>(center + support + 0.5)) - first;
    double sum = 0.0;
    for (int t = 0; t < taps; ++t)
      sum += weights[static_cast<std::size_t>(t)] = triangle((t + first - center + 0.5) * inverse);
    std::int32_t* to = result.weights.data() + static_cast<std::size_t>(i) * result.taps;
    for (int t = 0; t < taps; ++t) {
      const double weight =
          sum != 0.0 ? weights[static_cast<std::size_t>(t)] / sum : weights[static_cast<std::size_t>(t)];
      to[t] = static_cast<std::int32_t>(0.5 + weight * (1 << detail::kPrecisionBits));
    }
    result.first[static_cast<std::size_t>(i)] = first;
    result.count[static_cast<std::size_t>(i)] = taps;
  }
}

void check(const ResizeJob& job) {
  LS_CHECK(job.height > 0 && job.width > 0 && job.channels > 0 && job.top >= 0 && job.left >= 0 && job.out_height > 0 &&
               job.out_width > 0 && job.top + job.out_height <= job.to_height &&
               job.left + job.out_width <= job.to_width,
           fmt::format("resize {}x{} to {}x{}, window {}x{} at {},{}", job.height, job.width, job.to_height,
                       job.to_width, job.out_height, job.out_width, job.top, job.left));
}

// Input rows first .. first + count - 1, resized across, to scratch.rows.
void horizontal_pass(const ResizeJob& job, const detail::ResizeKernels& kernels, int first, int count,
                     ResizeScratch& scratch) {
  const std::size_t in_bytes = static_cast<std::size_t>(job.width) * job.channels;
  const std::size_t out_bytes = static_cast<std::size_t>(job.out_width) * job.channels;
  grow(scratch.rows, out_bytes * static_cast<std::size_t>(count));
  grow(scratch.last_row, in_bytes + 1);
  const auto input = [&](int row) {
    const std::uint8_t* in = job.pixels + (first + row) * job.row_bytes;
    if (first + row < job.height - 1) return in;
    std::memcpy(scratch.last_row.data(), in, in_bytes);  // a byte may be read past a row: not past the image
    return static_cast<const std::uint8_t*>(scratch.last_row.data());
  };
  for (int row = 0; row < count; row += 2) {
    const int second = std::min(row + 1, count - 1);
    kernels.horizontal({{input(row), input(second)},
                        {scratch.rows.data() + out_bytes * row, scratch.rows.data() + out_bytes * second},
                        &scratch.horizontal,
                        job.out_width,
                        job.channels,
                        job.flip});
  }
}

void resize_with(const ResizeJob& job, const detail::ResizeKernels& kernels, ResizeScratch& scratch,
                 std::uint8_t* out) {
  check(job);
  compute_taps(job.width, job.to_width, job.left, job.out_width, scratch.weights, scratch.horizontal);
  compute_taps(job.height, job.to_height, job.top, job.out_height, scratch.weights, scratch.vertical);
  const ResizeTaps& vertical = scratch.vertical;
  const auto last = static_cast<std::size_t>(job.out_height - 1);
  const int first_row = vertical.first[0];
  horizontal_pass(job, kernels, first_row, vertical.first[last] + vertical.count[last] - first_row, scratch);
  const std::ptrdiff_t bytes = static_cast<std::ptrdiff_t>(job.out_width) * job.channels;
  for (int i = 0; i < job.out_height; ++i) {
    const auto at = static_cast<std::size_t>(i);
    kernels.vertical({scratch.rows.data() + (vertical.first[at] - first_row) * bytes, bytes,
                      vertical.weights.data() + at * vertical.taps, vertical.count[at], out + i * bytes, bytes});
  }
}

}  // namespace

void resize(const ResizeJob& job, ResizeScratch& scratch, std::uint8_t* out) {
  resize_with(job, detail::best_resize_kernels(), scratch, out);
}

namespace detail {
void resize_portable(const ResizeJob& job, ResizeScratch& scratch, std::uint8_t* out) {
  resize_with(job, portable_resize_kernels(), scratch, out);
}
}  // namespace detail

}  // namespace lockstep
