// SPDX-License-Identifier: Apache-2.0
#include "ops/pool_shape.h"

#include <string>

#include "ops/checks.h"

namespace lockstep {
namespace {

std::string text(Pair pair) { return std::to_string(pair.h) + "x" + std::to_string(pair.w); }

}  // namespace

Shape pool_shape(std::string_view op, const Shape& x, const Pool2dParams& params) {
  check_axes(op, "x", x, 4, "(N, C, H, W)");
  if (params.kernel.h < 1 || params.kernel.w < 1) throw_bad_argument(op, "kernel", text(params.kernel), "at least 1x1");
  if (2 * params.pad.h > params.kernel.h || 2 * params.pad.w > params.kernel.w)
    throw_bad_argument(op, "pad", text(params.pad), "at most half the kernel " + text(params.kernel));
  const std::int64_t p = window_count(op, {"height", x[2], params.kernel.h, params.stride.h, params.pad.h, 1, params.ceil});
  const std::int64_t q = window_count(op, {"width", x[3], params.kernel.w, params.stride.w, params.pad.w, 1, params.ceil});
  return {x[0], x[1], p, q};
}

}  // namespace lockstep
