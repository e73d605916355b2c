// Pooling on NHWC: vectors run over channels. The backward passes gather (each input pixel asks the windows that cover
// it), so there is nothing to clear, the order of additions is fixed and bf16 is rounded once.
// SPDX-License-Identifier: Apache-2.0

// Taps [begin, end) of a window whose first row (or column) lies at `origin` that fall inside [0, extent).
struct Range {
  std::int64_t begin, end;
};
inline Range taps_inside(std::int64_t origin, int kernel, std::int64_t extent) {
  return {larger(0, -origin), smaller(kernel, extent - origin)};
}

// The windows [begin, end) of `count` that cover positions start, start + 1, ... of one axis, without a division per step.
class Sweep {
 public:
  Sweep(int kernel, int stride, int pad, std::int64_t count, std::int64_t start)
      : kernel_(kernel), stride_(stride), count_(count), last_(start + pad), opened_(last_ / stride_ + 1),
        closed_(last_ < kernel_ ? 0 : (last_ - kernel_) / stride_ + 1) {}
  Range windows() const { return {closed_, smaller(count_, opened_)}; }
  std::int64_t padded_position() const { return last_; }
  void advance() {
    ++last_;
    if (last_ == opened_ * stride_) ++opened_;
    if (last_ == closed_ * stride_ + kernel_) ++closed_;
  }

 private:
  std::int64_t kernel_, stride_, count_, last_, opened_, closed_;
};

struct Window {
  Range rows, columns;
  std::int64_t first;  // pixel index of tap (0, 0), possibly outside the image
};
inline Window window_of(const Pool& a, std::int64_t top, std::int64_t image_row, std::int64_t q) {
  const std::int64_t left = q * a.stride_w - a.pad_w;
  return {taps_inside(top, a.kernel_h, a.h), taps_inside(left, a.kernel_w, a.w), (image_row + top) * a.w + left};
}

// The largest of a window and the position of the first one. NaN wins, again the first: kExact. Without it, whether all
// inputs were finite; if not, the result is not to be used.
template <bool kIndices, bool kExact, class T, class Span>
inline bool max_of_unit(const Pool& a, const Window& win, const T* x, T* y, std::uint8_t* index, Span span) {
  const std::int64_t r0 = win.rows.begin, s0 = win.columns.begin;
  Unit<T> best = get(x + (win.first + r0 * a.w + s0) * a.c, span), poison{};
  Bytes<T> at;
  for (vi& part : at.part) part = vi{} + static_cast<std::int32_t>(r0 * a.kernel_w + s0);
  for (std::int64_t r = r0; r < win.rows.end; ++r)
    for (std::int64_t s = s0; s < win.columns.end; ++s) {
      const Unit<T> v = get(x + (win.first + r * a.w + s) * a.c, span);
      const vi here = vi{} + static_cast<std::int32_t>(r * a.kernel_w + s);
      for (int p = 0; p < kParts<T>; ++p) {
        vi better = v.part[p] > best.part[p];
        if constexpr (kExact) better |= (v.part[p] != v.part[p]) & (best.part[p] == best.part[p]);
        if constexpr (kIndices) at.part[p] = better ? here : at.part[p];
        best.part[p] = better ? v.part[p] : best.part[p];
        if constexpr (!kExact) poison.part[p] += v.part[p] * 0.0f;
      }
    }
  put(y, best, span);
  if constexpr (kIndices) put_bytes<T>(index, at, span);
  bool finite = true;
  if constexpr (!kExact)
    for (const vf part : poison.part) finite = finite && all_equal(part, part);
  return finite;
}

template <bool kIndices, class T>
void max_pool_as(const Pool& a, const T* x, T* y, std::uint8_t* indices, std::int64_t begin, std::int64_t end) {
  for (std::int64_t row = begin; row < end; ++row) {
    const std::int64_t top = (row % a.p) * a.stride_h - a.pad_h, image_row = row / a.p * a.h;
    for (std::int64_t q = 0; q < a.q; ++q) {
      const Window win = window_of(a, top, image_row, q);
      const std::int64_t out = (row * a.q + q) * a.c;
      for_units<T>(a.c, [&](std::int64_t c, auto span) {
        std::uint8_t* index = kIndices ? indices + out + c : nullptr;
        if (max_of_unit<kIndices, false>(a, win, x + c, y + out + c, index, span)) return;
        max_of_unit<kIndices, true>(a, win, x + c, y + out + c, index, span);
      });
    }
  }
}

template <class T>
void max_pool(const Pool& a, const T* x, T* y, std::uint8_t* indices, std::int64_t begin, std::int64_t end) {
  return indices != nullptr ? max_pool_as<true>(a, x, y, indices, begin, end) : max_pool_as<false>(a, x, y, indices, begin, end);
}

// The windows that cover one input pixel: where their gradients begin, and the pixel's position in each.
struct Covers {
  int count;
  std::int64_t from[256];
  std::uint8_t tap[256];
};

// kCount windows (0: as many as there are).
template <int kCount, class T>
inline void gather_pixel(const Covers& covers, const T* dy, const std::uint8_t* indices, T* dx, std::int64_t channels, bool accumulate) {
  const int count = kCount == 0 ? covers.count : kCount;
  for_units<T>(channels, [&](std::int64_t c, auto span) {
    const auto through = [&](int n) {
      const std::int64_t from = covers.from[n] + c;
      return raw_where<T>(get_raw(dy + from, span), equal_bits<T>(indices + from, covers.tap[n], span));
    };
    if (kCount == 1 && !accumulate) return put_raw(dx + c, through(0), span);
    Unit<T> total{};
    for (int n = 0; n < count; ++n) total = each<T>([](vf p, vf q) { return p + q; }, total, unpacked<T>(through(n)));
    put(dx + c, total, span, accumulate);
  });
}

template <class T>
void max_pool_backward(const Pool& a, const T* dy, const std::uint8_t* indices, T* dx, std::int64_t begin, std::int64_t end,
                       bool accumulate) {
  for (std::int64_t row = begin; row < end; ++row) {
    const Sweep rows(a.kernel_h, a.stride_h, a.pad_h, a.p, row % a.h);
    Sweep columns(a.kernel_w, a.stride_w, a.pad_w, a.q, 0);
    const std::int64_t image = row / a.h;
    for (std::int64_t column = 0; column < a.w; ++column, columns.advance()) {
      Covers covers;
      covers.count = 0;
      for (std::int64_t p = rows.windows().begin; p < rows.windows().end; ++p)
        for (std::int64_t q = columns.windows().begin; q < columns.windows().end; ++q) {
          const std::int64_t r = rows.padded_position() - p * a.stride_h, s = columns.padded_position() - q * a.stride_w;
          asm volatile("" : "+r"(q));  // one or two steps: vectorised, this loop costs more than all the rest
          covers.from[covers.count] = ((image * a.p + p) * a.q + q) * a.c;
          covers.tap[covers.count++] = static_cast<std::uint8_t>(r * a.kernel_w + s);
        }
      T* to = dx + (row * a.w + column) * a.c;
      switch (covers.count) {  // a 3x3 window with stride 2 has these
        case 1: gather_pixel<1>(covers, dy, indices, to, a.c, accumulate); break;
        case 2: gather_pixel<2>(covers, dy, indices, to, a.c, accumulate); break;
        case 4: gather_pixel<4>(covers, dy, indices, to, a.c, accumulate); break;
        default: gather_pixel<0>(covers, dy, indices, to, a.c, accumulate);
      }
    }
  }
}

// 1 / the number of elements that window (p, q) averages over. One that is cut off beyond the padding has fewer.
inline float inverse_count(const Pool& a, std::int64_t p, std::int64_t q) {
  if (a.count_include_pad) {
    const std::int64_t rows_left = a.h + 2 * a.pad_h - p * a.stride_h, columns_left = a.w + 2 * a.pad_w - q * a.stride_w;
    return 1.0f / static_cast<float>(smaller(a.kernel_h, rows_left) * smaller(a.kernel_w, columns_left));
  }
  const Range rows = taps_inside(p * a.stride_h - a.pad_h, a.kernel_h, a.h);
  const Range columns = taps_inside(q * a.stride_w - a.pad_w, a.kernel_w, a.w);
  return 1.0f / static_cast<float>((rows.end - rows.begin) * (columns.end - columns.begin));
}

template <class T>
void avg_pool(const Pool& a, const T* x, T* y, std::int64_t begin, std::int64_t end) {
  for (std::int64_t row = begin; row < end; ++row) {
    const std::int64_t top = (row % a.p) * a.stride_h - a.pad_h, image_row = row / a.p * a.h;
    for (std::int64_t q = 0; q < a.q; ++q) {
      const Window win = window_of(a, top, image_row, q);
      const float inverse = inverse_count(a, row % a.p, q);
      for_units<T>(a.c, [&](std::int64_t c, auto span) {
        Unit<T> total{};
        for (std::int64_t r = win.rows.begin; r < win.rows.end; ++r)
          for (std::int64_t s = win.columns.begin; s < win.columns.end; ++s)
            total = each<T>([](vf p, vf v) { return p + v; }, total, get(x + (win.first + r * a.w + s) * a.c + c, span));
        put(y + (row * a.q + q) * a.c + c, each<T>([&](vf v) { return v * inverse; }, total), span);
      });
    }
  }
}

template <class T>
void avg_pool_backward(const Pool& a, const T* dy, T* dx, std::int64_t begin, std::int64_t end, bool accumulate) {
  const bool cut_off = (a.p - 1) * a.stride_h + a.kernel_h > a.h + 2 * a.pad_h || (a.q - 1) * a.stride_w + a.kernel_w > a.w + 2 * a.pad_w;
  const bool all_whole = a.count_include_pad && !cut_off;
  const float whole_window = 1.0f / static_cast<float>(a.kernel_h * a.kernel_w);
  for (std::int64_t row = begin; row < end; ++row) {
    const Sweep rows(a.kernel_h, a.stride_h, a.pad_h, a.p, row % a.h);
    Sweep columns(a.kernel_w, a.stride_w, a.pad_w, a.q, 0);
    const std::int64_t image = row / a.h;
    for (std::int64_t column = 0; column < a.w; ++column, columns.advance())
      for_units<T>(a.c, [&](std::int64_t c, auto span) {
        Unit<T> total{};
        for (std::int64_t p = rows.windows().begin; p < rows.windows().end; ++p)
          for (std::int64_t q = columns.windows().begin; q < columns.windows().end; ++q) {
            const float weight = all_whole ? whole_window : inverse_count(a, p, q);
            const Unit<T> g = get(dy + ((image * a.p + p) * a.q + q) * a.c + c, span);
            total = each<T>([&](vf sum, vf v) { return sum + v * weight; }, total, g);
          }
        put(dx + (row * a.w + column) * a.c + c, total, span, accumulate);
      });
  }
}

// The pixels [begin, end) that window i of `windows` covers, in adaptive pooling; also, with the roles changed, the windows that
// cover pixel i: p H / P < h + 1 and (p + 1) H / P > h are h P / H < p + 1 and (h + 1) P / H > p.
inline Range share_of(std::int64_t i, std::int64_t windows, std::int64_t pixels) {
  return {i * pixels / windows, ((i + 1) * pixels + windows - 1) / windows};
}

template <class T>
void adaptive_pool(const Pool& a, const T* x, T* y, std::int64_t begin, std::int64_t end) {
  for (std::int64_t row = begin; row < end; ++row) {
    const Range rows = share_of(row % a.p, a.p, a.h);
    const T* image = x + row / a.p * a.h * a.w * a.c;
    for (std::int64_t q = 0; q < a.q; ++q) {
      const Range columns = share_of(q, a.q, a.w);
      const float inverse = 1.0f / static_cast<float>((rows.end - rows.begin) * (columns.end - columns.begin));
      for_units<T>(a.c, [&](std::int64_t c, auto span) {
        Unit<T> total{};
        for (std::int64_t h = rows.begin; h < rows.end; ++h)
          for (std::int64_t w = columns.begin; w < columns.end; ++w)
            total = each<T>([](vf p, vf v) { return p + v; }, total, get(image + (h * a.w + w) * a.c + c, span));
        put(y + (row * a.q + q) * a.c + c, each<T>([&](vf v) { return v * inverse; }, total), span);
      });
    }
  }
}

template <class T>
void adaptive_pool_backward(const Pool& a, const T* dy, T* dx, std::int64_t begin, std::int64_t end, bool accumulate) {
  const auto size = [](Range range) { return range.end - range.begin; };
  for (std::int64_t row = begin; row < end; ++row) {
    const Range rows = share_of(row % a.h, a.h, a.p);
    const T* gradients = dy + row / a.h * a.p * a.q * a.c;
    for (std::int64_t column = 0; column < a.w; ++column) {
      const Range columns = share_of(column, a.w, a.q);
      for_units<T>(a.c, [&](std::int64_t c, auto span) {
        Unit<T> total{};
        for (std::int64_t p = rows.begin; p < rows.end; ++p)
          for (std::int64_t q = columns.begin; q < columns.end; ++q) {
            const float weight = 1.0f / static_cast<float>(size(share_of(p, a.p, a.h)) * size(share_of(q, a.q, a.w)));
            const Unit<T> g = get(gradients + (p * a.q + q) * a.c + c, span);
            total = each<T>([&](vf sum, vf v) { return sum + v * weight; }, total, g);
          }
        put(dx + (row * a.w + column) * a.c + c, total, span, accumulate);
      });
    }
  }
}
