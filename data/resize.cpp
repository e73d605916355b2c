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

// The triangle filter of one axis. The order of the double operations is Pillow's, because its roundings decide the last bit of a
// coefficient.
struct Filter {
  Filter(int in_size, int out_size)
      : in(in_size), scale(static_cast<double>(in_size) / out_size), support(std::max(scale, 1.0)), inverse(1.0 / support) {}
  double centre(int output) const { return (output + 0.5) * scale; }
  int first(int output) const { return std::max(0, static_cast<int>(centre(output) - support + 0.5)); }
  int end(int output) const { return std::min(in, static_cast<int>(centre(output) + support + 0.5)); }

  int in;
  double scale, support, inverse;  // the support of the triangle itself is 1
};

// Taps of outputs begin .. begin + count - 1 of an axis of `in` pixels resized to `out`, of whose pixels those from `there` on lie in
// memory.
void compute_taps(int in, int out, int begin, int count, int there, const detail::ResizeKernels& kernels, std::vector<double>& weights,
                  ResizeTaps& result) {
  const Filter filter(in, out);
  constexpr int kGroup = detail::kTapGroup;
  result.taps = (static_cast<int>(std::ceil(filter.support)) * 2 + 1 + kGroup - 1) / kGroup * kGroup;
  const std::size_t row_packed = static_cast<std::size_t>(result.taps / kGroup) * static_cast<std::size_t>(kernels.packed_per_group);
  grow(result.first, static_cast<std::size_t>(count));
  grow(result.count, static_cast<std::size_t>(count));
  grow(result.weights, static_cast<std::size_t>(count) * result.taps);
  grow(result.packed, static_cast<std::size_t>(count) * row_packed);
  grow(weights, static_cast<std::size_t>(result.taps));
  for (int i = 0; i < count; ++i) {
    const double centre = filter.centre(begin + i);
    const int first = filter.first(begin + i), taps = filter.end(begin + i) - first;
    double sum = 0.0;
    for (int t = 0; t < taps; ++t)
      sum += weights[static_cast<std::size_t>(t)] = triangle((t + first - centre + 0.5) * filter.inverse);
    std::int32_t* to = result.weights.data() + static_cast<std::size_t>(i) * result.taps;
    for (int t = 0; t < taps; ++t) {
      const double weight =
          sum != 0.0 ? weights[static_cast<std::size_t>(t)] / sum : weights[static_cast<std::size_t>(t)];
      to[t] = static_cast<std::int32_t>(0.5 + weight * (1 << detail::kPrecisionBits));
    }
    std::fill(to + taps, to + result.taps, 0);
    for (int t = 0; t < taps; t += kGroup)
      kernels.pack(to + t, result.packed.data() + static_cast<std::size_t>(i) * row_packed + t / kGroup * kernels.packed_per_group);
    result.first[static_cast<std::size_t>(i)] = first - there;
    result.count[static_cast<std::size_t>(i)] = taps;
  }
}

// The job with the default of its in_ fields filled in.
ResizeJob checked(ResizeJob job) {
  if (job.in_height == 0) job.in_height = job.height - job.in_top;
  if (job.in_width == 0) job.in_width = job.width - job.in_left;
  LS_CHECK(job.height > 0 && job.width > 0 && job.channels > 0 && job.top >= 0 && job.left >= 0 && job.out_height > 0 &&
               job.out_width > 0 && job.top + job.out_height <= job.to_height && job.left + job.out_width <= job.to_width,
           fmt::format("resize {}x{} to {}x{}, window {}x{} at {},{}", job.height, job.width, job.to_height, job.to_width, job.out_height,
                       job.out_width, job.top, job.left));
  const ResizeInputs rows = resize_inputs(job.height, job.to_height, job.top, job.out_height);
  const ResizeInputs columns = resize_inputs(job.width, job.to_width, job.left, job.out_width);
  LS_CHECK(job.in_top <= rows.first && job.in_left <= columns.first && job.in_top + job.in_height >= rows.first + rows.count &&
               job.in_left + job.in_width >= columns.first + columns.count,
           fmt::format("resize needs {} rows from {} and {} columns from {}, has {} from {} and {} from {}", rows.count, rows.first,
                       columns.count, columns.first, job.in_height, job.in_top, job.in_width, job.in_left));
  return job;
}

struct Rows {  // after the horizontal pass, with a byte to spare around each
  std::uint8_t* first;
  std::ptrdiff_t pitch;  // bytes from one to the next
};

// Input rows first .. first + count - 1, resized across, to scratch.rows.
Rows horizontal_pass(const ResizeJob& job, const detail::ResizeKernels& kernels, int first, int count, ResizeScratch& scratch) {
  constexpr int kRows = detail::kRowGroup;
  const std::ptrdiff_t in_bytes = static_cast<std::ptrdiff_t>(job.in_width) * job.channels, copy_bytes = in_bytes + detail::kSlack;
  const std::ptrdiff_t pitch = static_cast<std::ptrdiff_t>(job.out_width) * job.channels + 1;
  grow(scratch.rows, static_cast<std::size_t>(pitch * count + 1));
  grow(scratch.last_rows, static_cast<std::size_t>(kRows * copy_bytes));
  const auto input = [&](int row, int slot) {
    const std::uint8_t* in = job.pixels + (first + row) * job.row_bytes;
    if ((job.in_height - 1 - first - row) * job.row_bytes >= detail::kSlack) return in;
    std::uint8_t* copy = scratch.last_rows.data() + slot * copy_bytes;  // what is read past a row must not lie past the image
    std::memcpy(copy, in, static_cast<std::size_t>(in_bytes));
    return static_cast<const std::uint8_t*>(copy);
  };
  const Rows rows = {scratch.rows.data() + 1, pitch};
  for (int row = 0; row < count; row += kRows) {
    detail::HorizontalPass pass = {{}, {}, &scratch.horizontal, job.out_width, job.channels, job.flip};
    for (int i = 0; i < kRows; ++i) {
      const int at = std::min(row + i, count - 1);
      pass.in[i] = input(at, i);
      pass.out[i] = rows.first + pitch * at;
    }
    kernels.horizontal(pass);
  }
  return rows;
}

}  // namespace

namespace detail {

void resize_with(const ResizeKernels& kernels, const ResizeJob& given, ResizeScratch& scratch, std::uint8_t* out) {
  const ResizeJob job = checked(given);
  compute_taps(job.width, job.to_width, job.left, job.out_width, job.in_left, kernels, scratch.weights, scratch.horizontal);
  compute_taps(job.height, job.to_height, job.top, job.out_height, job.in_top, kernels, scratch.weights, scratch.vertical);
  const ResizeTaps& vertical = scratch.vertical;
  const auto last = static_cast<std::size_t>(job.out_height - 1);
  const int first_row = vertical.first[0];
  const Rows rows = horizontal_pass(job, kernels, first_row, vertical.first[last] + vertical.count[last] - first_row, scratch);
  const std::ptrdiff_t bytes = static_cast<std::ptrdiff_t>(job.out_width) * job.channels;
  for (int i = 0; i < job.out_height; ++i)
    kernels.vertical({rows.first + (vertical.first[static_cast<std::size_t>(i)] - first_row) * rows.pitch, rows.pitch, &vertical, i,
                      out + i * bytes, bytes});
}

}  // namespace detail

ResizeInputs resize_inputs(int in, int out, int begin, int count) {
  const Filter filter(in, out);
  const int first = filter.first(begin);
  return {first, filter.end(begin + count - 1) - first};
}

void resize(const ResizeJob& job, ResizeScratch& scratch, std::uint8_t* out) {
  detail::resize_with(*detail::resize_kernels().front(), job, scratch, out);
}

}  // namespace lockstep
