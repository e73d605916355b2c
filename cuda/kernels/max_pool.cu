// Max pooling. Forward reads x once from memory (overlapping windows again from the caches) and writes y and one byte per
// element of y; backward reads those and dy and writes dx: for a 3x3 window of stride 2, 2.75 and 2.75 bytes per 16-bit
// element of x.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "cuda/kernels/pool.h"
#include "cuda/kernels/pool_windows.h"

namespace lockstep::cuda {
namespace {

template <class T, int N>
struct MaxForward {
  static constexpr int kWidth = N, kInFlight = 3;  // taps of a window's row that are read together
  PoolGeometry geometry;
  const T* x;
  T* y;
  std::uint8_t* indices;  // may be null

  LS_DEVICE void compute(const PoolPlace& at) const {
    const WindowAxis &h = geometry.h, &w = geometry.w;
    const int first_s = w.first_tap(at.column), end_s = w.end_tap(at.column), end_r = h.end_tap(at.row);
    float best[N];
    int best_tap[N];
    for (int k = 0; k < N; ++k) {
      best[k] = -INFINITY;
      best_tap[k] = h.first_tap(at.row) * w.kernel + first_s;
    }
    for (int r = h.first_tap(at.row); r < end_r; ++r) {
      const T* row = x + geometry.x_at(at.image, h.origin(at.row) + r, 0) + at.channel;
      for (int s = first_s; s < end_s; s += kInFlight) {
        Pack<T, N> taps[kInFlight];
        // Beyond the window: its last pixel again, which doesn't replace itself.
        for (int u = 0; u < kInFlight; ++u)
          taps[u] = load_pack<T, N>(row + (w.origin(at.column) + (s + u < end_s ? s + u : end_s - 1)) * geometry.channels);
        for (int u = 0; u < kInFlight; ++u) replace(best, best_tap, taps[u], r * w.kernel + s + u);
      }
    }
    write(geometry.y_at(at.image, at.row, at.column) + at.channel, best, best_tap);
  }

  // The first of equals stays, and the first NaN.
  LS_DEVICE void replace(float (&best)[N], int (&best_tap)[N], const Pack<T, N>& values, int tap) const {
    for (int k = 0; k < N; ++k) {
      const float value = to_float(values.at[k]);
      if (best[k] == best[k] && !(value <= best[k])) {
        best[k] = value;
        best_tap[k] = tap;
      }
    }
  }

  LS_DEVICE void write(std::int64_t at, const float (&best)[N], const int (&best_tap)[N]) const {
    Pack<T, N> result;
    Pack<std::uint8_t, N> taps;
    for (int k = 0; k < N; ++k) {
      result.at[k] = from_float<T>(best[k]);
      taps.at[k] = static_cast<std::uint8_t>(best_tap[k]);
    }
    store_pack<T, N>(y + at, result);
    if (indices != nullptr) store_pack<std::uint8_t, N>(indices + at, taps);
  }
};

// Each element of dx gathers from the windows that hold it, so that nothing is added out of order.
template <class T, int N>
struct MaxBackward {
  static constexpr int kWidth = N, kInFlight = 2;  // windows beside each other that are read together
  PoolGeometry geometry;
  const T* dy;
  const std::uint8_t* indices;
  T* dx;
  bool accumulate;

  LS_DEVICE void compute(const PoolPlace& at) const {
    const WindowAxis &h = geometry.h, &w = geometry.w;
    const WindowAxis::Holders above = h.holders(at.row), beside = w.holders(at.column);
    float sum[N];
    for (int k = 0; k < N; ++k) sum[k] = 0;
    for (int i = 0; i < above.count; ++i) {
      const std::int64_t row = geometry.y_at(at.image, above.window - i, 0) + at.channel;
      const int first_tap = (above.tap + i * h.stride) * w.kernel + beside.tap;
      for (int j = 0; j < beside.count; j += kInFlight) {
        Pack<T, N> gradient[kInFlight];
        Pack<std::uint8_t, N> taps[kInFlight];
        for (int u = 0; u < kInFlight; ++u) {
          const std::int64_t window = row + (beside.window - (j + u < beside.count ? j + u : j)) * geometry.channels;
          gradient[u] = load_pack<T, N>(dy + window);
          taps[u] = load_pack<std::uint8_t, N>(indices + window);
        }
        for (int u = 0; u < kInFlight; ++u) {
          const int tap = j + u < beside.count ? first_tap + (j + u) * w.stride : -1;  // beyond the last: none
          for (int k = 0; k < N; ++k) sum[k] += taps[u].at[k] == tap ? to_float(gradient[u].at[k]) : 0.0f;
        }
      }
    }
    put_unit<T, N>(dx + geometry.x_at(at.image, at.row, at.column) + at.channel, sum, accumulate);
  }
};

}  // namespace

void max_pool_forward(Stream stream, ConstView x, const Pool2dParams& params, View y, View indices) {
  with_element_type(x.dtype, "max_pool_forward", [&]<class T>(T) {
    auto* taps = indices ? indices.data<std::uint8_t>() : nullptr;
    if (fits_units<T>(x.shape[1], x.ptr, y.ptr) && fits_units<std::uint8_t>(x.shape[1], taps))
      launch_pixels(stream, y.shape, MaxForward<T, kUnit>{{x.shape, y.shape, params, kUnit}, x.data<T>(), y.data<T>(), taps});
    else
      launch_pixels(stream, y.shape, MaxForward<T, 1>{{x.shape, y.shape, params, 1}, x.data<T>(), y.data<T>(), taps});
  });
}

void max_pool_backward(Stream stream, ConstView dy, ConstView indices, const Pool2dParams& params, View dx, GradMode mode) {
  const bool accumulate = mode == GradMode::kAccumulate;
  with_element_type(dy.dtype, "max_pool_backward", [&]<class T>(T) {
    const auto* taps = indices.data<std::uint8_t>();
    if (fits_units<T>(dx.shape[1], dx.ptr, dy.ptr) && fits_units<std::uint8_t>(dx.shape[1], taps))
      launch_pixels(stream, dx.shape, MaxBackward<T, kUnit>{{dx.shape, dy.shape, params, kUnit}, dy.data<T>(), taps, dx.data<T>(),
                                                                accumulate});
    else
      launch_pixels(stream, dx.shape, MaxBackward<T, 1>{{dx.shape, dy.shape, params, 1}, dy.data<T>(), taps, dx.data<T>(), accumulate});
  });
}

}  // namespace lockstep::cuda
