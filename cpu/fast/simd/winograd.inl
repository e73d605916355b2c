// The transforms of Winograd F(4x4, 3x3) (Lavin & Gray 2016) on channels-last images, a vector of channels at a time. With d
// a 6x6 window, g a filter: y = A^T [(G g G^T) . (B^T d B)] A; the filter's gradient is G^T [sum over tiles (A dy A^T) .
// (B^T d B)] G. The products between are matrix products over the channels (gemm.inl).
// Points: 0, +-5/8, +-3/2, infinity. They give less than half the rounding error of the usual 0, +-1, +-2 at the same number
// of operations (tests/cpu/winograd_test.cpp computes both), and entries of A and B that f32 holds exactly.
// SPDX-License-Identifier: Apache-2.0

constexpr int kOut = 4, kWindow = 6, kPoints = kWindow * kWindow;
constexpr float kNear = 0.625f, kNear2 = kNear * kNear, kNear3 = kNear2 * kNear;
constexpr float kFar = 1.5f, kFar2 = kFar * kFar, kFar3 = kFar2 * kFar;
// 1 / product of the differences to the other points: what G's rows are divided by.
constexpr double kAtZero = 1.0 / (double{kNear2} * kFar2);
constexpr double kAtNear = 0.5 / (double{kNear2} * (kNear2 - kFar2)), kAtFar = 0.5 / (double{kFar2} * (kFar2 - kNear2));
// Column i of G at the points: value^i / product.
constexpr float kG0 = static_cast<float>(kAtZero);
constexpr float kNearG0 = static_cast<float>(kAtNear), kNearG1 = static_cast<float>(kAtNear * kNear),
                kNearG2 = static_cast<float>(kAtNear * kNear2);
constexpr float kFarG0 = static_cast<float>(kAtFar), kFarG1 = static_cast<float>(kAtFar * kFar),
                kFarG2 = static_cast<float>(kAtFar * kFar2);

// One-dimensional transforms of vectors that lie `kFrom` apart to vectors that lie `kTo` apart. Points of opposite sign share
// their even and odd parts.
template <int kFrom, int kTo>
inline void transform_input(const vf* d, vf* t) {  // B^T d
  const vf d0 = d[0], d1 = d[kFrom], d2 = d[2 * kFrom], d3 = d[3 * kFrom], d4 = d[4 * kFrom], d5 = d[5 * kFrom];
  const vf near2 = splat(kNear2), far2 = splat(kFar2), sum = splat(kNear2 + kFar2), product = splat(kNear2 * kFar2);
  const vf even_near = d4 - far2 * d2, odd_near = d3 - far2 * d1, even_far = d4 - near2 * d2, odd_far = d3 - near2 * d1;
  t[0] = product * d0 + (d4 - sum * d2);
  t[kTo] = even_near + splat(kNear) * odd_near;
  t[2 * kTo] = even_near - splat(kNear) * odd_near;
  t[3 * kTo] = even_far + splat(kFar) * odd_far;
  t[4 * kTo] = even_far - splat(kFar) * odd_far;
  t[5 * kTo] = product * d1 + (d5 - sum * d3);
}

template <int kFrom, int kTo>
inline void transform_output(const vf* m, vf* y) {  // A^T m
  const vf m1 = m[kFrom], m2 = m[2 * kFrom], m3 = m[3 * kFrom], m4 = m[4 * kFrom];
  const vf even_near = m1 + m2, odd_near = m1 - m2, even_far = m3 + m4, odd_far = m3 - m4;
  y[0] = (m[0] + even_near) + even_far;
  y[kTo] = splat(kNear) * odd_near + splat(kFar) * odd_far;
  y[2 * kTo] = splat(kNear2) * even_near + splat(kFar2) * even_far;
  y[3 * kTo] = splat(kNear3) * odd_near + (splat(kFar3) * odd_far + m[5 * kFrom]);
}

template <int kFrom, int kTo>
inline void transform_gradient(const vf* y, vf* m) {  // A y
  const vf y0 = y[0], y1 = y[kFrom], y2 = y[2 * kFrom], y3 = y[3 * kFrom];
  const vf even_near = splat(kNear2) * y2 + y0, odd_near = splat(kNear3) * y3 + splat(kNear) * y1;
  const vf even_far = splat(kFar2) * y2 + y0, odd_far = splat(kFar3) * y3 + splat(kFar) * y1;
  m[0] = y0;
  m[kTo] = even_near + odd_near;
  m[2 * kTo] = even_near - odd_near;
  m[3 * kTo] = even_far + odd_far;
  m[4 * kTo] = even_far - odd_far;
  m[5 * kTo] = y3;
}

template <int kFrom, int kTo>
inline void transform_filter(const vf* g, vf* u) {  // G g
  const vf g0 = g[0], g1 = g[kFrom], g2 = g[2 * kFrom];
  const vf even_near = splat(kNearG0) * g0 + splat(kNearG2) * g2, odd_near = splat(kNearG1) * g1;
  const vf even_far = splat(kFarG0) * g0 + splat(kFarG2) * g2, odd_far = splat(kFarG1) * g1;
  u[0] = splat(kG0) * g0;
  u[kTo] = even_near + odd_near;
  u[2 * kTo] = even_near - odd_near;
  u[3 * kTo] = even_far + odd_far;
  u[4 * kTo] = even_far - odd_far;
  u[5 * kTo] = g2;
}

template <int kFrom, int kTo>
inline void transform_filter_gradient(const vf* u, vf* g) {  // G^T u
  const vf u1 = u[kFrom], u2 = u[2 * kFrom], u3 = u[3 * kFrom], u4 = u[4 * kFrom];
  const vf even_near = u1 + u2, odd_near = u1 - u2, even_far = u3 + u4, odd_far = u3 - u4;
  g[0] = splat(kG0) * u[0] + (splat(kNearG0) * even_near + splat(kFarG0) * even_far);
  g[kTo] = splat(kNearG1) * odd_near + splat(kFarG1) * odd_far;
  g[2 * kTo] = (splat(kNearG2) * even_near + splat(kFarG2) * even_far) + u[5 * kFrom];
}

// kW elements of a storage type as floats in their own order, and what such an element holds of a float.
inline vf load_vector(const float* p) { return load(p); }
inline vf load_vector(const bf16_word* p) { return get_words(p); }
inline vf as_stored(const float*, vf v) { return v; }
inline vf as_stored(const bf16_word*, vf v) { return float_of(rounded(v) & 0xffff0000u); }

// The first `count` <= kW elements; the others are zero, or stay.
template <class T>
inline vf load_some(const T* p, std::int64_t count) {
  if (count == kW) return load_vector(p);
  T some[kW] = {};
  __builtin_memcpy(some, p, static_cast<std::size_t>(count) * sizeof(T));
  return load_vector(some);
}
inline void store_some(float* p, vf v, std::int64_t count) {
  if (count == kW) return store(p, v);
  __builtin_memcpy(p, &v, static_cast<std::size_t>(count) * sizeof(float));
}
inline void store_some(bf16_word* p, vf v, std::int64_t count) {
  if (count == kW) return put_words(p, v, Full{});
  put_words(p, v, Some{count});
}

// A window of kSize x kSize pixels: bit i of `rows` and `columns` is set where it lies inside the image.
struct WinogradWindow {
  std::int64_t offset;  // of its first pixel's first channel; may lie outside
  unsigned rows, columns;
  bool has(int i, int j) const { return ((rows >> i) & (columns >> j) & 1u) != 0; }
};

inline unsigned bits_inside(std::int64_t first, int size, std::int64_t limit) {
  unsigned bits = 0;
  for (int i = 0; i < size; ++i) bits |= (first + i >= 0 && first + i < limit ? 1u : 0u) << i;
  return bits;
}

// Calls body(window, row of the planes) for tiles [begin, end).
template <int kSize, class Body>
inline void for_windows(const WinogradGrid& grid, std::int64_t begin, std::int64_t end, const Body& body) {
  std::int64_t column = begin % grid.tiles_w, row = begin / grid.tiles_w % grid.tiles_h;
  std::int64_t image = begin / (grid.tiles_w * grid.tiles_h);
  for (std::int64_t t = begin; t < end; ++t) {
    const std::int64_t y = grid.top + kOut * row, x = grid.left + kOut * column;
    body(WinogradWindow{.offset = ((image * grid.h + y) * grid.w + x) * grid.pitch,
                        .rows = bits_inside(y, kSize, grid.h),
                        .columns = bits_inside(x, kSize, grid.w)},
         t - begin);
    if (++column == grid.tiles_w) {
      column = 0;
      if (++row == grid.tiles_h) {
        row = 0;
        ++image;
      }
    }
  }
}

struct NormRow {  // one vector of channels
  static constexpr bool kNone = false;
  vf mean, scale, beta;
  vf operator()(vf x) const { return rectified((x - mean) * scale + beta); }
};

struct NoNorm {
  static constexpr bool kNone = true;
  vf operator()(vf x) const { return x; }
};

// The pixels of a window, one vector of channels; normalised ones as they would be stored. kInside: all of it is in the image
// and in whole vectors.
template <bool kInside, class T, class Norm>
struct WindowReader {
  const T* x;
  WinogradWindow window;
  std::int64_t start, pitch, step, count;
  Norm norm;
  vf value(vf pixel) const {
    if constexpr (Norm::kNone) return pixel;
    return as_stored(x, norm(pixel));
  }
  vf operator()(int i, int j) const {
    const std::int64_t at = start + i * pitch + j * step;
    if constexpr (kInside) return value(load_vector(x + at));
    if (!window.has(i, j)) return vf{};
    return value(load_some(x + at, count));
  }
};

template <int kSize, int kFrom, int kTo>
inline void transform_window(const vf* d, vf* t) {
  if constexpr (kSize == kWindow)
    transform_input<kFrom, kTo>(d, t);
  else
    transform_gradient<kFrom, kTo>(d, t);
}

template <int kSize, class Reader>
inline void window_to_points(const Reader& read, float* v, std::int64_t point) {
  vf half[kWindow * kSize];
  for (int j = 0; j < kSize; ++j) {
    vf column[kSize];
    for (int i = 0; i < kSize; ++i) column[i] = read(i, j);
    transform_window<kSize, 1, kSize>(column, half + j);
  }
  for (int i = 0; i < kWindow; ++i) {
    vf row[kWindow];
    transform_window<kSize, 1, 1>(half + i * kSize, row);
    for (int j = 0; j < kWindow; ++j) store(v + (i * kWindow + j) * point, row[j]);
  }
}

template <int kSize, class T, class NormAt>
inline void windows_to_points(const WinogradGrid& grid, const T* x, const NormAt& norm_at, const WinogradPlanes& planes,
                              std::int64_t begin, std::int64_t end) {
  using Norm = decltype(norm_at(0));
  constexpr unsigned kAll = (1u << kSize) - 1;
  for_windows<kSize>(grid, begin, end, [&](const WinogradWindow& window, std::int64_t row) {
    const bool inside = (window.rows & window.columns) == kAll;
    for (std::int64_t c = 0; c < grid.c; c += kW) {
      const std::int64_t count = smaller(kW, grid.c - c), start = window.offset + c, pitch = grid.w * grid.pitch;
      float* v = planes.data + c / planes.panel * planes.panel_step + row * planes.panel + c % planes.panel;
      if (inside && count == kW)
        window_to_points<kSize>(WindowReader<true, T, Norm>{x, window, start, pitch, grid.pitch, kW, norm_at(c)}, v, planes.point);
      else
        window_to_points<kSize>(WindowReader<false, T, Norm>{x, window, start, pitch, grid.pitch, count, norm_at(c)}, v, planes.point);
    }
  });
}

template <class T>
void winograd_input(const WinogradGrid& grid, const T* x, const float* mean, const float* scale, const float* beta,
                    const WinogradPlanes& planes, std::int64_t begin, std::int64_t end) {
  if (mean == nullptr) return windows_to_points<kWindow>(grid, x, [](std::int64_t) { return NoNorm{}; }, planes, begin, end);
  const auto norm_at = [&](std::int64_t c) { return NormRow{load(mean + c), load(scale + c), load(beta + c)}; };
  windows_to_points<kWindow>(grid, x, norm_at, planes, begin, end);
}

template <class T>
void winograd_gradient(const WinogradGrid& grid, const T* dy, const WinogradPlanes& planes, std::int64_t begin,
                       std::int64_t end) {
  windows_to_points<kOut>(grid, dy, [](std::int64_t) { return NoNorm{}; }, planes, begin, end);
}

// The window's pixels from y, `count` channels of each.
template <bool kInside, class T>
inline void write_window(const WinogradGrid& grid, const WinogradWindow& window, const vf* y, T* to, bool accumulate,
                         std::int64_t channel, std::int64_t count) {
  const std::int64_t start = window.offset + channel, pitch = grid.w * grid.pitch;
  for (int i = 0; i < kOut; ++i)
    for (int j = 0; j < kOut; ++j) {
      if (!kInside && !window.has(i, j)) continue;
      T* at = to + start + i * pitch + j * grid.pitch;
      vf v = y[i * kOut + j];
      if (accumulate) v += load_some(at, count);
      store_some(at, v, count);
    }
}

template <class T>
void winograd_output(const WinogradGrid& grid, const WinogradPlanes& planes, const float* bias, T* y, bool accumulate,
                     std::int64_t begin, std::int64_t end) {
  constexpr unsigned kAll = (1u << kOut) - 1;
  for_windows<kOut>(grid, begin, end, [&](const WinogradWindow& window, std::int64_t row) {
    const bool inside = (window.rows & window.columns) == kAll;
    for (std::int64_t c = 0; c < grid.c; c += kW) {
      const float* m = planes.data + c / planes.panel * planes.panel_step + row * planes.panel + c % planes.panel;
      vf column[kWindow], half[kOut * kWindow], out[kOut * kOut];
      for (int j = 0; j < kWindow; ++j) {
        for (int i = 0; i < kWindow; ++i) column[i] = load(m + (i * kWindow + j) * planes.point);
        transform_output<1, kWindow>(column, half + j);
      }
      for (int i = 0; i < kOut; ++i) transform_output<1, 1>(half + i * kWindow, out + i * kOut);
      if (bias != nullptr)
        for (vf& value : out) value += load(bias + c);
      const std::int64_t count = smaller(kW, grid.c - c);
      if (inside && count == kW)
        write_window<true>(grid, window, out, y, accumulate, c, kW);
      else
        write_window<false>(grid, window, out, y, accumulate, c, count);
    }
  });
}

inline void filter_to_points(const vf* g, float* u, std::int64_t point) {
  vf half[kWindow * 3], row[kWindow];
  for (int s = 0; s < 3; ++s) transform_filter<3, 3>(g + s, half + s);
  for (int i = 0; i < kWindow; ++i) {
    transform_filter<1, 1>(half + i * 3, row);
    for (int j = 0; j < kWindow; ++j) store(u + (i * kWindow + j) * point, row[j]);
  }
}

// Columns [begin, end) of U are output channels, its rows input channels: blocks of kW filters by kW channels are turned.
template <class T>
void forward_filter(const WinogradFilter<T>& f, std::int64_t begin, std::int64_t end) {
  for (std::int64_t k = begin; k < end; k += kW)
    for (std::int64_t c = 0; c < f.c; c += kW) {
      vf block[9 * kW] = {};
      const std::int64_t filters = smaller(kW, f.k - k), channels = smaller(kW, f.c - c);
      for (int tap = 0; tap < 9; ++tap) {
        for (std::int64_t i = 0; i < filters; ++i) {
          const T* from = f.filter + ((k + i) * 9 + tap) * f.pitch + c;
          block[tap * kW + i] = load_some(from, channels);
          __builtin_prefetch(from + kW);  // for the next block: too many rows for the hardware to foresee
        }
        transpose(block + tap * kW);
      }
      for (std::int64_t i = 0; i < channels; ++i) {
        vf g[9];
        for (int tap = 0; tap < 9; ++tap) g[tap] = block[tap * kW + i];
        filter_to_points(g, f.packed + k / f.panel * f.panel * f.c + (c + i) * f.panel + k % f.panel, f.point);
      }
    }
}

// Columns of U are input channels, its rows output channels.
template <class T>
void rotated_filter(const WinogradFilter<T>& f, std::int64_t begin, std::int64_t end) {
  for (std::int64_t k = 0; k < f.k; ++k)
    for (std::int64_t c = begin; c < end; c += kW) {
      vf g[9];
      for (int tap = 0; tap < 9; ++tap) g[8 - tap] = load_some(f.filter + (k * 9 + tap) * f.pitch + c, smaller(kW, f.c - c));
      filter_to_points(g, f.packed + c / f.panel * f.panel * f.k + k * f.panel + c % f.panel, f.point);
    }
}

template <class T>
void winograd_filter(const WinogradFilter<T>& f, std::int64_t begin, std::int64_t end) {
  return f.rotate ? rotated_filter(f, begin, end) : forward_filter(f, begin, end);
}

void winograd_filter_gradient(const WinogradFilterGradient& f) {
  for (std::int64_t k = 0; k < f.k; ++k)
    for (std::int64_t c = 0; c < f.c; c += kW) {
      const std::int64_t count = smaller(kW, f.c - c);
      vf half[3 * kWindow], g[9];
      for (int j = 0; j < kWindow; ++j) {
        vf column[kWindow];
        for (int i = 0; i < kWindow; ++i) column[i] = load_some(f.du + (i * kWindow + j) * f.point + k * f.row + c, count);
        transform_filter_gradient<1, kWindow>(column, half + j);
      }
      for (int i = 0; i < 3; ++i) transform_filter_gradient<1, 1>(half + i * kWindow, g + i * 3);
      for (int tap = 0; tap < 9; ++tap) {
        float* to = f.dw + (k * 9 + tap) * f.pitch + c;
        store_some(to, f.accumulate ? load_some(to, count) + g[tap] : g[tap], count);
      }
    }
}

// kRows rows of C (m, n) = [C +] A B for an n of at most two vectors, where a tile of gemm.inl would be mostly empty. B is
// not packed but padded to whole vectors, and so is C. Each sum is in the order of k.
template <int kRows, int kVectors>
inline void multiply_rows(const Gemm& g, std::int64_t row) {
  vf sum[kRows][kVectors] = {};
  const float *a = g.a + row * g.a_row, *b = g.b;
  for (std::int64_t p = 0; p < g.k; ++p, a += g.a_col, b += g.b_row) {
    vf right[kVectors];
    for (int v = 0; v < kVectors; ++v) right[v] = load(b + v * kW);
#pragma GCC unroll 12
    for (int i = 0; i < kRows; ++i) {
      const vf left = splat(a[i * g.a_row]);
      for (int v = 0; v < kVectors; ++v) sum[i][v] += left * right[v];
    }
  }
  for (int i = 0; i < kRows; ++i)
    for (int v = 0; v < kVectors; ++v) {
      float* c = g.c + (row + i) * g.c_row + v * kW;
      store(c, g.accumulate ? load(c) + sum[i][v] : sum[i][v]);
    }
}

template <int kVectors>
inline void multiply_columns(const Gemm& g) {
  std::int64_t row = 0;
  for (; row + 12 <= g.m; row += 12) multiply_rows<12, kVectors>(g, row);
  for (; row + 4 <= g.m; row += 4) multiply_rows<4, kVectors>(g, row);
  for (; row < g.m; ++row) multiply_rows<1, kVectors>(g, row);
}

void winograd_multiply_narrow(const Gemm& g) {
  return g.n <= kW ? multiply_columns<1>(g) : multiply_columns<2>(g);
}
