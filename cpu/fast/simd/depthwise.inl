// Depthwise convolution on NHWC, each channel with its own filter: vectors run over channels, and outputs beside each other share
// the columns that they read. A sum's order is r, then s, wherever its window lies; bf16 is rounded once.
// SPDX-License-Identifier: Apache-2.0

constexpr int kRun = 4;  // outputs of a run

template <class T>
inline Unit<T> multiply_add(const Unit<T>& sum, const Unit<T>& a, const Unit<T>& b) {
  return each<T>([](vf s, vf p, vf q) { return s + p * q; }, sum, a, b);
}

template <class T, class Span>
inline Unit<T> get_kept(const T* p, Span span) {
  Unit<T> u = get(p, span);
  for (vf& part : u.part) keep_in_register(part);
  return u;
}

// What a run has of its windows and of the columns under them: left, left + 1, ... of `width`. In the middle of an image: all.
struct Whole {
  constexpr bool has_window(int) const { return true; }
  constexpr bool has_column(int) const { return true; }
};
struct Cut {
  std::int64_t windows, left, width;
  bool has_window(int i) const { return i < windows; }
  bool has_column(int i) const { return left + i >= 0 && left + i < width; }
};

// The runs of one row of windows: body(first window, Whole or Cut).
template <int kS, int kStride, class Body>
inline void for_runs(const Pool& a, const Body& body) {
  for (std::int64_t q = 0; q < a.q; q += kRun) {
    const std::int64_t left = q * kStride - a.pad_w;
    if (left >= 0 && left + (kRun - 1) * kStride + kS <= a.w && q + kRun <= a.q)
      body(q, Whole{});
    else
      body(q, Cut{a.q - q, left, a.w});
  }
}

// One row of taps of kRun windows, for one unit of channels; x: the first window's tap 0.
template <int kS, int kStride, class T, class Run, class Span>
inline void add_taps(const T* x, std::int64_t channels, const float* filter, std::int64_t width, Unit<T> (&sum)[kRun], Run run, Span span) {
  Unit<T> taps[kS];
#pragma GCC unroll 8
  for (int s = 0; s < kS; ++s) taps[s] = table<T>(filter + s * width);
#pragma GCC unroll 16
  for (int j = 0; j < (kRun - 1) * kStride + kS; ++j) {
    if (!run.has_column(j)) continue;
    const Unit<T> v = get_kept(x + j * channels, span);
#pragma GCC unroll 8
    for (int b = 0; b < kRun; ++b)
      if (j - b * kStride >= 0 && j - b * kStride < kS) sum[b] = multiply_add(sum[b], v, taps[j - b * kStride]);
  }
}

// One window, anywhere; x: this unit's channels of the whole tensor.
template <class T, class Span>
inline Unit<T> add_window(const Depthwise<T>& a, const Window& win, const T* x, const float* filter, Unit<T> sum, Span span) {
  for (std::int64_t r = win.rows.begin; r < win.rows.end; ++r)
    for (std::int64_t s = win.columns.begin; s < win.columns.end; ++s)
      sum = multiply_add(sum, get(x + (win.first + r * a.at.w + s) * a.at.c, span), table<T>(filter + (r * a.at.kernel_w + s) * a.width));
  return sum;
}

template <class T>
inline Unit<T> initial(const Depthwise<T>& a, std::int64_t c) {
  return a.bias != nullptr ? table<T>(a.bias + c) : Unit<T>{};
}

template <int kS, int kStride, class T>
[[gnu::flatten]] void depthwise_runs(const Depthwise<T>& a, std::int64_t begin, std::int64_t end) {
  const Pool& at = a.at;
  for (std::int64_t row = begin; row < end; ++row) {
    const std::int64_t top = (row % at.p) * kStride - at.pad_h, line = at.w * at.c;
    const Range rows = taps_inside(top, at.kernel_h, at.h);
    const T* x = a.x + (row / at.p * at.h + top) * line;
    T* y = a.y + row * at.q * at.c;
    for_runs<kS, kStride>(at, [&](std::int64_t q, auto run) {
      const T* first = x + (q * kStride - at.pad_w) * at.c;
      for_units<T>(at.c, [&](std::int64_t c, auto span) {
        Unit<T> sum[kRun];
        for (Unit<T>& each_sum : sum) each_sum = initial(a, c);
        for (std::int64_t r = rows.begin; r < rows.end; ++r)
          add_taps<kS, kStride>(first + r * line + c, at.c, a.filter + r * kS * a.width + c, a.width, sum, run, span);
#pragma GCC unroll 8
        for (int b = 0; b < kRun; ++b)
          if (run.has_window(b)) put(y + (q + b) * at.c + c, sum[b], span, a.accumulate);
      });
    });
  }
}

// Any filter and strides, window by window.
template <class T>
void depthwise_windows(const Depthwise<T>& a, std::int64_t begin, std::int64_t end) {
  const Pool& at = a.at;
  for (std::int64_t row = begin; row < end; ++row) {
    const std::int64_t top = (row % at.p) * at.stride_h - at.pad_h, image_row = row / at.p * at.h;
    for (std::int64_t q = 0; q < at.q; ++q) {
      const Window win = window_of(at, top, image_row, q);
      for_units<T>(at.c, [&](std::int64_t c, auto span) {
        put(a.y + (row * at.q + q) * at.c + c, add_window(a, win, a.x + c, a.filter + c, initial(a, c), span), span, a.accumulate);
      });
    }
  }
}

template <class T>
void depthwise(const Depthwise<T>& a, std::int64_t begin, std::int64_t end) {
  const int stride = a.at.stride_h == a.at.stride_w ? a.at.stride_w : 0;
  if (a.at.kernel_w == 3 && stride == 1) return depthwise_runs<3, 1>(a, begin, end);
  if (a.at.kernel_w == 3 && stride == 2) return depthwise_runs<3, 2>(a, begin, end);
  if (a.at.kernel_w == 5 && stride == 1) return depthwise_runs<5, 1>(a, begin, end);
  if (a.at.kernel_w == 5 && stride == 2) return depthwise_runs<5, 2>(a, begin, end);
  depthwise_windows(a, begin, end);
}

// The taps first, first + stride, ... < end that lie on an input pixel in windows that exist: tap t in window (position - t) /
// stride, position with the padding.
struct TapSteps {
  int first, end;
};
inline TapSteps tap_steps(std::int64_t position, int kernel, int stride, std::int64_t windows) {
  return {static_cast<int>(larger(position % stride, position - (windows - 1) * stride)), static_cast<int>(smaller(kernel, position + 1))};
}

// One row of taps of kRun pixels of dx, strides 2: pixel b is under tap s of window (b - s) / 2, if that is whole; dy: the window whose
// tap 0 lies on the first pixel.
template <int kS, class T, class Span>
inline void gather_taps(const T* dy, std::int64_t channels, const float* filter, std::int64_t width, Unit<T> (&sum)[kRun], Span span) {
  constexpr int kBefore = kS / 2, kWindows = kBefore + kRun / 2;
  Unit<T> gradients[kWindows];
#pragma GCC unroll 8
  for (int i = 0; i < kWindows; ++i) gradients[i] = get_kept(dy + (i - kBefore) * channels, span);
#pragma GCC unroll 8
  for (int s = 0; s < kS; ++s) {
    const Unit<T> tap = table<T>(filter + s * width);
#pragma GCC unroll 8
    for (int b = s % 2; b < kRun; b += 2) sum[b] = multiply_add(sum[b], gradients[(b - s) / 2 + kBefore], tap);
  }
}

// kRun pixels of dx at `to`, strides 2; `window` is the one in row 0 whose tap 0 lies on the first of them.
template <int kS, class T>
inline void gather_run(const Depthwise<T>& a, std::int64_t h, TapSteps rows, const T* window, T* to) {
  const std::int64_t channels = a.at.c, line = a.at.q * channels;
  for_units<T>(channels, [&](std::int64_t c, auto span) {
    Unit<T> sum[kRun] = {};
    for (int r = rows.first; r < rows.end; r += 2)
      gather_taps<kS>(window + (h - r) / 2 * line + c, channels, a.filter + r * kS * a.width + c, a.width, sum, span);
    for (int b = 0; b < kRun; ++b) put(to + b * channels + c, sum[b], span, a.accumulate);
  });
}

// One pixel; `window` is the one in row 0 whose tap columns.first lies on it.
template <class T>
inline void gather_one(const Depthwise<T>& a, std::int64_t h, TapSteps rows, TapSteps columns, int stride_h, int stride_w, const T* window, T* to) {
  const std::int64_t channels = a.at.c, line = a.at.q * channels;
  for_units<T>(channels, [&](std::int64_t c, auto span) {
    Unit<T> sum{};
    for (int r = rows.first; r < rows.end; r += stride_h) {
      const T* from = window + (h - r) / stride_h * line + c;
      const float* filter = a.filter + r * a.at.kernel_w * a.width + c;
      for (int s = columns.first; s < columns.end; s += stride_w, from -= channels)
        sum = multiply_add(sum, get(from, span), table<T>(filter + s * a.width));
    }
    put(to + c, sum, span, a.accumulate);
  });
}

// The data gradient, by gathering: a.x is dy, a.y is dx, rows are dx's. kStride 0: any. kS 0: pixel by pixel.
template <int kS, int kStride, class T>
[[gnu::flatten]] void depthwise_gather(const Depthwise<T>& a, std::int64_t begin, std::int64_t end) {
  const Pool& at = a.at;
  const int stride_h = kStride != 0 ? kStride : at.stride_h, stride_w = kStride != 0 ? kStride : at.stride_w;
  for (std::int64_t row = begin; row < end; ++row) {
    const std::int64_t h = row % at.h + at.pad_h;
    const TapSteps rows = tap_steps(h, at.kernel_h, stride_h, at.p);
    const T* dy = a.x + row / at.h * at.p * at.q * at.c;
    for (std::int64_t column = 0; column < at.w; ++column) {
      const std::int64_t w = column + at.pad_w;
      T* to = a.y + (row * at.w + column) * at.c;
      if constexpr (kS != 0) {
        const std::int64_t window = w / 2;  // w is even: taps 0, 2, ... lie on it
        if (w % 2 == 0 && window >= kS / 2 && window + kRun / 2 <= at.q && column + kRun <= at.w) {
          gather_run<kS>(a, h, rows, dy + window * at.c, to);
          column += kRun - 1;
          continue;
        }
      }
      const TapSteps columns = tap_steps(w, at.kernel_w, stride_w, at.q);
      gather_one(a, h, rows, columns, stride_h, stride_w, dy + (w - columns.first) / stride_w * at.c, to);
    }
  }
}

template <class T>
void depthwise_backward(const Depthwise<T>& a, std::int64_t begin, std::int64_t end) {
  if (a.at.stride_h != 2 || a.at.stride_w != 2) return depthwise_gather<0, 0>(a, begin, end);
  if (a.at.kernel_w == 3) return depthwise_gather<3, 2>(a, begin, end);
  if (a.at.kernel_w == 5) return depthwise_gather<5, 2>(a, begin, end);
  depthwise_gather<0, 2>(a, begin, end);
}

// One row of the filter's gradient from a run: sums (kS tables) += dy * x.
template <int kS, int kStride, class T, class Run, class Span>
inline void add_products(const T* dy, const T* x, std::int64_t channels, float* sums, std::int64_t width, Run run, Span span) {
  Unit<T> g[kRun] = {}, total[kS];
#pragma GCC unroll 8
  for (int b = 0; b < kRun; ++b)
    if (run.has_window(b)) g[b] = get_kept(dy + b * channels, span);
#pragma GCC unroll 8
  for (int s = 0; s < kS; ++s) total[s] = table<T>(sums + s * width);
#pragma GCC unroll 16
  for (int j = 0; j < (kRun - 1) * kStride + kS; ++j) {
    if (!run.has_column(j)) continue;
    const Unit<T> v = get_kept(x + j * channels, span);
#pragma GCC unroll 8
    for (int b = 0; b < kRun; ++b)
      if (const int s = j - b * kStride; s >= 0 && s < kS && run.has_window(b)) total[s] = multiply_add(total[s], v, g[b]);
  }
#pragma GCC unroll 8
  for (int s = 0; s < kS; ++s) set_table<T>(sums + s * width, total[s]);
}

// The products of one row of windows with the row of pixels x under one row of taps. kS 0: any filter and stride.
template <int kS, int kStride, class T>
inline void add_row_products(const DepthwiseFilter<T>& a, const T* dy, const T* x, float* sums) {
  const Pool& at = a.at;
  if constexpr (kS != 0) {
    for_runs<kS, kStride>(at, [&](std::int64_t q, auto run) {
      const T *g = dy + q * at.c, *from = x + (q * kStride - at.pad_w) * at.c;
      for_units<T>(at.c, [&](std::int64_t c, auto span) {
        add_products<kS, kStride>(g + c, from + c, at.c, sums + c, a.width, run, span);
      });
    });
  } else {
    for (std::int64_t q = 0; q < at.q; ++q) {
      const std::int64_t left = q * at.stride_w - at.pad_w;
      const Range columns = taps_inside(left, at.kernel_w, at.w);
      for_units<T>(at.c, [&](std::int64_t c, auto span) {
        const Unit<T> gradient = get(dy + q * at.c + c, span);
        for (std::int64_t s = columns.begin; s < columns.end; ++s) {
          float* sum = sums + s * a.width + c;
          set_table<T>(sum, multiply_add(table<T>(sum), get(x + (left + s) * at.c + c, span), gradient));
        }
      });
    }
  }
}

// f32 sums over about kBlockRows outputs, then double ones, so that the error doesn't grow with the batch.
template <int kS, int kStride, class T>
[[gnu::flatten]] void depthwise_filter_as(const DepthwiseFilter<T>& a, std::int64_t begin, std::int64_t end) {
  const Pool& at = a.at;
  const std::int64_t taps = std::int64_t{at.kernel_h} * at.kernel_w, rows_together = larger(1, kBlockRows / at.q);
  clear(a.scratch, taps * a.width);
  clear(a.sums, taps * a.width);
  for (std::int64_t row = begin; row < end; ++row) {
    const std::int64_t top = (row % at.p) * at.stride_h - at.pad_h, image_row = row / at.p * at.h + top;
    const Range rows = taps_inside(top, at.kernel_h, at.h);
    for (std::int64_t r = rows.begin; r < rows.end; ++r)
      add_row_products<kS, kStride>(a, a.dy + row * at.q * at.c, a.x + (image_row + r) * at.w * at.c, a.scratch + r * at.kernel_w * a.width);
    if ((row - begin + 1) % rows_together != 0 && row + 1 < end) continue;
    for (std::int64_t t = 0; t < taps; ++t) flush<T>(a.scratch + t * a.width, a.sums + t * a.width, at.c);
  }
}

template <class T>
void depthwise_filter(const DepthwiseFilter<T>& a, std::int64_t begin, std::int64_t end) {
  const int stride = a.at.stride_h == a.at.stride_w ? a.at.stride_w : 0;
  if (a.at.kernel_w == 3 && stride == 1) return depthwise_filter_as<3, 1>(a, begin, end);
  if (a.at.kernel_w == 3 && stride == 2) return depthwise_filter_as<3, 2>(a, begin, end);
  if (a.at.kernel_w == 5 && stride == 1) return depthwise_filter_as<5, 1>(a, begin, end);
  if (a.at.kernel_w == 5 && stride == 2) return depthwise_filter_as<5, 2>(a, begin, end);
  depthwise_filter_as<0, 0>(a, begin, end);
}
