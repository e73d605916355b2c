// What the reference kernels share: the choice of the storage type, the gradient modes, image geometry.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "core/error.h"
#include "core/rehearsal.h"
#include "ops/kernels.h"

namespace lockstep::reference {

// Calls f.template operator()<T>() with the storage type of `dtype`; does nothing in a rehearsal (core/rehearsal.h).
template <class F>
void dispatch(std::string_view call, DType dtype, F&& f) {
  if (Rehearsal::active()) return;
  if (dtype == DType::kF64) {
    f.template operator()<double>();
  } else if (dtype == DType::kF32) {
    f.template operator()<float>();
  } else {
    throw EnvironmentError("cpu reference: " + std::string(call) + ": got " + std::string(dtype_name(dtype)) +
                           ", want f32 or f64; use another backend for this dtype");
  }
}

template <class T>
void put(T& target, double value, GradMode mode) {
  target = static_cast<T>(mode == GradMode::kAccumulate ? static_cast<double>(target) + value : value);
}

// Extents of (N, C, H, W), or of (N, C) as H = W = 1, and offsets into its channels-last memory.
struct Image {
  std::int64_t n, c, h, w;
  explicit Image(const Shape& shape)
      : n(shape[0]), c(shape[1]), h(shape.rank() == 4 ? shape[2] : 1), w(shape.rank() == 4 ? shape[3] : 1) {}
  std::int64_t rows() const { return n * h * w; }  // pixels of all images; each has c values
  std::int64_t at(std::int64_t in, std::int64_t ih, std::int64_t iw) const { return ((in * h + ih) * w + iw) * c; }
};

// One axis of a sliding window. Forward: where tap r of window p lies. Backward: which window sees a pixel through tap r.
struct Axis {
  std::int64_t in, out;  // pixels, windows
  std::int64_t stride, pad, dilation;
  // Pixel under tap r of window p, or -1 in the padding.
  std::int64_t pixel(std::int64_t p, std::int64_t r) const {
    const std::int64_t i = p * stride - pad + r * dilation;
    return i >= 0 && i < in ? i : -1;
  }
  // Window whose tap r lies on pixel i, or -1.
  std::int64_t window(std::int64_t i, std::int64_t r) const {
    const std::int64_t scaled = i + pad - r * dilation;
    if (scaled < 0 || scaled % stride != 0 || scaled / stride >= out) return -1;
    return scaled / stride;
  }
};

}  // namespace lockstep::reference
