// Checks that the ops' shape rules share. Every failure is a UserError with op, argument, got and want.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/dtype.h"
#include "core/shape.h"
#include "core/tensor.h"

namespace lockstep {

// "conv2d: argument w: got shape (4, 2, 3, 3), want (K, 3, R, S)"
[[noreturn]] void throw_bad_argument(std::string_view op, std::string_view argument, const std::string& got,
                                     const std::string& want);

// `names` spells the axes, such as "(N, C, H, W)"; the rank is theirs. Axis 0 may be empty, the others may not.
void check_axes(std::string_view op, std::string_view argument, const Shape& got, int rank, std::string_view names);
void check_shape(std::string_view op, std::string_view argument, const Shape& got, const Shape& want);
void check_dtype(std::string_view op, std::string_view argument, const Tensor& got, DType want);
void check_floating(std::string_view op, std::string_view argument, const Tensor& got);

// How a window slides along one axis of the image.
struct WindowAxis {
  std::string_view axis;  // "height" or "width", for the message
  std::int64_t extent = 0, kernel = 1;
  int stride = 1, pad = 0, dilation = 1;
  bool ceil = false;
};

// The number of whole windows: floor((extent + 2 pad - dilation (kernel - 1) - 1) / stride) + 1. With `ceil`, one that is cut off
// counts too, if it begins in the image or in the padding before it (torch's ceil_mode). Throws if there is none.
std::int64_t window_count(std::string_view op, const WindowAxis& window);

}  // namespace lockstep
