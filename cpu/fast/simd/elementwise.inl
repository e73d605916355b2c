// Elementwise kernels, conversions, dropout by Philox, image normalisation and row copies.
// SPDX-License-Identifier: Apache-2.0

template <class T>
[[gnu::flatten]] void relu(const T* x, T* y, std::int64_t n) {
  for_units<T>(n, [&](std::int64_t i, auto span) {
    put(y + i, each<T>([](vf v) { return rectified(v); }, get(x + i, span)), span);
  });
}

template <class T>
void relu_backward(const T* dy, const T* y, T* dx, std::int64_t n, bool accumulate) {
  for_units<T>(n, [&](std::int64_t i, auto span) {
    const vu g = raw_where<T>(get_raw(dy + i, span), positive_bits<T>(get_raw(y + i, span)));
    if (accumulate)
      put(dx + i, unpacked<T>(g), span, true);
    else
      put_raw(dx + i, g, span);
  });
}

template <class T>
[[gnu::flatten]] void add(const T* a, const T* b, T* y, std::int64_t n) {
  for_units<T>(n, [&](std::int64_t i, auto span) {
    put(y + i, each<T>([](vf p, vf q) { return p + q; }, get(a + i, span), get(b + i, span)), span);
  });
}

template <class T>
void scale(const T* x, float factor, T* y, std::int64_t n, bool accumulate) {
  for_units<T>(n, [&](std::int64_t i, auto span) {
    put(y + i, each<T>([&](vf v) { return v * factor; }, get(x + i, span)), span, accumulate);
  });
}

template <class T>
void mix(const T* a, const T* b, float weight, T* y, std::int64_t n) {
  const float rest = 1.0f - weight;
  for_units<T>(n, [&](std::int64_t i, auto span) {
    put(y + i, each<T>([&](vf p, vf q) { return p * weight + q * rest; }, get(a + i, span), get(b + i, span)), span);
  });
}

void narrow(const float* x, bf16_word* y, std::int64_t n) {
  for_units<float>(n, [&](std::int64_t i, auto span) { put_words(y + i, get(x + i, span).part[0], span); });
}

void widen(const bf16_word* x, float* y, std::int64_t n) {
  std::int64_t i = 0;
  for (; i < whole(n); i += kW) store(y + i, get_words(x + i));
  for (; i < n; ++i) y[i] = __builtin_bit_cast(float, static_cast<std::uint32_t>(x[i]) << 16);
}

inline vq xor3(vq a, vq b, vq c) {
#if LOCKSTEP_SIMD_WIDTH == 16
  return reinterpret_cast<vq>(_mm512_ternarylogic_epi64(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b),
                                                        reinterpret_cast<__m512i>(c), 0x96));
#else
  return a ^ b ^ c;
#endif
}

// The keys of Philox4x32-10's rounds (core/philox.h), in vectors that the rounds read from memory.
struct PhiloxKeys {
  PhiloxKeys(std::uint32_t k0, std::uint32_t k1) {
    for (int r = 0; r < 10; ++r, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) first[r] = vq{} + k0, second[r] = vq{} + k1;
  }
  vq first[10], second[10];
};

// kW / 2 blocks, one in each 64-bit lane, whose lower half holds the word: a product's halves then need one shift. Upper
// halves are whatever is left over.
struct PhiloxWords {
  vq word[4];
};
template <class T>
inline PhiloxWords philox_blocks(const Dropout<T>& a, const PhiloxKeys& keys, vq block) {
  vq c0 = block, c1 = vq{} + a.counter[0], c2 = vq{} + a.counter[1], c3 = vq{} + a.counter[2];
  for (int round = 0; round < 10; ++round) {
    const vq p0 = wide_multiply(c0, 0xD2511F53u), p1 = wide_multiply(c2, 0xCD9E8D57u);
    c0 = xor3(p1 >> 32, c1, keys.first[round]);
    c1 = p1;
    c2 = xor3(p0 >> 32, c3, keys.second[round]);
    c3 = p0;
  }
  return {{c0, c1, c2, c3}};
}

inline vu joined(vq low, vq high) { return reinterpret_cast<vu>((low & 0xffffffffu) | (high << 32)); }

// The factor of each element of the kUnits units that these blocks decide: scale where the word is large enough.
template <class T>
inline Unit<T> factors(const Dropout<T>& a, const PhiloxWords& w, int unit) {
  Unit<T> words;
  if constexpr (kParts<T> == 2) {  // block b's words 0 and 2 are even elements, 1 and 3 odd ones
    words.part[0] = float_of(joined(w.word[0], w.word[2]));
    words.part[1] = float_of(joined(w.word[1], w.word[3]));
  } else {
    const Interleaved pairs = interleave_pairs(joined(w.word[0], w.word[1]), joined(w.word[2], w.word[3]));
    words.part[0] = float_of(unit == 0 ? pairs.first : pairs.second);
  }
  return each<T>([&](vf v) { return (bits_of(v) >> 8) >= a.threshold ? splat(a.scale) : vf{}; }, words);
}

template <class T>
void dropout(const Dropout<T>& a) {
  constexpr int kUnits = kParts<T> == 2 ? 1 : 2;  // kW / 2 blocks are 2 * kW elements
  vq lane;
  for (int l = 0; l < kW / 2; ++l) lane[l] = static_cast<std::uint64_t>(l);
  const PhiloxKeys keys(a.key[0], a.key[1]);
  for (std::int64_t i = a.begin; i < a.end; i += 2 * kW) {
    const PhiloxWords words = philox_blocks(a, keys, lane + static_cast<std::uint64_t>(i / 4));
    for (int u = 0; u < kUnits; ++u) {
      const std::int64_t start = i + u * kUnit<T>;
      const Unit<T> factor = factors(a, words, u);
      const auto apply = [&](auto span) {
        const Unit<T> y = each<T>([](vf v, vf f) { return v * f; }, get(a.x + start, span), factor);
        put(a.y + start, y, span, a.accumulate);
      };
      if (start + kUnit<T> <= a.end)
        apply(Full{});
      else if (start < a.end)
        apply(Some{a.end - start});
    }
  }
}

// factor and shift lie in the elements' own order.
template <class T>
void normalise(const std::uint8_t* x, const float* factor, const float* shift, T* y, std::int64_t n, std::int64_t period) {
  const auto put_floats = [&](std::int64_t i, vf v, auto span) {
    if constexpr (kParts<T> == 2) {
      put_words(y + i, v, span);
    } else {
      put(y + i, Unit<float>{{v}}, span);
    }
  };
  for (std::int64_t start = 0; start < n; start += period) {
    const std::int64_t length = smaller(period, n - start);
    std::int64_t j = 0;
    for (; j < whole(length); j += kW)
      put_floats(start + j, __builtin_convertvector(load_bytes(x + start + j), vf) * load(factor + j) + load(shift + j), Full{});
    if (j == length) continue;
    std::uint8_t bytes[kW] = {};
    __builtin_memcpy(bytes, x + start + j, static_cast<std::size_t>(length - j));
    put_floats(start + j, __builtin_convertvector(load_bytes(bytes), vf) * load(factor + j) + load(shift + j), Some{length - j});
  }
}

template <class T>
void copy_rows(const CopyRows<T>& a) {
  for (std::int64_t row = 0; row < a.rows; ++row) {
    const T* src = a.src + row * a.src_stride;
    T* dst = a.dst + row * a.dst_stride;
    for_units<T>(a.count, [&](std::int64_t j, auto span) {
      if (a.accumulate)
        put(dst + j, get(src + j, span), span, true);
      else
        put_raw(dst + j, get_raw(src + j, span), span);
    });
  }
}

template <class T>
void spread_row(const T* src, float factor, T* dst, std::int64_t rows, std::int64_t width, bool accumulate) {
  for (std::int64_t row = 0; row < rows; ++row) scale(src, factor, dst + row * width, width, accumulate);
}
