// SPDX-License-Identifier: Apache-2.0
#include "ops/checks.h"

#include "core/error.h"

namespace lockstep {
namespace {

std::string quoted_dtype(DType dtype) { return "dtype " + std::string(dtype_name(dtype)); }

}  // namespace

void throw_bad_argument(std::string_view op, std::string_view argument, const std::string& got, const std::string& want) {
  throw UserError(std::string(op) + ": argument " + std::string(argument) + ": got " + got + ", want " + want);
}

void check_axes(std::string_view op, std::string_view argument, const Shape& got, int rank, std::string_view names) {
  bool fits = got.rank() == rank;
  for (int axis = 0; fits && axis < rank; ++axis) fits = got[axis] >= (axis == 0 ? 0 : 1);
  if (fits) return;
  throw_bad_argument(op, argument, "shape " + got.str(), std::string(names) + " without empty axes after the first");
}

void check_shape(std::string_view op, std::string_view argument, const Shape& got, const Shape& want) {
  if (!(got == want)) throw_bad_argument(op, argument, "shape " + got.str(), want.str());
}

void check_dtype(std::string_view op, std::string_view argument, const Tensor& got, DType want) {
  if (got.dtype() != want) throw_bad_argument(op, argument, quoted_dtype(got.dtype()), std::string(dtype_name(want)));
}

void check_floating(std::string_view op, std::string_view argument, const Tensor& got) {
  if (!is_floating(got.dtype())) throw_bad_argument(op, argument, quoted_dtype(got.dtype()), "a floating-point dtype");
}

std::int64_t window_count(std::string_view op, const WindowAxis& window) {
  const auto want_at_least = [&](std::string_view what, int got, int least) {
    if (got < least)
      throw_bad_argument(op, std::string(what) + " (" + std::string(window.axis) + ")", std::to_string(got),
                         "at least " + std::to_string(least));
  };
  want_at_least("stride", window.stride, 1);
  want_at_least("pad", window.pad, 0);
  want_at_least("dilation", window.dilation, 1);
  const std::int64_t reach = window.dilation * (window.kernel - 1) + 1;
  const std::int64_t padded = window.extent + 2 * std::int64_t{window.pad};
  const std::int64_t room = padded - reach + (window.ceil ? window.stride - 1 : 0);
  if (room < 0)
    throw_bad_argument(op, "x", std::string(window.axis) + " " + std::to_string(window.extent) + " with padding " +
                                    std::to_string(window.pad),
                       "at least the window's reach of " + std::to_string(reach) + " pixels with both paddings");
  const std::int64_t windows = room / window.stride + 1;
  return window.ceil && (windows - 1) * window.stride >= window.extent + window.pad ? windows - 1 : windows;
}

}  // namespace lockstep
