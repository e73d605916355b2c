// Batch norm and column reductions over channels-last rows. Sums run in f32 over at most kBlockRows rows, then in
// double, so the error does not grow with the batch.
// SPDX-License-Identifier: Apache-2.0

constexpr std::int64_t kBlockRows = 64;

inline void clear(float* p, std::int64_t n) { __builtin_memset(p, 0, static_cast<std::size_t>(n) * sizeof(float)); }
inline void clear(double* p, std::int64_t n) { __builtin_memset(p, 0, static_cast<std::size_t>(n) * sizeof(double)); }

inline void flush(float* from, double* to, std::int64_t width) {
  std::int64_t j = 0;
  for (; j + kW / 2 <= width; j += kW / 2) store(to + j, load(to + j) + load_widened(from + j));
  for (; j < width; ++j) to[j] += from[j];
  clear(from, width);
}

// acc[j] += the sum of kRows rows at column j.
template <int kRows>
inline void add_rows(const float* x, std::int64_t width, float* acc) {
  std::int64_t j = 0;
  for (; j < whole(width); j += kW) {
    vf total = load(x + j);
    for (int r = 1; r < kRows; ++r) total += load(x + r * width + j);
    store(acc + j, load(acc + j) + total);
  }
  for (; j < width; ++j) {
    float total = x[j];
    for (int r = 1; r < kRows; ++r) total += x[r * width + j];
    acc[j] += total;
  }
}

void sum_block(const float* x, std::int64_t rows, std::int64_t width, float* acc) {
  std::int64_t r = 0;
  for (; r + 4 <= rows; r += 4) add_rows<4>(x + r * width, width, acc);
  for (; r < rows; ++r) add_rows<1>(x + r * width, width, acc);
}

void column_sums(const float* x, std::int64_t rows, std::int64_t width, double* sums, float* scratch) {
  clear(sums, width);
  clear(scratch, width);
  for (std::int64_t r = 0; r < rows; r += kBlockRows) {
    sum_block(x + r * width, smaller(kBlockRows, rows - r), width, scratch);
    flush(scratch, sums, width);
  }
}

// With d = x - shift: first[j] += sum d, second[j] += sum d^2 over kRows rows.
template <int kRows>
inline void add_shifted(const float* x, const float* shift, std::int64_t width, float* first, float* second) {
  std::int64_t j = 0;
  for (; j < whole(width); j += kW) {
    const vf origin = load(shift + j);
    vf d = load(x + j) - origin;
    vf total = d, squares = d * d;
    for (int r = 1; r < kRows; ++r) {
      d = load(x + r * width + j) - origin;
      total += d;
      squares += d * d;
    }
    store(first + j, load(first + j) + total);
    store(second + j, load(second + j) + squares);
  }
  for (; j < width; ++j) {
    for (int r = 0; r < kRows; ++r) {
      const float d = x[r * width + j] - shift[j];
      first[j] += d;
      second[j] += d * d;
    }
  }
}

// Chan, Golub, LeVeque (1979), eq. 2.1, in double: joins a block's moments (relative to its shift) to the running ones.
void merge_block(double done, double rows, const float* shift, const float* first, const float* second, std::int64_t width,
                 double* mean, double* m2) {
  const double inverse = 1.0 / rows, weight = rows / (done + rows), cross = done * weight;
  const std::int64_t vectors = width / (kW / 2) * (kW / 2);
  std::int64_t j = 0;
  for (; j < vectors; j += kW / 2) {
    const vd sum = load_widened(first + j);
    const vd delta = load_widened(shift + j) + sum * inverse - load(mean + j);
    store(m2 + j, load(m2 + j) + (load_widened(second + j) - sum * sum * inverse) + delta * delta * cross);
    store(mean + j, load(mean + j) + delta * weight);
  }
  for (; j < width; ++j) {
    const double sum = first[j];
    const double delta = shift[j] + sum * inverse - mean[j];
    m2[j] += (second[j] - sum * sum * inverse) + delta * delta * cross;
    mean[j] += delta * weight;
  }
}

// Two passes over blocks that stay in the cache: the block's mean in f32, then the moments around it.
void column_moments(const float* x, std::int64_t rows, std::int64_t width, double* mean, double* m2, float* scratch) {
  float *shift = scratch, *first = scratch + width, *second = scratch + 2 * width;
  clear(mean, width);
  clear(m2, width);
  const std::int64_t block = larger(4, smaller(kBlockRows, 65536 / width / 4 * 4));  // 256 KiB
  for (std::int64_t r = 0; r < rows; r += block) {
    const std::int64_t count = smaller(block, rows - r);
    const float* start = x + r * width;
    clear(scratch, 3 * width);
    sum_block(start, count, width, shift);
    const float inverse = 1.0f / static_cast<float>(count);
    for (std::int64_t j = 0; j < width; ++j) shift[j] *= inverse;
    std::int64_t done = 0;
    for (; done + 4 <= count; done += 4) add_shifted<4>(start + done * width, shift, width, first, second);
    for (; done < count; ++done) add_shifted<1>(start + done * width, shift, width, first, second);
    merge_block(static_cast<double>(r), static_cast<double>(count), shift, first, second, width, mean, m2);
  }
}

// kVectors vectors at element i, offset j of the period; returns their mask bits.
template <bool kResidual, bool kRelu, bool kMask, int kVectors>
inline std::uint64_t apply_vectors(const NormApply& a, std::int64_t i, std::int64_t j) {
  std::uint64_t bits = 0;
  for (int part = 0; part < kVectors; ++part, i += kW, j += kW) {
    vf v = (load(a.x + i) - load(a.mean + j)) * load(a.scale + j) + load(a.beta + j);
    if constexpr (kResidual) v += load(a.residual + i);
    if constexpr (kMask) bits |= std::uint64_t{positive_bits(v)} << (part * kW);
    store(a.y + i, kRelu ? rectified(v) : v);
  }
  return bits;
}

template <bool kResidual, bool kRelu, bool kMask>
void norm_apply_as(const NormApply& a) {
  for (std::int64_t start = 0; start < a.n; start += a.period) {
    const std::int64_t length = smaller(a.period, a.n - start);
    std::int64_t j = 0;
    for (; j + 4 * kW <= length; j += 4 * kW) {  // one mask store for four vectors: single ones cost half the speed
      const std::uint64_t bits = apply_vectors<kResidual, kRelu, kMask, 4>(a, start + j, j);
      if constexpr (kMask) __builtin_memcpy(a.mask + ((start + j) >> 3), &bits, kW / 2);
    }
    for (; j < whole(length); j += kW) {
      const std::uint64_t bits = apply_vectors<kResidual, kRelu, kMask, 1>(a, start + j, j);
      if constexpr (kMask) __builtin_memcpy(a.mask + ((start + j) >> 3), &bits, kW / 8);
    }
    for (unsigned bits = 0; j < length; ++j) {  // the last pixels only: start + whole(length) is a multiple of 8
      const std::int64_t i = start + j;
      float v = (a.x[i] - a.mean[j]) * a.scale[j] + a.beta[j];
      if constexpr (kResidual) v += a.residual[i];
      a.y[i] = kRelu ? rectified(v) : v;
      bits |= (v > 0.0f ? 1u : 0u) << (i & 7);
      if (kMask && ((i & 7) == 7 || j + 1 == length)) {
        a.mask[i >> 3] = static_cast<std::uint8_t>(bits);
        bits = 0;
      }
    }
  }
}

void norm_apply(const NormApply& a) {
  const bool residual = a.residual != nullptr, mask = a.mask != nullptr;
  if (residual) {
    if (!a.relu) return norm_apply_as<true, false, false>(a);
    return mask ? norm_apply_as<true, true, true>(a) : norm_apply_as<true, true, false>(a);
  }
  if (!a.relu) return norm_apply_as<false, false, false>(a);
  return mask ? norm_apply_as<false, true, true>(a) : norm_apply_as<false, true, false>(a);
}

// Adds kRows periods that start at element `start` to the f32 sums.
template <bool kMasked, int kRows>
inline void add_gradients(const NormSums& a, std::int64_t start, std::int64_t length, float* sum_g, float* sum_gd) {
  std::int64_t j = 0;
  for (; j < whole(length); j += kW) {
    const vf mean = load(a.mean + j);
    vf g = load_gradient<kMasked>(a.dy, a.mask, start + j);
    vf total = g, product = g * (load(a.x + start + j) - mean);
    for (int r = 1; r < kRows; ++r) {
      const std::int64_t i = start + r * a.period + j;
      g = load_gradient<kMasked>(a.dy, a.mask, i);
      total += g;
      product += g * (load(a.x + i) - mean);
    }
    store(sum_g + j, load(sum_g + j) + total);
    store(sum_gd + j, load(sum_gd + j) + product);
  }
  for (; j < length; ++j) {
    const float g = where(a.dy[start + j], a.mask, start + j);
    sum_g[j] += g;
    sum_gd[j] += g * (a.x[start + j] - a.mean[j]);
  }
}

template <bool kMasked>
void norm_sums_as(const NormSums& a) {
  float *sum_g = a.scratch, *sum_gd = a.scratch + a.period;
  const std::int64_t rows = a.n / a.period, rest = a.n - rows * a.period;
  for (std::int64_t block = 0; block < rows; block += kBlockRows) {
    const std::int64_t end = smaller(block + kBlockRows, rows);
    std::int64_t r = block;
    for (; r + 4 <= end; r += 4) add_gradients<kMasked, 4>(a, r * a.period, a.period, sum_g, sum_gd);
    for (; r < end; ++r) add_gradients<kMasked, 1>(a, r * a.period, a.period, sum_g, sum_gd);
    flush(sum_g, a.sum_g, a.period);
    flush(sum_gd, a.sum_gd, a.period);
  }
  if (rest == 0) return;
  add_gradients<kMasked, 1>(a, rows * a.period, rest, sum_g, sum_gd);
  flush(sum_g, a.sum_g, a.period);
  flush(sum_gd, a.sum_gd, a.period);
}

void norm_sums(const NormSums& a) {
  clear(a.scratch, 2 * a.period);
  clear(a.sum_g, a.period);
  clear(a.sum_gd, a.period);
  return a.mask != nullptr ? norm_sums_as<true>(a) : norm_sums_as<false>(a);
}

template <bool kMasked, bool kResidual>
void norm_backward_as(const NormBackward& a) {
  for (std::int64_t start = 0; start < a.n; start += a.period) {
    const std::int64_t length = smaller(a.period, a.n - start);
    std::int64_t j = 0;
    for (; j < whole(length); j += kW) {
      const std::int64_t i = start + j;
      const vf g = load_gradient<kMasked>(a.dy, a.mask, i);
      vf dx = load(a.a + j) * g - load(a.b + j) - (load(a.x + i) - load(a.mean + j)) * load(a.c + j);
      if (a.dx_accumulate) dx += load(a.dx + i);
      store(a.dx + i, dx);
      if constexpr (kResidual) store(a.dresidual + i, a.dresidual_accumulate ? load(a.dresidual + i) + g : g);
    }
    for (; j < length; ++j) {
      const std::int64_t i = start + j;
      const float g = where(a.dy[i], a.mask, i);
      const float dx = a.a[j] * g - a.b[j] - (a.x[i] - a.mean[j]) * a.c[j];
      a.dx[i] = a.dx_accumulate ? a.dx[i] + dx : dx;
      if constexpr (kResidual) a.dresidual[i] = a.dresidual_accumulate ? a.dresidual[i] + g : g;
    }
  }
}

void norm_backward(const NormBackward& a) {
  if (a.mask != nullptr) return a.dresidual != nullptr ? norm_backward_as<true, true>(a) : norm_backward_as<true, false>(a);
  return a.dresidual != nullptr ? norm_backward_as<false, true>(a) : norm_backward_as<false, false>(a);
}
