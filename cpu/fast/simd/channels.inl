// Kernels across the channels of a pixel: local response norm on lines of floats, shuffled channels.
// SPDX-License-Identifier: Apache-2.0

// kW elements in their own order as floats; those beyond `count` are 0.
template <class T>
inline vf read_line(const T* p, std::int64_t count) {
  if constexpr (kParts<T> == 1) {
    return count >= kW ? load(p) : get(p, Some{count}).part[0];
  } else {
    if (count >= kW) return get_words(p);
    bf16_word words[kW] = {};
    __builtin_memcpy(words, p, static_cast<std::size_t>(count) * sizeof(T));
    return get_words(words);
  }
}
template <class T>
inline void write_line(T* p, vf v, std::int64_t count) {
  if constexpr (kParts<T> == 1) {
    if (count >= kW) return store(p, v);
    put(p, Unit<float>{{v}}, Some{count});
  } else {
    if (count >= kW) return put_words(p, v, Full{});
    put_words(p, v, Some{count});
  }
}

// sum of line[c - before] ... line[c + after]; the line has as many zeros on either side.
inline vf window_sum(const float* line, std::int64_t before, std::int64_t after) {
  vf sum = load(line - before);
  for (std::int64_t d = 1 - before; d <= after; ++d) sum += load(line + d);
  return sum;
}

// One pixel's channels to squares, in the middle of a line. (Beyond the last channel: zeros.)
template <class T>
inline void square_line(const ResponseNorm& a, const T* x, float* squares) {
  for (std::int64_t c = 0; c < a.channels; c += kW) {
    const vf v = read_line(x + c, a.channels - c);
    store(squares + c, v * v);
  }
}

template <class T>
void response_norm(const ResponseNorm& a, const T* x, T* y, float* scratch, std::int64_t begin, std::int64_t end) {
  __builtin_memset(scratch, 0, static_cast<std::size_t>(a.line) * sizeof(float));
  float* squares = scratch + a.before;
  for (std::int64_t pixel = begin; pixel < end; ++pixel) {
    const T* in = x + pixel * a.channels;
    T* out = y + pixel * a.channels;
    square_line(a, in, squares);
    for (std::int64_t c = 0; c < a.channels; c += kW) {
      const vf s = window_sum(squares + c, a.before, a.after) * a.alpha + splat(a.k);
      write_line(out + c, read_line(in + c, a.channels - c) * power_of(s, -a.beta), a.channels - c);
    }
  }
}

// Two lines: squares, and dy x s^(-beta-1), which is summed over the channels whose windows hold c.
template <class T>
void response_norm_backward(const ResponseNorm& a, const T* dy, const T* x, T* dx, float* scratch, std::int64_t begin, std::int64_t end,
                            bool accumulate) {
  __builtin_memset(scratch, 0, static_cast<std::size_t>(3 * a.line) * sizeof(float));
  float *squares = scratch + a.before, *products = scratch + a.line + a.after, *direct = scratch + 2 * a.line;
  const float factor = 2 * a.alpha * a.beta;
  for (std::int64_t pixel = begin; pixel < end; ++pixel) {
    const std::int64_t at = pixel * a.channels;
    square_line(a, x + at, squares);
    for (std::int64_t c = 0; c < a.channels; c += kW) {
      const vf s = window_sum(squares + c, a.before, a.after) * a.alpha + splat(a.k);
      const vf v = read_line(x + at + c, a.channels - c), g = read_line(dy + at + c, a.channels - c) * power_of(s, -a.beta);
      store(direct + c, g);
      store(products + c, g * v / s);
    }
    for (std::int64_t c = 0; c < a.channels; c += kW) {
      const vf v = read_line(x + at + c, a.channels - c), sum = window_sum(products + c, a.after, a.before);
      vf result = load(direct + c) - v * sum * factor;
      if (accumulate) result += read_line(dx + at + c, a.channels - c);
      write_line(dx + at + c, result, a.channels - c);
    }
  }
}

// dst[j][g] = src[g][j] for `count` = (groups, each). With one of them known GCC turns the copies into shuffles.
template <int kGroups, int kEach, class T>
inline void transpose_words(const T* __restrict src, T* __restrict dst, std::int64_t groups, std::int64_t each) {
  const std::int64_t outer = kEach != 0 ? kEach : each, inner = kGroups != 0 ? kGroups : groups;
  if constexpr (kEach != 0) {
    for (std::int64_t g = 0; g < inner; ++g)
      for (int j = 0; j < kEach; ++j) dst[j * inner + g] = src[g * kEach + j];
  } else {
    for (std::int64_t j = 0; j < outer; ++j)
      for (std::int64_t g = 0; g < inner; ++g) dst[j * inner + g] = src[g * outer + j];
  }
}

template <class T>
inline T summed(T a, T b) {
  if constexpr (sizeof(T) == 4) {
    return a + b;
  } else {
    const vf sum = splat(__builtin_bit_cast(float, static_cast<std::uint32_t>(a) << 16)) +
                   splat(__builtin_bit_cast(float, static_cast<std::uint32_t>(b) << 16));
    return static_cast<T>(rounded(sum)[0] >> 16);
  }
}

template <int kGroups, int kEach, class T>
void shuffle_pixels(const T* src, T* dst, std::int64_t pixels, std::int64_t groups, std::int64_t each) {
  for (std::int64_t pixel = 0; pixel < pixels; ++pixel)
    transpose_words<kGroups, kEach>(src + pixel * groups * each, dst + pixel * groups * each, groups, each);
}

template <class T>
void shuffle(const T* src, T* dst, std::int64_t pixels, std::int64_t groups, std::int64_t each, bool accumulate) {
  if (accumulate) {
    for (std::int64_t i = 0; i < pixels * groups * each; i += groups * each)
      for (std::int64_t g = 0; g < groups; ++g)
        for (std::int64_t j = 0; j < each; ++j) dst[i + j * groups + g] = summed(dst[i + j * groups + g], src[i + g * each + j]);
    return;
  }
  switch (groups) {
    case 2: return shuffle_pixels<2, 0>(src, dst, pixels, groups, each);
    case 3: return shuffle_pixels<3, 0>(src, dst, pixels, groups, each);
    case 4: return shuffle_pixels<4, 0>(src, dst, pixels, groups, each);
    case 8: return shuffle_pixels<8, 0>(src, dst, pixels, groups, each);
    default: break;
  }
  switch (each) {
    case 2: return shuffle_pixels<0, 2>(src, dst, pixels, groups, each);
    case 3: return shuffle_pixels<0, 3>(src, dst, pixels, groups, each);
    case 4: return shuffle_pixels<0, 4>(src, dst, pixels, groups, each);
    case 8: return shuffle_pixels<0, 8>(src, dst, pixels, groups, each);
    default: return shuffle_pixels<0, 0>(src, dst, pixels, groups, each);
  }
}
