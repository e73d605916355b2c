// Resize kernels for AVX2: weights in two parts, the lower of 15 bits, multiplied and added in pairs by pmaddwd.
// SPDX-License-Identifier: Apache-2.0
#include "data/resize_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

namespace lockstep::detail {
namespace {

constexpr int kLowBits = 15;

// Two words for taps 0 and 1: their lower parts, their upper parts; and two for taps 2 and 3.
void pack(const std::int32_t* weights, std::int32_t* packed) {
  constexpr std::int32_t kMask = (1 << kLowBits) - 1;
  for (int pair = 0; pair < 2; ++pair, weights += 2, packed += 2) {
    packed[0] = (weights[0] & kMask) | ((weights[1] & kMask) << 16);
    packed[1] = (weights[0] >> kLowBits) | ((weights[1] >> kLowBits) << 16);
  }
}

struct Sums {
  __m256i low, high;
};

[[gnu::target("avx2")]] inline void add(Sums& sums, __m256i pixels, const std::int32_t* packed) {
  sums.low = _mm256_add_epi32(sums.low, _mm256_madd_epi16(pixels, _mm256_set1_epi32(packed[0])));
  sums.high = _mm256_add_epi32(sums.high, _mm256_madd_epi16(pixels, _mm256_set1_epi32(packed[1])));
}

// The rounded sums, of 32 bits.
[[gnu::target("avx2")]] inline __m256i rounded(const Sums& sums) {
  const __m256i sum = _mm256_add_epi32(_mm256_add_epi32(sums.low, _mm256_slli_epi32(sums.high, kLowBits)), _mm256_set1_epi32(kHalf));
  return _mm256_srai_epi32(sum, kPrecisionBits);
}

[[gnu::target("avx2")]] inline __m256i load_rows(const std::uint8_t* a, const std::uint8_t* b) {
  const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(a));
  return _mm256_inserti128_si256(_mm256_castsi128_si256(low), _mm_loadu_si128(reinterpret_cast<const __m128i*>(b)), 1);
}

// Takes two pixels out of each 16 bytes, as pairs of 16 bits, one per channel; `from`: the byte of the first. The unused fourth pair
// comes first for a mirrored row, so that writing 4 bytes spoils none that is already there.
[[gnu::target("avx2")]] __m256i pairs_from(int from, bool mirror) {
  alignas(16) std::int8_t bytes[16];
  std::memset(bytes, -1, sizeof bytes);  // gives 0
  for (int c = 0; c < 3; ++c)
    for (int t = 0; t < 2; ++t) bytes[4 * (c + (mirror ? 1 : 0)) + 2 * t] = static_cast<std::int8_t>(from + 3 * t + c);
  return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(bytes)));
}

// Two rows side by side.
[[gnu::target("avx2")]] void rows_rgb(const HorizontalPass& pass, int a, int b) {
  const __m256i first = pairs_from(0, pass.mirror), second = pairs_from(6, pass.mirror);
  // Copies: as far as the compiler knows, bytes that are written may be a part of `pass`.
  const std::uint8_t *const row_a = pass.in[a], *const row_b = pass.in[b];
  std::uint8_t *const to_a = pass.out[a], *const to_b = pass.out[b];
  const int columns = pass.columns;
  const int *first_tap = pass.taps->first.data(), *count = pass.taps->count.data();
  const std::ptrdiff_t row_packed = pass.taps->taps;  // 4 values a group of 4 taps
  const std::int32_t* row = pass.taps->packed.data();
  std::ptrdiff_t to = pass.mirror ? std::ptrdiff_t{3} * (columns - 1) - 1 : 0;
  const std::ptrdiff_t step = pass.mirror ? -3 : 3;
  for (int i = 0; i < columns; ++i, row += row_packed, to += step) {
    const std::uint8_t *in_a = row_a + std::ptrdiff_t{3} * first_tap[i], *in_b = row_b + std::ptrdiff_t{3} * first_tap[i];
    const std::int32_t* packed = row;
    Sums sums = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    for (int taps = count[i]; taps > 0; taps -= kTapGroup, packed += 4, in_a += 12, in_b += 12) {
      const __m256i pixels = load_rows(in_a, in_b);
      add(sums, _mm256_shuffle_epi8(pixels, first), packed);
      add(sums, _mm256_shuffle_epi8(pixels, second), packed + 2);
    }
    const __m256i words = _mm256_packus_epi32(rounded(sums), _mm256_setzero_si256());
    const __m256i bytes = _mm256_packus_epi16(words, words);
    const int out_a = _mm256_extract_epi32(bytes, 0), out_b = _mm256_extract_epi32(bytes, 4);
    std::memcpy(to_a + to, &out_a, 4);
    std::memcpy(to_b + to, &out_b, 4);
  }
}

void horizontal(const HorizontalPass& pass) {
  if (pass.channels != 3) return horizontal_portable(pass);
  rows_rgb(pass, 0, 1);
  rows_rgb(pass, 2, 3);
}

// 16 columns from x on.
[[gnu::target("avx2")]] inline void vertical_16(const VerticalPass& pass, int count, const std::int32_t* packed, std::ptrdiff_t x) {
  Sums left = {_mm256_setzero_si256(), _mm256_setzero_si256()}, right = left;
  for (int t = 0; t < count; t += 2, packed += 2) {
    const std::uint8_t* in = pass.in + t * pass.row_bytes + x;
    const std::uint8_t* next = t + 1 < count ? in + pass.row_bytes : in;  // the weight is 0
    const __m256i a = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in)));
    const __m256i b = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(next)));
    add(left, _mm256_unpacklo_epi16(a, b), packed);
    add(right, _mm256_unpackhi_epi16(a, b), packed);
  }
  const __m256i words = _mm256_packus_epi32(rounded(left), rounded(right));
  const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(words, words), 0b1000);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(pass.out + x), _mm256_castsi256_si128(bytes));
}

[[gnu::target("avx2")]] void vertical(const VerticalPass& pass) {
  if (pass.bytes < 16) return vertical_portable(pass);
  const auto at = static_cast<std::size_t>(pass.index);
  const std::int32_t* packed = pass.taps->packed.data() + at * static_cast<std::size_t>(pass.taps->taps);
  const int count = pass.taps->count[at];
  std::ptrdiff_t x = 0;
  for (; x + 16 <= pass.bytes; x += 16) vertical_16(pass, count, packed, x);
  if (x < pass.bytes) vertical_16(pass, count, packed, pass.bytes - 16);  // some columns once more
}

}  // namespace

constinit const ResizeKernels kAvx2ResizeKernels = {"AVX2", 4, pack, horizontal, vertical};

}  // namespace lockstep::detail
#endif
