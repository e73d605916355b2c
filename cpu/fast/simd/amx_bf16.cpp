// The kernels of amx_kernels.h: packing in AVX-512, products in tiles (TDPBF16PS: exact products, f32 sums in pixel order).
// Tiles 0-3 hold a 32 x 32 block of sums, 4 and 5 operand A, 6 and 7 operand B.
// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include <cstring>

#include "cpu/fast/simd/amx_kernels.h"

namespace lockstep::simd {
namespace {

struct alignas(64) TileConfig {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Static: GCC believes that the instruction reads 8 bytes of it and would drop the stores of a local one's others.
constexpr TileConfig kTiles;
void begin() { _tile_loadconfig(&kTiles); }
void end() { _tile_release(); }

// GCC's tile loads do not say that they read memory.
void memory_barrier() { asm volatile("" ::: "memory"); }

// A tile's row: one column (channel) of 32 pixels. Per 8 columns: 128-bit pieces of 8 pixels 8 apart become 8 vectors, and
// an 8 x 8 transposition inside each 128-bit lane makes them 8 columns of 32 pixels in order.
// The mask is for the last columns; without it the insertions read memory themselves.
template <bool kMasked>
void transpose_8(const std::uint16_t* const* rows, std::int64_t offset, __mmask8 mask, std::uint8_t* to) {
  __m512i v[8], t[8];
  for (int i = 0; i < 8; ++i) {
    const auto piece = [&](int lane) {
      const std::uint16_t* from = rows[8 * lane + i] + offset;
      if constexpr (kMasked) return _mm_maskz_loadu_epi16(mask, from);
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    };
    v[i] = _mm512_castsi128_si512(piece(0));
    v[i] = _mm512_inserti32x4(v[i], piece(1), 1);
    v[i] = _mm512_inserti32x4(v[i], piece(2), 2);
    v[i] = _mm512_inserti32x4(v[i], piece(3), 3);
  }
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm512_unpacklo_epi16(v[i], v[i + 1]);      // columns 0-3, pixels i, i+1
    t[i + 1] = _mm512_unpackhi_epi16(v[i], v[i + 1]);  // columns 4-7
  }
  for (int i = 0; i < 8; i += 4)
    for (int half = 0; half < 2; ++half) {
      v[i + 2 * half] = _mm512_unpacklo_epi32(t[i + half], t[i + 2 + half]);
      v[i + 2 * half + 1] = _mm512_unpackhi_epi32(t[i + half], t[i + 2 + half]);
    }
  for (int pair = 0; pair < 4; ++pair) {
    _mm512_store_si512(to + 128 * pair, _mm512_unpacklo_epi64(v[pair], v[pair + 4]));
    _mm512_store_si512(to + 128 * pair + 64, _mm512_unpackhi_epi64(v[pair], v[pair + 4]));
  }
}

void pack_a(const AmxSource& source, void* panel) {
  auto* to = static_cast<std::uint8_t*>(panel);
  for (std::int64_t step = 0; step < source.steps; ++step)
    for (std::int64_t column = 0; column < kAmxPanel; column += 8, to += 512) {
      const std::int64_t left = source.columns - column;
      const std::uint16_t* const* rows = source.rows + step * kAmxStep;
      if (left >= 8)
        transpose_8<false>(rows, source.offset + column, 0xff, to);
      else
        transpose_8<true>(rows, source.offset + (left > 0 ? column : 0), static_cast<__mmask8>(left > 0 ? (1 << left) - 1 : 0), to);
    }
}

// Pairs of pixels side by side. Interleaving inside 128-bit lanes puts columns 8l .. 8l+3 of lane l into the first tile and
// 8l+4 .. 8l+7 into the second: add_rows undoes it.
void pack_b(const AmxSource& source, void* panel) {
  const __mmask32 mask = source.columns >= 32 ? ~__mmask32{0} : (__mmask32{1} << source.columns) - 1;
  auto* to = static_cast<std::uint8_t*>(panel);
  const std::uint16_t* const* row = source.rows;
  for (std::int64_t step = 0; step < source.steps; ++step, to += kAmxPanelBytes)
    for (std::int64_t pair = 0; pair < 16; ++pair, row += 2) {
      const __m512i even = _mm512_maskz_loadu_epi16(mask, row[0] + source.offset);
      const __m512i odd = _mm512_maskz_loadu_epi16(mask, row[1] + source.offset);
      _mm512_store_si512(to + 64 * pair, _mm512_unpacklo_epi16(even, odd));
      _mm512_store_si512(to + 1024 + 64 * pair, _mm512_unpackhi_epi16(even, odd));
    }
}

void pack_rows(const AmxSource& source, void* panel) {
  auto* to = static_cast<std::uint8_t*>(panel);
  for (std::int64_t row = 0; row < kAmxPanel; ++row) {
    const std::uint16_t* from = source.rows[row] + source.offset;
    std::uint8_t* line = to + row * 64;
    std::int64_t left = source.columns;
    for (std::int64_t step = 0; step < source.steps; ++step, from += kAmxStep, line += kAmxPanelBytes, left -= kAmxStep) {
      const __mmask32 mask = left >= 32 ? ~__mmask32{0} : (__mmask32{1} << left) - 1;
      _mm512_store_si512(line, _mm512_maskz_loadu_epi16(mask, from));
    }
  }
}

// sums: rows of 2 x 16 floats, in pack_b's order.
void add_rows(const AmxBlock& block, const float* sums, std::int64_t first_row, std::int64_t rows) {
  const __m512i low = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
  const __m512i high = _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
  const std::uint32_t mask = block.columns >= 32 ? ~0u : (1u << block.columns) - 1;
  const auto mask0 = static_cast<__mmask16>(mask), mask1 = static_cast<__mmask16>(mask >> 16);
  for (std::int64_t r = 0; r < rows; ++r, sums += 32) {
    float* to = block.c + (first_row + r) * block.stride;
    const __m512 first = _mm512_load_ps(sums), second = _mm512_load_ps(sums + 16);
    __m512 left = _mm512_permutex2var_ps(first, low, second), right = _mm512_permutex2var_ps(first, high, second);
    if (block.accumulate) {
      left = _mm512_add_ps(left, _mm512_maskz_loadu_ps(mask0, to));
      right = _mm512_add_ps(right, _mm512_maskz_loadu_ps(mask1, to + 16));
    }
    _mm512_mask_storeu_ps(to, mask0, left);
    _mm512_mask_storeu_ps(to + 16, mask1, right);
  }
}

// Spreads the fetching of a block's rows over its steps. The caller's share is small: lines are asked for, not waited for.
class Prefetch {
 public:
  Prefetch(const AmxAhead& ahead, std::int64_t steps)
      : row_(ahead.rows), end_(ahead.rows + ahead.count), bytes_(ahead.bytes), per_step_((ahead.count + steps - 1) / steps) {}
  void step() {
    for (std::int64_t i = 0; i < per_step_ && row_ < end_; ++i, ++row_) {
      const auto* line = reinterpret_cast<const char*>(*row_);
      for (std::int64_t byte = 0; byte < bytes_; byte += 64) _mm_prefetch(line + byte, _MM_HINT_T1);
    }
  }

 private:
  const std::uint16_t* const* row_;
  const std::uint16_t* const* end_;
  std::int64_t bytes_, per_step_;
};

void multiply_16_rows(const AmxBlock& block, float* sums) {
  const auto *a = static_cast<const std::uint8_t*>(block.a), *b = static_cast<const std::uint8_t*>(block.b);
  _tile_zero(0);
  _tile_zero(1);
  Prefetch first(block.ahead[0], block.steps), second(block.ahead[1], block.steps);
  for (std::int64_t step = 0; step < block.steps; ++step, a += kAmxPanelBytes, b += kAmxPanelBytes) {
    first.step();
    second.step();
    _tile_loadd(4, a, 64);
    _tile_loadd(6, b, 64);
    _tile_loadd(7, b + 1024, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
  }
  _tile_stored(0, sums, 128);
  _tile_stored(1, sums + 16, 128);
}

void multiply_32_rows(const AmxBlock& block, float* sums) {
  const auto *a = static_cast<const std::uint8_t*>(block.a), *b = static_cast<const std::uint8_t*>(block.b);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  Prefetch first(block.ahead[0], block.steps), second(block.ahead[1], block.steps);
  for (std::int64_t step = 0; step < block.steps; ++step, a += kAmxPanelBytes, b += kAmxPanelBytes) {
    first.step();
    second.step();
    _tile_loadd(4, a, 64);
    _tile_loadd(6, b, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b + 1024, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, a + 1024, 64);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, sums, 128);
  _tile_stored(1, sums + 16, 128);
  _tile_stored(2, sums + 512, 128);
  _tile_stored(3, sums + 528, 128);
}

void multiply(const AmxBlock& block) {
  alignas(64) float sums[32 * 32];
  memory_barrier();
  if (block.rows <= 16)
    multiply_16_rows(block, sums);
  else
    multiply_32_rows(block, sums);
  memory_barrier();
  add_rows(block, sums, 0, block.rows);
}

// core/dtype.h's rounding.
__m256i rounded(__m512 value) {
  const __m512i bits = _mm512_castps_si512(value), high = _mm512_srli_epi32(bits, 16);
  const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
  const __m512i even = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const __mmask16 nan = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(even, nan, high, _mm512_set1_epi32(0x40)));
}

void round_rows(const AmxRound& work) {
  for (std::int64_t i = 0; i < work.count; ++i)
    for (std::int64_t j = 0; j < work.columns; j += 16) {
      const std::int64_t left = work.columns - j;
      const auto mask = static_cast<__mmask16>(left >= 16 ? 0xffff : (1 << left) - 1);
      std::uint16_t* to = work.rows[i] + j;
      __m512 value = _mm512_maskz_loadu_ps(mask, work.sums + i * work.stride + j);
      if (work.accumulate) {
        const __m512i before = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, to)), 16);
        value = _mm512_add_ps(value, _mm512_castsi512_ps(before));
      }
      _mm256_mask_storeu_epi16(to, mask, rounded(value));
    }
}

}  // namespace

extern const AmxKernels kAmxKernels;
const AmxKernels kAmxKernels{begin, end, pack_a, pack_b, pack_rows, multiply, round_rows};

}  // namespace lockstep::simd
