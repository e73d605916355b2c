// SPDX-License-Identifier: Apache-2.0
#include "train/checkpoint/row_major.h"

#include <algorithm>

#include "core/error.h"

namespace lockstep {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{1} << 20;

std::size_t nbytes_of(const Shape& shape, DType dtype) {
  return static_cast<std::size_t>(shape.numel()) * dtype_size(dtype);
}

// In these cases channels-last and row-major are the same bytes.
bool same_order(const Shape& shape) {
  return shape.rank() != 4 || shape[1] == 1 || shape[2] * shape[3] == 1 || shape.numel() == 0;
}

// A slice [first, first + count) along the leading extent is contiguous in both orders.
struct Slices {
  std::int64_t count;   // leading extent
  std::int64_t step;    // slices in one piece
  std::size_t nbytes;   // of one slice

  Slices(const Shape& shape, DType dtype) : count(shape[0]), nbytes(nbytes_of(shape, dtype) / static_cast<std::size_t>(shape[0])) {
    step = std::clamp<std::int64_t>(static_cast<std::int64_t>(kPieceBytes / nbytes), 1, count);
  }
};

}  // namespace

void for_each_row_major_piece(const ConstView& tensor, std::vector<std::byte>& scratch,
                              const std::function<void(const void*, std::size_t)>& sink) {
  LS_CHECK(tensor.device.kind == DeviceKind::kCpu, "checkpoint: a tensor on " + tensor.device.str() + ", want host memory");
  if (same_order(tensor.shape)) return sink(tensor.ptr, nbytes_of(tensor.shape, tensor.dtype));
  const Slices slices(tensor.shape, tensor.dtype);
  scratch.resize(std::max(scratch.size(), static_cast<std::size_t>(slices.step) * slices.nbytes));
  const auto* memory = static_cast<const std::byte*>(tensor.ptr);
  for (std::int64_t first = 0; first < slices.count; first += slices.step) {
    Shape piece = tensor.shape;
    piece.set(0, std::min(slices.step, slices.count - first));
    channels_last_to_row_major(memory + static_cast<std::size_t>(first) * slices.nbytes, scratch.data(), piece,
                               dtype_size(tensor.dtype));
    sink(scratch.data(), nbytes_of(piece, tensor.dtype));
  }
}

void fill_from_row_major(const View& tensor, std::vector<std::byte>& scratch,
                         const std::function<void(void*, std::size_t)>& source) {
  LS_CHECK(tensor.device.kind == DeviceKind::kCpu, "checkpoint: a tensor on " + tensor.device.str() + ", want host memory");
  if (same_order(tensor.shape)) return source(tensor.ptr, nbytes_of(tensor.shape, tensor.dtype));
  const Slices slices(tensor.shape, tensor.dtype);
  scratch.resize(std::max(scratch.size(), static_cast<std::size_t>(slices.step) * slices.nbytes));
  auto* memory = static_cast<std::byte*>(tensor.ptr);
  for (std::int64_t first = 0; first < slices.count; first += slices.step) {
    Shape piece = tensor.shape;
    piece.set(0, std::min(slices.step, slices.count - first));
    source(scratch.data(), nbytes_of(piece, tensor.dtype));
    row_major_to_channels_last(scratch.data(), memory + static_cast<std::size_t>(first) * slices.nbytes, piece,
                               dtype_size(tensor.dtype));
  }
}

}  // namespace lockstep
