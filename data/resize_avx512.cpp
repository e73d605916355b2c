// Resize kernels for AVX-512 with VNNI: weights in three signed bytes, four taps at a time multiplied and added by vpdpbusd.
// SPDX-License-Identifier: Apache-2.0
#include "data/resize_kernels.h"

#if defined(__x86_64__)
// GCC 12 takes the undefined upper halves inside its own intrinsics for uses of uninitialised variables.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cstring>

#define LOCKSTEP_AVX512 [[gnu::target("avx512f,avx512bw,avx512vl,avx512vnni")]]

namespace lockstep::detail {
namespace {

constexpr int kParts = 3;

// Three words of four bytes: w = part 0 + part 1 * 2^8 + part 2 * 2^16.
void pack(const std::int32_t* weights, std::int32_t* packed) {
  std::int8_t parts[kParts][kTapGroup];
  for (int t = 0; t < kTapGroup; ++t) {
    std::int32_t rest = weights[t];
    for (auto& part : parts) {
      part[t] = static_cast<std::int8_t>(rest);
      rest = (rest - part[t]) >> 8;
    }
  }
  std::memcpy(packed, parts, sizeof parts);
}

struct Sums {
  __m512i part[kParts];
};

LOCKSTEP_AVX512 inline Sums zeros() { return {{_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()}}; }

// `pixels`: in each 32 bits the four bytes that meet the four taps.
LOCKSTEP_AVX512 inline void add(Sums& sums, __m512i pixels, const std::int32_t* packed) {
  for (int i = 0; i < kParts; ++i) sums.part[i] = _mm512_dpbusd_epi32(sums.part[i], pixels, _mm512_set1_epi32(packed[i]));
}

// The rounded sums, of 32 bits.
LOCKSTEP_AVX512 inline __m512i rounded(const Sums& sums) {
  const __m512i upper = _mm512_add_epi32(sums.part[1], _mm512_slli_epi32(sums.part[2], 8));
  const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(sums.part[0], _mm512_slli_epi32(upper, 8)), _mm512_set1_epi32(kHalf));
  return _mm512_srai_epi32(sum, kPrecisionBits);
}

LOCKSTEP_AVX512 inline __m128i load(const std::uint8_t* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }

LOCKSTEP_AVX512 inline __m512i load_rows(const std::array<const std::uint8_t*, kRowGroup>& in, std::ptrdiff_t at) {
  const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(load(in[0] + at)), load(in[1] + at), 1);
  const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(load(in[2] + at)), load(in[3] + at), 1);
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

void store(std::uint8_t* to, int four_bytes) { std::memcpy(to, &four_bytes, sizeof four_bytes); }

// Four rows side by side. A lane's 16 bytes, of which 4 pixels are used, become 4 bytes for each of 3 channels; the unused fourth
// comes first for a mirrored row, so that writing 4 bytes spoils none that is already there.
LOCKSTEP_AVX512 void horizontal_rgb(const HorizontalPass& pass) {
  const __m128i plain = _mm_setr_epi8(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, -1, -1, -1, -1);
  const __m128i mirrored = _mm_setr_epi8(-1, -1, -1, -1, 0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11);
  const __m512i channels = _mm512_broadcast_i32x4(pass.mirror ? mirrored : plain);
  // Copies: as far as the compiler knows, bytes that are written may be a part of `pass`.
  const auto in = std::to_array(pass.in);
  const auto out = std::to_array(pass.out);
  const int columns = pass.columns;
  const int *first = pass.taps->first.data(), *count = pass.taps->count.data();
  const std::ptrdiff_t row_packed = std::ptrdiff_t{pass.taps->taps} / kTapGroup * kParts;
  const std::int32_t* row = pass.taps->packed.data();
  std::ptrdiff_t to = pass.mirror ? std::ptrdiff_t{3} * (pass.columns - 1) - 1 : 0;
  const std::ptrdiff_t step = pass.mirror ? -3 : 3;
  for (int i = 0; i < columns; ++i, row += row_packed, to += step) {
    const std::int32_t* packed = row;
    std::ptrdiff_t at = std::ptrdiff_t{3} * first[i];
    Sums sums = zeros();
    for (int taps = count[i]; taps > 0; taps -= kTapGroup, packed += kParts, at += 3 * kTapGroup)
      add(sums, _mm512_shuffle_epi8(load_rows(in, at), channels), packed);
    const __m128i bytes = _mm512_cvtusepi32_epi8(rounded(sums));
    store(out[0] + to, _mm_cvtsi128_si32(bytes));
    store(out[1] + to, _mm_extract_epi32(bytes, 1));
    store(out[2] + to, _mm_extract_epi32(bytes, 2));
    store(out[3] + to, _mm_extract_epi32(bytes, 3));
  }
}

void horizontal(const HorizontalPass& pass) {
  if (pass.channels != 3) return horizontal_portable(pass);
  horizontal_rgb(pass);
}

// Up to 64 columns from x on: those in `columns`. Interleaving and packing both work within lanes of 128 bits, so order returns.
LOCKSTEP_AVX512 inline void vertical_64(const VerticalPass& pass, int count, const std::int32_t* packed, std::ptrdiff_t x, __mmask64 columns) {
  Sums sums[4] = {zeros(), zeros(), zeros(), zeros()};
  for (int t = 0; t < count; t += kTapGroup, packed += kParts) {
    __m512i row[kTapGroup];
    for (int r = 0; r < kTapGroup; ++r)  // beyond the last the weights are 0
      row[r] = _mm512_maskz_loadu_epi8(columns, pass.in + std::min(t + r, count - 1) * pass.row_bytes + x);
    const __m512i ab_low = _mm512_unpacklo_epi8(row[0], row[1]), ab_high = _mm512_unpackhi_epi8(row[0], row[1]);
    const __m512i cd_low = _mm512_unpacklo_epi8(row[2], row[3]), cd_high = _mm512_unpackhi_epi8(row[2], row[3]);
    add(sums[0], _mm512_unpacklo_epi16(ab_low, cd_low), packed);
    add(sums[1], _mm512_unpackhi_epi16(ab_low, cd_low), packed);
    add(sums[2], _mm512_unpacklo_epi16(ab_high, cd_high), packed);
    add(sums[3], _mm512_unpackhi_epi16(ab_high, cd_high), packed);
  }
  const __m512i left = _mm512_packus_epi32(rounded(sums[0]), rounded(sums[1])), right = _mm512_packus_epi32(rounded(sums[2]), rounded(sums[3]));
  _mm512_mask_storeu_epi8(pass.out + x, columns, _mm512_packus_epi16(left, right));
}

LOCKSTEP_AVX512 void vertical(const VerticalPass& pass) {
  const auto at = static_cast<std::size_t>(pass.index);
  const std::int32_t* packed = pass.taps->packed.data() + at * static_cast<std::size_t>(pass.taps->taps / kTapGroup) * kParts;
  const int count = pass.taps->count[at];
  for (std::ptrdiff_t x = 0; x < pass.bytes; x += 64) {
    const std::ptrdiff_t left = pass.bytes - x;
    vertical_64(pass, count, packed, x, left >= 64 ? ~__mmask64{0} : (__mmask64{1} << left) - 1);
  }
}

}  // namespace

constinit const ResizeKernels kAvx512ResizeKernels = {"AVX-512 VNNI", kParts, pack, horizontal, vertical};

}  // namespace lockstep::detail
#endif
