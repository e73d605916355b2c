// Pooling on NHWC: vectors run over channels. The backward passes gather (each input pixel asks the windows that cover
// it), so there is nothing to clear and the order of additions is fixed.
// SPDX-License-Identifier: Apache-2.0

// Taps [begin, end) of a window whose first row (or column) lies at `origin` that fall inside [0, extent).
struct Range {
  std::int64_t begin, end;
};
inline Range taps_inside(std::int64_t origin, int kernel, std::int64_t extent) {
  return {larger(0, -origin), smaller(kernel, extent - origin)};
}
// Windows [begin, end) of `count` that cover input position `at`.
inline Range windows_over(std::int64_t at, int kernel, int stride, int pad, std::int64_t count) {
  const std::int64_t last = at + pad, first = last - kernel + 1;
  return {first <= 0 ? 0 : (first + stride - 1) / stride, smaller(count, last / stride + 1)};
}

// The windows that cover one input pixel, and the pixel's place in the padded image.
struct Cover {
  Range rows, columns;
  std::int64_t h, w, image;  // h, w with the padding added
};
inline Cover cover_of(const Pool& a, std::int64_t row, std::int64_t column) {
  const std::int64_t h = row % a.h;
  return {windows_over(h, a.kernel_h, a.stride_h, a.pad_h, a.p), windows_over(column, a.kernel_w, a.stride_w, a.pad_w, a.q),
          h + a.pad_h, column + a.pad_w, row / a.h};
}

struct Window {
  Range rows, columns;
  std::int64_t first;  // pixel index of tap (0, 0), possibly outside the image
};
inline Window window_of(const Pool& a, std::int64_t row, std::int64_t q) {
  const std::int64_t top = (row % a.p) * a.stride_h - a.pad_h, left = q * a.stride_w - a.pad_w;
  return {taps_inside(top, a.kernel_h, a.h), taps_inside(left, a.kernel_w, a.w), (row / a.p * a.h + top) * a.w + left};
}

inline void max_of_lane(const Pool& a, const Window& win, const float* x, std::int64_t c, float* y, std::uint8_t* index) {
  bool first = true;
  float best = 0;
  int where_best = 0;
  for (std::int64_t r = win.rows.begin; r < win.rows.end; ++r)
    for (std::int64_t s = win.columns.begin; s < win.columns.end; ++s) {
      const float v = x[(win.first + r * a.w + s) * a.c + c];
      if (!first && !(v > best || (v != v && best == best))) continue;
      first = false;
      best = v;
      where_best = static_cast<int>(r * a.kernel_w + s);
    }
  *y = best;
  if (index != nullptr) *index = static_cast<std::uint8_t>(where_best);
}

template <bool kIndices>
inline void max_of_vector(const Pool& a, const Window& win, const float* x, std::int64_t c, float* y, std::uint8_t* index) {
  const std::int64_t r0 = win.rows.begin, s0 = win.columns.begin;
  vf best = load(x + (win.first + r0 * a.w + s0) * a.c + c);
  vi at = vi{} + static_cast<std::int32_t>(r0 * a.kernel_w + s0);
  for (std::int64_t r = r0; r < win.rows.end; ++r)
    for (std::int64_t s = s0; s < win.columns.end; ++s) {
      const vf v = load(x + (win.first + r * a.w + s) * a.c + c);
      const vi better = (v > best) | ((v != v) & (best == best));
      best = better ? v : best;
      if constexpr (kIndices) at = better ? vi{} + static_cast<std::int32_t>(r * a.kernel_w + s) : at;
    }
  store(y, best);
  if constexpr (kIndices) store_bytes(index, at);
}

void max_pool(const Pool& a, const float* x, float* y, std::uint8_t* indices, std::int64_t begin, std::int64_t end) {
  for (std::int64_t row = begin; row < end; ++row)
    for (std::int64_t q = 0; q < a.q; ++q) {
      const Window win = window_of(a, row, q);
      const std::int64_t out = (row * a.q + q) * a.c;
      std::int64_t c = 0;
      if (indices != nullptr)
        for (; c < whole(a.c); c += kW) max_of_vector<true>(a, win, x, c, y + out + c, indices + out + c);
      else
        for (; c < whole(a.c); c += kW) max_of_vector<false>(a, win, x, c, y + out + c, nullptr);
      for (; c < a.c; ++c) max_of_lane(a, win, x, c, y + out + c, indices == nullptr ? nullptr : indices + out + c);
    }
}

void max_pool_backward(const Pool& a, const float* dy, const std::uint8_t* indices, float* dx, std::int64_t begin,
                       std::int64_t end, bool accumulate) {
  for (std::int64_t row = begin; row < end; ++row)
    for (std::int64_t column = 0; column < a.w; ++column) {
      const Cover cover = cover_of(a, row, column);
      float* to = dx + (row * a.w + column) * a.c;
      std::int64_t c = 0;
      for (; c < whole(a.c); c += kW) {
        vf total{};
        for (std::int64_t p = cover.rows.begin; p < cover.rows.end; ++p)
          for (std::int64_t q = cover.columns.begin; q < cover.columns.end; ++q) {
            const auto tap = static_cast<std::int32_t>((cover.h - p * a.stride_h) * a.kernel_w + cover.w - q * a.stride_w);
            const std::int64_t from = ((cover.image * a.p + p) * a.q + q) * a.c + c;
            total += load_bytes(indices + from) == tap ? load(dy + from) : vf{};
          }
        store(to + c, accumulate ? load(to + c) + total : total);
      }
      for (; c < a.c; ++c) {
        float total = 0;
        for (std::int64_t p = cover.rows.begin; p < cover.rows.end; ++p)
          for (std::int64_t q = cover.columns.begin; q < cover.columns.end; ++q) {
            const std::int64_t tap = (cover.h - p * a.stride_h) * a.kernel_w + cover.w - q * a.stride_w;
            const std::int64_t from = ((cover.image * a.p + p) * a.q + q) * a.c + c;
            total += indices[from] == tap ? dy[from] : 0.0f;
          }
        to[c] = accumulate ? to[c] + total : total;
      }
    }
}

// 1 / the number of elements that window (p, q) averages over.
inline float inverse_count(const Pool& a, std::int64_t p, std::int64_t q) {
  if (a.count_include_pad) return 1.0f / static_cast<float>(a.kernel_h * a.kernel_w);
  const Range rows = taps_inside(p * a.stride_h - a.pad_h, a.kernel_h, a.h);
  const Range columns = taps_inside(q * a.stride_w - a.pad_w, a.kernel_w, a.w);
  return 1.0f / static_cast<float>((rows.end - rows.begin) * (columns.end - columns.begin));
}

void avg_pool(const Pool& a, const float* x, float* y, std::int64_t begin, std::int64_t end) {
  for (std::int64_t row = begin; row < end; ++row)
    for (std::int64_t q = 0; q < a.q; ++q) {
      const Window win = window_of(a, row, q);
      const float inverse = inverse_count(a, row % a.p, q);
      float* to = y + (row * a.q + q) * a.c;
      std::int64_t c = 0;
      for (; c < whole(a.c); c += kW) {
        vf total{};
        for (std::int64_t r = win.rows.begin; r < win.rows.end; ++r)
          for (std::int64_t s = win.columns.begin; s < win.columns.end; ++s)
            total += load(x + (win.first + r * a.w + s) * a.c + c);
        store(to + c, total * inverse);
      }
      for (; c < a.c; ++c) {
        float total = 0;
        for (std::int64_t r = win.rows.begin; r < win.rows.end; ++r)
          for (std::int64_t s = win.columns.begin; s < win.columns.end; ++s) total += x[(win.first + r * a.w + s) * a.c + c];
        to[c] = total * inverse;
      }
    }
}

void avg_pool_backward(const Pool& a, const float* dy, float* dx, std::int64_t begin, std::int64_t end, bool accumulate) {
  for (std::int64_t row = begin; row < end; ++row)
    for (std::int64_t column = 0; column < a.w; ++column) {
      const Cover cover = cover_of(a, row, column);
      float* to = dx + (row * a.w + column) * a.c;
      if (!accumulate) clear(to, a.c);
      for (std::int64_t p = cover.rows.begin; p < cover.rows.end; ++p)
        for (std::int64_t q = cover.columns.begin; q < cover.columns.end; ++q)
          scale(dy + ((cover.image * a.p + p) * a.q + q) * a.c, inverse_count(a, p, q), to, a.c, true);
    }
}
