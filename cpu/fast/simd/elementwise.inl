// Elementwise kernels, dropout by Philox, image normalisation and row copies.
// SPDX-License-Identifier: Apache-2.0

void relu(const float* x, float* y, std::int64_t n) {
  std::int64_t i = 0;
  for (; i < whole(n); i += kW) store(y + i, rectified(load(x + i)));
  for (; i < n; ++i) y[i] = rectified(x[i]);
}

void relu_backward(const float* dy, const float* y, float* dx, std::int64_t n, bool accumulate) {
  std::int64_t i = 0;
  for (; i < whole(n); i += kW) {
    const vf g = load(y + i) > vf{} ? load(dy + i) : vf{};
    store(dx + i, accumulate ? load(dx + i) + g : g);
  }
  for (; i < n; ++i) {
    const float g = y[i] > 0.0f ? dy[i] : 0.0f;
    dx[i] = accumulate ? dx[i] + g : g;
  }
}

void add(const float* a, const float* b, float* y, std::int64_t n) {
  std::int64_t i = 0;
  for (; i < whole(n); i += kW) store(y + i, load(a + i) + load(b + i));
  for (; i < n; ++i) y[i] = a[i] + b[i];
}

void scale(const float* x, float factor, float* y, std::int64_t n, bool accumulate) {
  std::int64_t i = 0;
  for (; i < whole(n); i += kW) {
    const vf v = load(x + i) * factor;
    store(y + i, accumulate ? load(y + i) + v : v);
  }
  for (; i < n; ++i) {
    const float v = x[i] * factor;
    y[i] = accumulate ? y[i] + v : v;
  }
}

// Philox4x32-10 of kW consecutive blocks; words[w] lane l is word w of block `first + l` (core/philox.h).
void philox_blocks(const Dropout& a, std::uint32_t first, vu (&words)[4]) {
  vu lane;
  for (int l = 0; l < kW; ++l) lane[l] = static_cast<std::uint32_t>(l);
  vu c0 = lane + first, c1 = vu{} + a.counter[0], c2 = vu{} + a.counter[1], c3 = vu{} + a.counter[2];
  std::uint32_t k0 = a.key[0], k1 = a.key[1];
  for (int round = 0; round < 10; ++round) {
    const WidePair p0 = wide_multiply(c0, 0xD2511F53u), p1 = wide_multiply(c2, 0xCD9E8D57u);
    c0 = p1.high ^ c1 ^ k0;
    c1 = p1.low;
    c2 = p0.high ^ c3 ^ k1;
    c3 = p0.low;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  words[0] = c0, words[1] = c1, words[2] = c2, words[3] = c3;
}

void dropout(const Dropout& a) {
  constexpr std::int64_t kStep = 4 * kW;  // elements of kW blocks
  for (std::int64_t i = a.begin; i < a.end; i += kStep) {
    vu words[4];
    philox_blocks(a, static_cast<std::uint32_t>(i / 4), words);
    const Interleaved even = interleave(words[0], words[2]), odd = interleave(words[1], words[3]);
    const Interleaved low = interleave(even.first, odd.first), high = interleave(even.second, odd.second);
    const vu ordered[4] = {low.first, low.second, high.first, high.second};
    for (int part = 0; part < 4; ++part) {
      const std::int64_t start = i + part * kW;
      if (start >= a.end) break;
      const vf factor = (ordered[part] >> 8) >= a.threshold ? splat(a.scale) : vf{};
      if (start + kW <= a.end) {
        const vf v = load(a.x + start) * factor;
        store(a.y + start, a.accumulate ? load(a.y + start) + v : v);
        continue;
      }
      for (std::int64_t j = start; j < a.end; ++j) {
        const float v = a.x[j] * factor[j - start];
        a.y[j] = a.accumulate ? a.y[j] + v : v;
      }
    }
  }
}

void normalise(const std::uint8_t* x, const float* factor, const float* shift, float* y, std::int64_t n, std::int64_t period) {
  for (std::int64_t start = 0; start < n; start += period) {
    const std::int64_t length = smaller(period, n - start);
    std::int64_t j = 0;
    for (; j < whole(length); j += kW)
      store(y + start + j, __builtin_convertvector(load_bytes(x + start + j), vf) * load(factor + j) + load(shift + j));
    for (; j < length; ++j) y[start + j] = static_cast<float>(x[start + j]) * factor[j] + shift[j];
  }
}

void copy_rows(const CopyRows& a) {
  for (std::int64_t row = 0; row < a.rows; ++row) {
    const float* src = a.src + row * a.src_stride;
    float* dst = a.dst + row * a.dst_stride;
    std::int64_t j = 0;
    for (; j < whole(a.count); j += kW) store(dst + j, a.accumulate ? load(dst + j) + load(src + j) : load(src + j));
    for (; j < a.count; ++j) dst[j] = a.accumulate ? dst[j] + src[j] : src[j];
  }
}

void spread_row(const float* src, float factor, float* dst, std::int64_t rows, std::int64_t width, bool accumulate) {
  for (std::int64_t row = 0; row < rows; ++row) scale(src, factor, dst + row * width, width, accumulate);
}
