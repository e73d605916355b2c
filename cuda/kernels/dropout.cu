// Dropout: reads x, writes y (and reads it when accumulating); the mask is drawn again in the backward pass and never kept.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "core/error.h"
#include "cuda/kernels/elementwise.h"
#include "cuda/kernels/map.h"
#include "cuda/philox.h"
#include "ops/step_control.h"

namespace lockstep::cuda {
namespace {

// A uniform number is (word >> 8) * 2^-24: that it is >= p is decided on integers, word >> 8 >= ceil(p * 2^24).
template <class T, int N>
struct Dropout {
  static_assert(N % 4 == 0, "a thread takes whole blocks of four draws");
  PhiloxStream random;
  const StepControl* control;  // null: nothing is added to the key
  std::uint32_t threshold;
  float scale;
  std::int64_t n;
  bool aligned, accumulate;
  const T* x;
  T* y;

  LS_DEVICE void operator()(std::int64_t i) const {
    const std::int64_t begin = i * N;
    const bool whole = aligned && begin + N <= n;
    const std::uint32_t step = control == nullptr ? 0 : static_cast<std::uint32_t>(control->step);
    const Pack<T, N> in = read_pack<N>(x, begin, n, whole);
    Pack<T, N> out{};
    if (accumulate) out = read_pack<N>(y, begin, n, whole);
    for (int j = 0; j < N; j += 4) {
      const PhiloxWords words = random.block(static_cast<std::uint32_t>((begin + j) / 4), step);
      for (int k = 0; k < 4; ++k) {
        const float value = (words.at[k] >> 8) >= threshold ? to_float(in.at[j + k]) * scale : 0.0f;
        out.at[j + k] = from_float<T>(accumulate ? to_float(out.at[j + k]) + value : value);
      }
    }
    write_pack<N>(y, begin, n, whole, out);
  }
};

}  // namespace

void dropout(Stream stream, ConstView x, double p, const RandomKey& key, ConstView control, View y, GradMode mode) {
  LS_CHECK(p >= 0 && p < 1, "dropout: p = " + std::to_string(p));
  with_element_type(x.dtype, "dropout", [&](auto zero) {
    using T = decltype(zero);
    constexpr int kN = kPackSize<T>;
    const T* in = x.data<T>();
    T* out = y.data<T>();
    for_each_index(stream, blocks_for(x.numel(), kN),
                   Dropout<T, kN>{.random = PhiloxStream(key), .control = static_cast<const StepControl*>(control.ptr),
                                  .threshold = static_cast<std::uint32_t>(std::ceil(p * 0x1p24)), .scale = static_cast<float>(1.0 / (1.0 - p)),
                                  .n = x.numel(), .aligned = packs_aligned<kN>(in) && packs_aligned<kN>(out),
                                  .accumulate = mode == GradMode::kAccumulate, .x = in, .y = out});
  });
}

}  // namespace lockstep::cuda
