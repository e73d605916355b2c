// The layers that Winograd's tests run.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "cpu/fast/dnnl_problem.h"
#include "ops/conv2d.h"
#include "tests/cpu/fast_test_util.h"

namespace lockstep {

struct WinogradCase {
  Shape x, w;
  Pair pad;
  Shape y() const { return conv2d_shape(x, w, params()); }
  Conv2dParams params() const { return {.pad = pad}; }
  ConvProblem problem(ConvPass pass) const {
    const Shape out = y();
    return {.pass = pass, .n = x[0], .c = x[1], .h = x[2], .w = x[3], .k = w[0], .r = 3, .s = 3, .p = out[2], .q = out[3],
            .pad_h = pad.h, .pad_w = pad.w};
  }
  std::string name() const { return x.str() + w.str() + " pad " + std::to_string(pad.h) + "," + std::to_string(pad.w); }
};

// Images of 1 to 9 with every padding, channels around a vector; then what takes each way through the blocking: several
// blocks with U in the cache, several without, columns of U (few tiles, large filters), dU in squares.
inline std::vector<WinogradCase> winograd_cases() {
  std::vector<WinogradCase> all;
  const std::int64_t channels[] = {17, 1, 16, 5, 33};
  for (std::int64_t size = 1; size <= 9; ++size)
    for (int pad = 0; pad <= 2; ++pad)
      if (size + 2 * pad >= 3)
        all.push_back({{1 + size % 3, channels[size % 5], size, std::max<std::int64_t>(3, 10 - size)},
                       {channels[(size + pad) % 5], channels[size % 5], 3, 3}, {pad, 2 - pad}});
  all.push_back({{2, 40, 30, 30}, {40, 40, 3, 3}, {1, 1}});
  all.push_back({{5, 96, 24, 24}, {96, 96, 3, 3}, {1, 1}});
  all.push_back({{2, 264, 7, 7}, {280, 264, 3, 3}, {1, 1}});
  return all;
}

inline const float* data(const Tensor& tensor) { return tensor.host<float>().data(); }
inline float* data(Tensor& tensor) { return tensor.host<float>().data(); }

}  // namespace lockstep
