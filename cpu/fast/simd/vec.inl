// Vectors of kW floats and the few operations that need the instruction set's own words. Included once per instruction
// set inside its namespace; kIsa and LOCKSTEP_SIMD_WIDTH come from the including .cpp. GCC's vector extensions do the rest.
// SPDX-License-Identifier: Apache-2.0

constexpr int kW = LOCKSTEP_SIMD_WIDTH;  // floats per vector; at least 8, so that a mask's byte never straddles vectors
typedef float vf __attribute__((vector_size(kW * 4)));
typedef std::int32_t vi __attribute__((vector_size(kW * 4)));
typedef std::uint32_t vu __attribute__((vector_size(kW * 4)));
typedef std::uint64_t vq __attribute__((vector_size(kW * 4)));  // kW / 2 words
typedef double vd __attribute__((vector_size(kW * 4)));  // kW / 2 doubles
// As they lie in memory: no alignment beyond the element's.
typedef float vf_mem __attribute__((vector_size(kW * 4), aligned(4), may_alias));
typedef float half_mem __attribute__((vector_size(kW * 2), aligned(4), may_alias));
typedef double vd_mem __attribute__((vector_size(kW * 4), aligned(8), may_alias));
typedef std::uint8_t bytes_mem __attribute__((vector_size(kW), aligned(1), may_alias));

inline vf load(const float* p) { return *reinterpret_cast<const vf_mem*>(p); }
inline void store(float* p, vf v) { *reinterpret_cast<vf_mem*>(p) = v; }
inline vd load(const double* p) { return *reinterpret_cast<const vd_mem*>(p); }
inline void store(double* p, vd v) { *reinterpret_cast<vd_mem*>(p) = v; }
inline void store_bytes(std::uint8_t* p, vi v) { *reinterpret_cast<bytes_mem*>(p) = __builtin_convertvector(v, bytes_mem); }
inline vf splat(float value) { return value - vf{}; }  // x - 0 is x, also for -0 and NaN
inline vf rectified(vf v) { return v <= vf{} ? vf{} : v; }  // NaN stays NaN
// GCC would rather read a value from memory again at each of its uses.
inline void keep_in_register([[maybe_unused]] vf& value) {
#if LOCKSTEP_SIMD_WIDTH == 16
  asm("" : "+v"(value));
#elif defined(__AVX2__)
  asm("" : "+x"(value));
#endif
}
inline std::int64_t whole(std::int64_t n) { return n / kW * kW; }
inline std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
inline std::int64_t larger(std::int64_t a, std::int64_t b) { return a > b ? a : b; }

// Widening loads: GCC 12 splits __builtin_convertvector into many small pieces.
#if LOCKSTEP_SIMD_WIDTH == 16
inline vd load_widened(const float* p) { return reinterpret_cast<vd>(_mm512_cvtps_pd(_mm256_loadu_ps(p))); }
inline vi load_bytes(const std::uint8_t* p) {
  return reinterpret_cast<vi>(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i_u*>(p))));
}
#elif defined(__AVX2__)
inline vd load_widened(const float* p) { return reinterpret_cast<vd>(_mm256_cvtps_pd(_mm_loadu_ps(p))); }
inline vi load_bytes(const std::uint8_t* p) {
  return reinterpret_cast<vi>(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i_u*>(p))));
}
#else
inline vd load_widened(const float* p) { return __builtin_convertvector(*reinterpret_cast<const half_mem*>(p), vd); }
inline vi load_bytes(const std::uint8_t* p) { return __builtin_convertvector(*reinterpret_cast<const bytes_mem*>(p), vi); }
#endif

#if LOCKSTEP_SIMD_WIDTH == 16
// GCC 12 may spill a mask register's 4 bytes and reload 8, when the mask is later widened to 64 bits: bits 32 and up are then
// whatever lay there. Once in a general register it is widened rightly.
inline unsigned in_general_register(unsigned mask) {
  asm("" : "+r"(mask));
  return mask;
}
#endif

inline unsigned positive_bits(vf v) {
#if LOCKSTEP_SIMD_WIDTH == 16
  return in_general_register(_mm512_cmp_ps_mask(reinterpret_cast<__m512>(v), _mm512_setzero_ps(), _CMP_GT_OQ));
#elif defined(__AVX2__)
  return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(reinterpret_cast<__m256>(v), _mm256_setzero_ps(), _CMP_GT_OQ)));
#else
  unsigned bits = 0;
  for (int lane = 0; lane < kW; ++lane) bits |= (v[lane] > 0.0f ? 1u : 0u) << lane;
  return bits;
#endif
}

// False also where both are NaN.
inline bool all_equal(vf a, vf b) {
#if LOCKSTEP_SIMD_WIDTH == 16
  return _mm512_cmp_ps_mask(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), _CMP_NEQ_UQ) == 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps(_mm256_cmp_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), _CMP_NEQ_UQ)) == 0;
#else
  bool equal = true;
  for (int lane = 0; lane < kW; ++lane) equal = equal && a[lane] == b[lane];
  return equal;
#endif
}

inline float sum_of(vf v) {
  float total = 0;
  for (int lane = 0; lane < kW; ++lane) total += v[lane];
  return total;
}
inline double sum_of(vd v) {
  double total = 0;
  for (int lane = 0; lane < kW / 2; ++lane) total += v[lane];
  return total;
}

// Products of each 64-bit lane's lower half with a constant.
inline vq wide_multiply(vq a, std::uint32_t factor) {
#if LOCKSTEP_SIMD_WIDTH == 16
  return reinterpret_cast<vq>(_mm512_mul_epu32(reinterpret_cast<__m512i>(a), _mm512_set1_epi64(factor)));
#elif defined(__AVX2__)
  return reinterpret_cast<vq>(_mm256_mul_epu32(reinterpret_cast<__m256i>(a), _mm256_set1_epi64x(factor)));
#else
  return (a & 0xffffffffu) * factor;
#endif
}

// Lanes a0 b0 a1 b1 ...: the first and the second half.
struct Interleaved {
  vu first, second;
};
inline Interleaved interleave(vu a, vu b) {
  vu first, second;
  for (int lane = 0; lane < kW; ++lane) {  // becomes two shuffles
    first[lane] = static_cast<std::uint32_t>(lane / 2 + (lane % 2) * kW);
    second[lane] = first[lane] + kW / 2;
  }
  return {__builtin_shuffle(a, b, first), __builtin_shuffle(a, b, second)};
}

// The same with pairs of lanes: a0 a1 b0 b1 a2 a3 ...
inline Interleaved interleave_pairs(vu a, vu b) {
  vu first, second;
  for (int lane = 0; lane < kW; ++lane) {
    first[lane] = static_cast<std::uint32_t>(lane / 4 * 2 + lane % 2 + (lane / 2 % 2) * kW);
    second[lane] = first[lane] + kW / 2;
  }
  return {__builtin_shuffle(a, b, first), __builtin_shuffle(a, b, second)};
}

// kW rows of kW floats: rows become columns, by log2(kW) rounds of a perfect shuffle of the rows' halves.
inline void transpose(vf* rows) {
  vf other[kW];
  for (int round = 1; round < kW; round *= 2) {
    for (int i = 0; i < kW / 2; ++i) {
      const Interleaved pair = interleave(reinterpret_cast<vu>(rows[i]), reinterpret_cast<vu>(rows[i + kW / 2]));
      other[2 * i] = reinterpret_cast<vf>(pair.first);
      other[2 * i + 1] = reinterpret_cast<vf>(pair.second);
    }
    for (int i = 0; i < kW; ++i) rows[i] = other[i];
  }
}

// e^x = (1 + fraction) * power, for |x| < 88; a NaN makes the fraction one. Range reduction and polynomial after Cody & Waite.
struct Exponential {
  vf fraction, power;
};
inline Exponential exponential(vf x) {
  const vf magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const vf shifted = x * splat(1.44269504f) + magic;
  const vf k = shifted - magic;
  const vf r = (x - k * splat(0.693359375f)) + k * splat(2.12194440e-4f);  // ln 2 in two parts
  vf poly = splat(1.9875691500e-4f);
  poly = poly * r + splat(1.3981999507e-3f);
  poly = poly * r + splat(8.3334519073e-3f);
  poly = poly * r + splat(4.1665795894e-2f);
  poly = poly * r + splat(1.6666665459e-1f);
  poly = poly * r + splat(5.0000001201e-1f);
  const vi exponent = (reinterpret_cast<vi>(shifted) - reinterpret_cast<vi>(magic) + 127) << 23;
  return {poly * r * r + r, reinterpret_cast<vf>(exponent)};
}

// e^x to about one ulp; 0 below -87.3, NaN for NaN. Only for x <= 0.
inline vf exp_nonpositive(vf x) {
  const vi underflow = x < splat(-87.3f);
  const Exponential e = exponential(underflow ? splat(-87.3f) : x);
  return underflow ? vf{} : (e.fraction + splat(1.0f)) * e.power;
}

// e^x - 1 to a few ulp, also near 0. Only for x <= 0.
inline vf expm1_nonpositive(vf x) {
  const Exponential e = exponential(x < splat(-87.3f) ? splat(-87.3f) : x);
  return e.fraction * e.power + (e.power - splat(1.0f));
}

// ln x for normal x > 0 to a few ulp: with x = m 2^e, m within sqrt(2) of 1, and z = (m - 1) / (m + 1),
// ln m = 2 artanh z = 2 (z + z^3 / 3 + ...), whose next term is below 1e-9 of it.
inline vf log_positive(vf x) {
  const vi bits = reinterpret_cast<vi>(x), e = (bits - 0x3f3504f3) >> 23;  // 0x3f3504f3: sqrt(1/2)
  const vf m = reinterpret_cast<vf>(bits - (e << 23));
  const vf z = (m - splat(1.0f)) / (m + splat(1.0f)), zz = z * z;
  const vf series = (((zz * splat(1.0f / 9) + splat(1.0f / 7)) * zz + splat(1.0f / 5)) * zz + splat(1.0f / 3)) * zz * z + z;
  return __builtin_convertvector(e, vf) * splat(0.693147181f) + series * splat(2.0f);
}

// x^power for x > 0; overflow and underflow stop at e^88. Infinity and NaN give NaN.
inline vf power_of(vf x, float power) {
  const vf t = log_positive(x) * power;
  const Exponential e = exponential(t < splat(-87.3f) ? splat(-87.3f) : t > splat(88.0f) ? splat(88.0f) : t);
  return (e.fraction + splat(1.0f)) * e.power + (x - x);
}

inline vf magnitude(vf v) { return reinterpret_cast<vf>(reinterpret_cast<vu>(v) & 0x7fffffffu); }
inline vf with_sign_of(vf v, vf sign) {
  return reinterpret_cast<vf>((reinterpret_cast<vu>(v) & 0x7fffffffu) | (reinterpret_cast<vu>(sign) & 0x80000000u));
}
