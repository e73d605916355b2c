// Storage types: a unit is the vector that one load brings, widened: kW floats, or 2 * kW bf16 words as two vectors of
// floats, the even and the odd elements (no shuffles: widening is a shift and a mask). Tables that kernels read beside a unit
// lie in the same order: element j at slot<T>(j). Ends shorter than a unit are units of `Some` elements, the rest zero.
// SPDX-License-Identifier: Apache-2.0

typedef std::uint32_t raw_mem __attribute__((vector_size(kW * 4), aligned(1), may_alias));

template <class T>
constexpr int kParts = sizeof(T) == 2 ? 2 : 1;
template <class T>
constexpr std::int64_t kUnit = kW * kParts<T>;

template <class T>
struct Unit {
  vf part[kParts<T>];
};

struct Full {};
struct Some {
  std::int64_t count;  // 1 .. kUnit - 1
};
constexpr std::uint32_t lanes(Full) { return ~std::uint32_t{0}; }
inline std::uint32_t lanes(Some some) { return (std::uint32_t{1} << some.count) - 1; }

// body(i, Full or Some) over [0, n) in units.
template <class T, class Body>
inline void for_units(std::int64_t n, const Body& body) {
  std::int64_t i = 0;
  for (; i + kUnit<T> <= n; i += kUnit<T>) body(i, Full{});
  if (i < n) body(i, Some{n - i});
}

template <class T>
inline std::int64_t padded(std::int64_t n) { return (n + kUnit<T> - 1) / kUnit<T> * kUnit<T>; }

template <class T, class F, class... Units>
inline Unit<T> each(const F& f, const Unit<T>& first, const Units&... rest) {
  Unit<T> result;
  for (int p = 0; p < kParts<T>; ++p) result.part[p] = f(first.part[p], rest.part[p]...);
  return result;
}

inline vu bits_of(vf v) { return reinterpret_cast<vu>(v); }
inline vf float_of(vu v) { return reinterpret_cast<vf>(v); }

// The upper half of each lane is the bf16 word: nearest even, NaN kept (bf16's constructor in core/dtype.h).
inline vu rounded(vf v) {
  const vu u = bits_of(v);
  return v != v ? (u | 0x400000u) : u + (((u >> 16) & 1u) + 0x7fffu);
}

// --- a unit as it lies in memory ---
template <class T>
inline Unit<T> unpacked(vu raw) {
  if constexpr (kParts<T> == 2) {
    return {{float_of(raw << 16), float_of(raw & 0xffff0000u)}};
  } else {
    return {{float_of(raw)}};
  }
}
template <class T>
inline vu packed(const Unit<T>& u) {
  if constexpr (kParts<T> == 2) {
    return (rounded(u.part[0]) >> 16) | (rounded(u.part[1]) & 0xffff0000u);
  } else {
    return bits_of(u.part[0]);
  }
}

template <class T>
inline vu get_raw(const T* p, Full) { return *reinterpret_cast<const raw_mem*>(p); }
template <class T>
inline void put_raw(T* p, vu raw, Full) { *reinterpret_cast<raw_mem*>(p) = raw; }

#if LOCKSTEP_SIMD_WIDTH == 16
template <class T>
inline vu get_raw(const T* p, Some some) {
  if constexpr (kParts<T> == 2) return reinterpret_cast<vu>(_mm512_maskz_loadu_epi16(lanes(some), p));
  return reinterpret_cast<vu>(_mm512_maskz_loadu_epi32(static_cast<__mmask16>(lanes(some)), p));
}
template <class T>
inline void put_raw(T* p, vu raw, Some some) {
  if constexpr (kParts<T> == 2) return _mm512_mask_storeu_epi16(p, lanes(some), reinterpret_cast<__m512i>(raw));
  _mm512_mask_storeu_epi32(p, static_cast<__mmask16>(lanes(some)), reinterpret_cast<__m512i>(raw));
}
// The elements whose bit is set, others zero.
template <class T>
inline vu raw_where(vu raw, std::uint32_t bits) {
  if constexpr (kParts<T> == 2) return reinterpret_cast<vu>(_mm512_maskz_mov_epi16(bits, reinterpret_cast<__m512i>(raw)));
  return reinterpret_cast<vu>(_mm512_maskz_mov_epi32(static_cast<__mmask16>(bits), reinterpret_cast<__m512i>(raw)));
}
// Bit i: element i is positive. A bf16 word is, as an integer, in 1 .. 0x7f80.
template <class T>
inline std::uint32_t positive_bits(vu raw) {
  if constexpr (kParts<T> == 1) return positive_bits(float_of(raw));
  const __m512i less_one = _mm512_sub_epi16(reinterpret_cast<__m512i>(raw), _mm512_set1_epi16(1));
  return in_general_register(_mm512_cmplt_epu16_mask(less_one, _mm512_set1_epi16(0x7f80)));
}
#else
template <class T>
inline vu get_raw(const T* p, Some some) {
  vu raw{};
  __builtin_memcpy(&raw, p, static_cast<std::size_t>(some.count) * sizeof(T));
  return raw;
}
template <class T>
inline void put_raw(T* p, vu raw, Some some) { __builtin_memcpy(p, &raw, static_cast<std::size_t>(some.count) * sizeof(T)); }
#if defined(__AVX2__)
template <class T>
inline vu raw_where(vu raw, std::uint32_t bits) {
  const __m256i value = reinterpret_cast<__m256i>(raw);
  if constexpr (kParts<T> == 2) {
    const __m256i lane = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, -32768);
    const __m256i set = _mm256_cmpeq_epi16(_mm256_and_si256(_mm256_set1_epi16(static_cast<short>(bits)), lane), lane);
    return reinterpret_cast<vu>(_mm256_and_si256(value, set));
  }
  const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i set = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits)), lane), lane);
  return reinterpret_cast<vu>(_mm256_and_si256(value, set));
}
template <class T>
inline std::uint32_t positive_bits(vu raw) {
  if constexpr (kParts<T> == 1) return positive_bits(float_of(raw));
  const __m256i less_one = _mm256_sub_epi16(reinterpret_cast<__m256i>(raw), _mm256_set1_epi16(1));
  const __m256i inside = _mm256_cmpeq_epi16(_mm256_min_epu16(less_one, _mm256_set1_epi16(0x7f7f)), less_one);
  const auto bytes = static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_packs_epi16(inside, _mm256_setzero_si256())));
  return (bytes & 0xffu) | ((bytes >> 8) & 0xff00u);
}
#else
template <class T>
inline vu raw_where(vu raw, std::uint32_t bits) {
  std::uint32_t keep[kW];
  for (int lane = 0; lane < kW; ++lane) {
    if constexpr (kParts<T> == 2) {
      keep[lane] = ((bits >> (2 * lane)) & 1u) * 0xffffu | ((bits >> (2 * lane + 1)) & 1u) * 0xffff0000u;
    } else {
      keep[lane] = ((bits >> lane) & 1u) * 0xffffffffu;
    }
  }
  return raw & get_raw(keep, Full{});
}
template <class T>
inline std::uint32_t positive_bits(vu raw) {
  if constexpr (kParts<T> == 1) return positive_bits(float_of(raw));
  std::uint32_t bits = 0;
  for (int lane = 0; lane < kW; ++lane) {
    bits |= ((raw[lane] & 0xffffu) - 1u < 0x7f80u ? 1u : 0u) << (2 * lane);
    bits |= ((raw[lane] >> 16) - 1u < 0x7f80u ? 1u : 0u) << (2 * lane + 1);
  }
  return bits;
}
#endif
#endif

template <class T, class Span>
inline Unit<T> get(const T* p, Span span) { return unpacked<T>(get_raw(p, span)); }
template <class T, class Span>
inline void put(T* p, const Unit<T>& u, Span span) { put_raw(p, packed<T>(u), span); }
// For streams too long for the cache, where the hardware's prefetch alone reaches three quarters of the bandwidth. Half as
// far and twice as far are slower; stores past the cache lose more in the next reader than they gain.
constexpr std::int64_t kAheadBytes = 2048;
template <class T, class Span>
inline vu get_raw_ahead(const T* p, Span span) {
  __builtin_prefetch(reinterpret_cast<const char*>(p) + kAheadBytes);
  return get_raw(p, span);
}
template <class T, class Span>
inline Unit<T> get_ahead(const T* p, Span span) { return unpacked<T>(get_raw_ahead(p, span)); }
// to (+)= u.
template <class T, class Span>
inline void put(T* p, const Unit<T>& u, Span span, bool accumulate) {
  put(p, accumulate ? each<T>([](vf a, vf b) { return a + b; }, get(p, span), u) : u, span);
}

// --- tables and f32 accumulators beside units ---
template <class T>
inline Unit<T> table(const float* p) {
  Unit<T> u;
  for (int k = 0; k < kParts<T>; ++k) u.part[k] = load(p + k * kW);
  return u;
}
template <class T>
inline void set_table(float* p, const Unit<T>& u) {
  for (int k = 0; k < kParts<T>; ++k) store(p + k * kW, u.part[k]);
}
// Accumulators of `width` elements (padded to units), from the units' order to the elements' own.
template <class T>
inline void to_element_order(float* p, std::int64_t width) {
  if constexpr (kParts<T> == 2)
    for (std::int64_t j = 0; j < width; j += kUnit<T>) {
      const Interleaved both = interleave(bits_of(load(p + j)), bits_of(load(p + j + kW)));
      store(p + j, float_of(both.first));
      store(p + j + kW, float_of(both.second));
    }
}

// --- ReLU masks in memory: bit i%8 of byte i/8; i is a multiple of 8 ---
template <class T>
inline std::uint32_t read_bits(const std::uint8_t* mask, std::int64_t i, Full) {
  std::uint32_t bits = 0;
  __builtin_memcpy(&bits, mask + (i >> 3), kUnit<T> / 8);
  return bits;
}
template <class T>
inline std::uint32_t read_bits(const std::uint8_t* mask, std::int64_t i, Some some) {
  std::uint32_t bits = 0;
  __builtin_memcpy(&bits, mask + (i >> 3), static_cast<std::size_t>((some.count + 7) / 8));
  return bits;
}

// --- vectors whose lanes are 16-bit words in memory, in their own order ---
#if LOCKSTEP_SIMD_WIDTH == 16
inline void store_words(void* p, vu v) {
  _mm256_storeu_si256(static_cast<__m256i_u*>(p), _mm512_cvtepi32_epi16(reinterpret_cast<__m512i>(v)));
}
inline vu load_words(const void* p) {
  return reinterpret_cast<vu>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i_u*>(p))));
}
#elif defined(__AVX2__)
inline void store_words(void* p, vu v) {
  const __m256i wide = reinterpret_cast<__m256i>(v);
  _mm_storeu_si128(static_cast<__m128i_u*>(p), _mm256_castsi256_si128(_mm256_permute4x64_epi64(_mm256_packus_epi32(wide, wide), 8)));
}
inline vu load_words(const void* p) {
  return reinterpret_cast<vu>(_mm256_cvtepu16_epi32(_mm_loadu_si128(static_cast<const __m128i_u*>(p))));
}
#else
typedef std::uint16_t words_mem __attribute__((vector_size(kW * 2), aligned(1), may_alias));
inline void store_words(void* p, vu v) { *static_cast<words_mem*>(p) = __builtin_convertvector(v, words_mem); }
inline vu load_words(const void* p) { return __builtin_convertvector(*static_cast<const words_mem*>(p), vu); }
#endif

// Floats as bf16 words, for kernels that mix both types.
inline void put_words(bf16_word* p, vf v, Full) { store_words(p, rounded(v) >> 16); }
inline void put_words(bf16_word* p, vf v, Some some) {
  bf16_word words[kW];
  put_words(words, v, Full{});
  __builtin_memcpy(p, words, static_cast<std::size_t>(some.count) * sizeof(bf16_word));
}
inline vf get_words(const bf16_word* p) { return float_of(load_words(p) << 16); }

// --- one byte per element ---
template <class T>
struct Bytes {
  vi part[kParts<T>];
};
// Bit i: byte i is `value`.
template <class T>
inline std::uint32_t equal_bits(const std::uint8_t* p, std::uint8_t value, Full) {
#if LOCKSTEP_SIMD_WIDTH == 16
  if constexpr (kParts<T> == 2)
    return _mm256_cmpeq_epi8_mask(_mm256_loadu_si256(reinterpret_cast<const __m256i_u*>(p)), _mm256_set1_epi8(static_cast<char>(value)));
  return _mm_cmpeq_epi8_mask(_mm_loadu_si128(reinterpret_cast<const __m128i_u*>(p)), _mm_set1_epi8(static_cast<char>(value)));
#elif defined(__AVX2__)
  const __m128i bytes = kParts<T> == 2 ? _mm_loadu_si128(reinterpret_cast<const __m128i_u*>(p))
                                       : _mm_loadl_epi64(reinterpret_cast<const __m128i_u*>(p));
  return static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(static_cast<char>(value)))));
#else
  std::uint32_t bits = 0;
  for (int i = 0; i < kUnit<T>; ++i) bits |= (p[i] == value ? 1u : 0u) << i;
  return bits;
#endif
}
template <class T>
inline std::uint32_t equal_bits(const std::uint8_t* p, std::uint8_t value, Some some) {
  std::uint8_t bytes[kUnit<T>] = {};
  __builtin_memcpy(bytes, p, static_cast<std::size_t>(some.count));
  return equal_bits<T>(bytes, value, Full{});
}
template <class T>
inline void put_bytes(std::uint8_t* p, const Bytes<T>& v, Full) {
  if constexpr (kParts<T> == 2) {
    store_words(p, reinterpret_cast<vu>(v.part[0] | (v.part[1] << 8)));
  } else {
    store_bytes(p, v.part[0]);
  }
}
template <class T>
inline void put_bytes(std::uint8_t* p, const Bytes<T>& v, Some some) {
  std::uint8_t bytes[kUnit<T>];
  put_bytes(bytes, v, Full{});
  __builtin_memcpy(p, bytes, static_cast<std::size_t>(some.count));
}
