// Batch norm and column reductions over channels-last rows. Sums run in f32 over at most kBlockRows rows, then in
// double, so the error does not grow with the batch.
// SPDX-License-Identifier: Apache-2.0

constexpr std::int64_t kBlockRows = 64;

inline void clear(float* p, std::int64_t n) { __builtin_memset(p, 0, static_cast<std::size_t>(n) * sizeof(float)); }
inline void clear(double* p, std::int64_t n) { __builtin_memset(p, 0, static_cast<std::size_t>(n) * sizeof(double)); }

// Adds f32 sums to double ones and clears them.
template <class T>
inline void flush(float* from, double* to, std::int64_t width) {
  to_element_order<T>(from, width);
  std::int64_t j = 0;
  for (; j + kW / 2 <= width; j += kW / 2) store(to + j, load(to + j) + load_widened(from + j));
  for (; j < width; ++j) to[j] += from[j];
  clear(from, padded<T>(width));
}

// acc[j] += the sum of kRows rows at column j.
template <int kRows, class T>
inline void add_rows(const T* x, std::int64_t width, float* acc) {
  for_units<T>(width, [&](std::int64_t j, auto span) {
    Unit<T> total = table<T>(acc + j);
    for (int r = 0; r < kRows; ++r) total = each<T>([](vf a, vf b) { return a + b; }, total, get_ahead(x + r * width + j, span));
    set_table<T>(acc + j, total);
  });
}

template <class T>
void sum_block(const T* x, std::int64_t rows, std::int64_t width, float* acc) {
  std::int64_t r = 0;
  for (; r + 4 <= rows; r += 4) add_rows<4>(x + r * width, width, acc);
  for (; r < rows; ++r) add_rows<1>(x + r * width, width, acc);
}

template <class T>
void column_sums(const T* x, std::int64_t rows, std::int64_t width, double* sums, float* scratch) {
  clear(sums, width);
  clear(scratch, padded<T>(width));
  for (std::int64_t r = 0; r < rows; r += kBlockRows) {
    sum_block(x + r * width, smaller(kBlockRows, rows - r), width, scratch);
    flush<T>(scratch, sums, width);
  }
}

// With d = x - shift: first[j] += sum d, second[j] += sum d^2 over kRows rows.
template <int kRows, class T>
inline void add_shifted(const T* x, const float* shift, std::int64_t width, float* first, float* second) {
  for_units<T>(width, [&](std::int64_t j, auto span) {
    const Unit<T> origin = table<T>(shift + j);
    Unit<T> total = table<T>(first + j), squares = table<T>(second + j);
    for (int r = 0; r < kRows; ++r) {
      const Unit<T> d = each<T>([](vf a, vf b) { return a - b; }, get_ahead(x + r * width + j, span), origin);
      total = each<T>([](vf a, vf b) { return a + b; }, total, d);
      squares = each<T>([](vf a, vf b) { return a + b * b; }, squares, d);
    }
    set_table<T>(first + j, total);
    set_table<T>(second + j, squares);
  });
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

// One pass: each block is shifted by the mean of its first kShiftRows rows, which lies at a distance d from the block's
// mean with kShiftRows d^2 <= m2 of the block, so cancellation costs at most a factor 1 + kMomentRows / kShiftRows = 9.
constexpr std::int64_t kMomentRows = 128, kShiftRows = 16;

template <class T>
void column_moments(const T* x, std::int64_t rows, std::int64_t width, double* mean, double* m2, float* scratch) {
  const std::int64_t stride = padded<T>(width);
  float *shift = scratch, *first = scratch + stride, *second = scratch + 2 * stride;
  clear(mean, width);
  clear(m2, width);
  for (std::int64_t r = 0; r < rows; r += kMomentRows) {
    const std::int64_t count = smaller(kMomentRows, rows - r), head = smaller(kShiftRows, count);
    const T* start = x + r * width;
    clear(scratch, 3 * stride);
    sum_block(start, head, width, shift);
    const float inverse = 1.0f / static_cast<float>(head);
    for (std::int64_t j = 0; j < stride; j += kW) store(shift + j, load(shift + j) * inverse);
    std::int64_t done = 0;
    for (; done + 4 <= count; done += 4) add_shifted<4>(start + done * width, shift, width, first, second);
    for (; done < count; ++done) add_shifted<1>(start + done * width, shift, width, first, second);
    for (int part = 0; part < 3; ++part) to_element_order<T>(scratch + part * stride, width);
    merge_block(static_cast<double>(r), static_cast<double>(count), shift, first, second, width, mean, m2);
  }
}

template <class T>
inline Unit<T> normed(const NormTables& t, std::int64_t j, const Unit<T>& x) {
  return each<T>([](vf v, vf mean, vf scale, vf beta) { return (v - mean) * scale + beta; }, x, table<T>(t.mean + j),
                 table<T>(t.scale + j), table<T>(t.beta + j));
}

// Elements [i, i + span) of the tensor, [j, j + span) of the period; returns the bits of the positive outputs.
template <bool kResidual, bool kRelu, class T, class Span>
inline std::uint32_t apply_unit(const NormApply<T>& a, std::int64_t i, std::int64_t j, Span span) {
  Unit<T> v = normed<T>(a.tables, j, get_ahead(a.x + i, span));
  if constexpr (kResidual) v = each<T>([](vf p, vf q) { return p + q; }, v, get_ahead(a.residual + i, span));
  if constexpr (kRelu) v = each<T>([](vf p) { return rectified(p); }, v);
  const vu raw = packed<T>(v);
  put_raw(a.y + i, raw, span);
  return kRelu ? positive_bits<T>(raw) : 0;
}

// Flattened, as other kernels below: GCC would leave calls in the loop.
template <bool kResidual, bool kRelu, bool kMask, class T>
[[gnu::flatten]] void norm_apply_as(const NormApply<T>& a) {
  constexpr int kUnits = kParts<T> == 2 ? 2 : 4;  // one mask store for several units: single ones cost half the speed
  for (std::int64_t start = 0; start < a.n; start += a.period) {
    const std::int64_t length = smaller(a.period, a.n - start);
    std::int64_t j = 0;
    for (; j + kUnits * kUnit<T> <= length; j += kUnits * kUnit<T>) {
      std::uint64_t bits = 0;
      for (int u = 0; u < kUnits; ++u) {
        const std::int64_t at = j + u * kUnit<T>;
        bits |= std::uint64_t{apply_unit<kResidual, kRelu>(a, start + at, at, Full{})} << (u * kUnit<T>);
      }
      if constexpr (kMask) __builtin_memcpy(a.mask + ((start + j) >> 3), &bits, kUnits * kUnit<T> / 8);
    }
    for_units<T>(length - j, [&](std::int64_t k, auto span) {
      const std::uint32_t bits = apply_unit<kResidual, kRelu>(a, start + j + k, j + k, span) & lanes(span);
      const std::int64_t count = smaller(kUnit<T>, length - j - k);
      if constexpr (kMask) __builtin_memcpy(a.mask + ((start + j + k) >> 3), &bits, static_cast<std::size_t>((count + 7) / 8));
    });
  }
}

template <class T>
void norm_apply(const NormApply<T>& a) {
  const bool residual = a.residual != nullptr, mask = a.mask != nullptr;
  if (residual) {
    if (!a.relu) return norm_apply_as<true, false, false>(a);
    return mask ? norm_apply_as<true, true, true>(a) : norm_apply_as<true, true, false>(a);
  }
  if (!a.relu) return norm_apply_as<false, false, false>(a);
  return mask ? norm_apply_as<false, true, true>(a) : norm_apply_as<false, true, false>(a);
}

// g = dy where the gate is open. Recomputed, it is open where the output that norm_apply stored is positive: f32 values
// up to half the smallest bf16 number were stored as 0.
template <Gate kGate, class T, class Span>
inline Unit<T> gated(const NormGradient<T>& a, const Unit<T>& x, std::int64_t i, std::int64_t j, Span span) {
  if constexpr (kGate == Gate::kBits) return unpacked<T>(raw_where<T>(get_raw_ahead(a.dy + i, span), read_bits<T>(a.mask, i, span)));
  const Unit<T> dy = get_ahead(a.dy + i, span);
  if constexpr (kGate == Gate::kNone) return dy;
  const vf least = splat(kParts<T> == 2 ? 0x1p-134f : 0.0f);
  return each<T>([&](vf g, vf y) { return y > least ? g : vf{}; }, dy, normed<T>(a.tables, j, x));
}

// Adds kRows periods of `length` that start at element `start` to the f32 sums.
template <Gate kGate, int kRows, class T>
inline void add_gradients(const NormSums<T>& a, std::int64_t start, std::int64_t length, float* sum_g, float* sum_gd) {
  for_units<T>(length, [&](std::int64_t j, auto span) {
    const Unit<T> mean = table<T>(a.in.tables.mean + j);
    Unit<T> total = table<T>(sum_g + j), product = table<T>(sum_gd + j);
    for (int r = 0; r < kRows; ++r) {
      const std::int64_t i = start + r * a.in.period + j;
      const Unit<T> x = get_ahead(a.in.x + i, span), g = gated<kGate>(a.in, x, i, j, span);
      total = each<T>([](vf p, vf q) { return p + q; }, total, g);
      product = each<T>([](vf sum, vf p, vf v, vf m) { return sum + p * (v - m); }, product, g, x, mean);
    }
    set_table<T>(sum_g + j, total);
    set_table<T>(sum_gd + j, product);
  });
}

template <Gate kGate, class T>
void norm_sums_as(const NormSums<T>& a) {
  const std::int64_t period = a.in.period, rows = a.in.n / period, rest = a.in.n - rows * period;
  float *sum_g = a.scratch, *sum_gd = a.scratch + period;
  const auto flush_both = [&] {
    flush<T>(sum_g, a.sum_g, period);
    flush<T>(sum_gd, a.sum_gd, period);
  };
  for (std::int64_t block = 0; block < rows; block += kBlockRows) {
    const std::int64_t end = smaller(block + kBlockRows, rows);
    std::int64_t r = block;
    for (; r + 4 <= end; r += 4) add_gradients<kGate, 4>(a, r * period, period, sum_g, sum_gd);
    for (; r < end; ++r) add_gradients<kGate, 1>(a, r * period, period, sum_g, sum_gd);
    flush_both();
  }
  if (rest == 0) return;
  add_gradients<kGate, 1>(a, rows * period, rest, sum_g, sum_gd);
  flush_both();
}

template <class T>
void norm_sums(const NormSums<T>& a) {
  clear(a.scratch, 2 * a.in.period);
  clear(a.sum_g, a.in.period);
  clear(a.sum_gd, a.in.period);
  if (a.in.gate == Gate::kNone) return norm_sums_as<Gate::kNone>(a);
  return a.in.gate == Gate::kBits ? norm_sums_as<Gate::kBits>(a) : norm_sums_as<Gate::kRecompute>(a);
}

template <Gate kGate, bool kResidual, class T>
[[gnu::flatten]] void norm_backward_as(const NormBackward<T>& a) {
  for (std::int64_t start = 0; start < a.in.n; start += a.in.period)
    for_units<T>(smaller(a.in.period, a.in.n - start), [&](std::int64_t j, auto span) {
      const std::int64_t i = start + j;
      const Unit<T> x = get_ahead(a.in.x + i, span), g = gated<kGate>(a.in, x, i, j, span);
      const Unit<T> centred = each<T>([](vf v, vf mean, vf c) { return (v - mean) * c; }, x, table<T>(a.in.tables.mean + j),
                                      table<T>(a.c + j));
      const Unit<T> dx = each<T>([](vf p, vf scale, vf b, vf d) { return scale * p - b - d; }, g,
                                 table<T>(a.in.tables.scale + j), table<T>(a.b + j), centred);
      put(a.dx + i, dx, span, a.dx_accumulate);
      if constexpr (kResidual) put(a.dresidual + i, g, span, a.dresidual_accumulate);
    });
}

template <Gate kGate, class T>
void norm_backward_with(const NormBackward<T>& a) {
  return a.dresidual != nullptr ? norm_backward_as<kGate, true>(a) : norm_backward_as<kGate, false>(a);
}

template <class T>
void norm_backward(const NormBackward<T>& a) {
  if (a.in.gate == Gate::kNone) return norm_backward_with<Gate::kNone>(a);
  return a.in.gate == Gate::kBits ? norm_backward_with<Gate::kBits>(a) : norm_backward_with<Gate::kRecompute>(a);
}
