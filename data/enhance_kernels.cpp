// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstddef>

#include "data/enhance.h"

// The bodies are plain loops that the compiler makes vectors of, once for each instruction set.
#define LS_BODY [[gnu::always_inline]] inline

namespace lockstep::detail {
namespace {

LS_BODY std::uint8_t blended(std::uint8_t degenerate, std::uint8_t image, float alpha) {
  const float base = degenerate;
  const float sum = base + alpha * static_cast<float>(image - degenerate);
  return static_cast<std::uint8_t>(static_cast<int>(std::min(std::max(sum, 0.0f), 255.0f)));
}

LS_BODY void blend_body(const std::uint8_t* __restrict degenerate, std::uint8_t* __restrict image, std::size_t count, float alpha) {
  for (std::size_t i = 0; i < count; ++i) image[i] = blended(degenerate[i], image[i], alpha);
}

LS_BODY void blend_constant_body(std::uint8_t degenerate, std::uint8_t* image, std::size_t count, float alpha) {
  for (std::size_t i = 0; i < count; ++i) image[i] = blended(degenerate, image[i], alpha);
}

// ITU-R 601-2 in 16-bit fixed point, rounded.
LS_BODY std::uint8_t luma_of(const std::uint8_t* rgb) {
  return static_cast<std::uint8_t>((rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u + 0x8000u) >> 16);
}

LS_BODY void luma_body(const std::uint8_t* __restrict rgb, std::uint8_t* __restrict out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) out[i] = luma_of(rgb + 3 * i);
}

LS_BODY void luma_rgb_body(const std::uint8_t* __restrict rgb, std::uint8_t* __restrict out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint8_t value = luma_of(rgb + 3 * i);
    for (std::size_t c = 0; c < 3; ++c) out[3 * i + c] = value;
  }
}

// The sum S of weights is 13, so the result is floor(S / 13 + 1/2) = floor((S + 6) / 13); S + 6 <= 3321, where multiplying
// by 5042 / 2^16 is the same as dividing by 13 (exact up to 6552). Pillow's float sum is never near enough to a whole number
// to differ: (2 S + 13) / 26 is at least 1/26 away from one.
LS_BODY void smooth_body(const std::uint8_t* __restrict above, const std::uint8_t* __restrict row, const std::uint8_t* __restrict below,
                         std::uint8_t* __restrict out, std::size_t count) {
  const auto three = [](const std::uint8_t* at) { return at[-3] + at[0] + at[3]; };
  for (std::size_t i = 0; i < count; ++i) {
    const auto sum = static_cast<std::uint16_t>(three(above + i) + three(row + i) + three(below + i) + 4 * row[i] + 6);
    out[i] = static_cast<std::uint8_t>((std::uint32_t{sum} * 5042u) >> 16);
  }
}

constexpr std::size_t kBlock = 64;  // pixels whose planes stay in the first-level cache

// Planes of a block, as numbers that the loops below compute with.
struct HueBlock {
  alignas(64) std::int32_t r[kBlock], g[kBlock], b[kBlock];
  alignas(64) std::int32_t hue[kBlock], saturation[kBlock], value[kBlock];
};

// By value: std::max chooses between addresses, of which the compiler makes no vectors either.
LS_BODY int larger(int a, int b) { return a > b ? a : b; }
LS_BODY int smaller(int a, int b) { return a < b ? a : b; }

// Pillow's RGB to HSV: floats where it has floats, doubles where C makes doubles of them. Grey is hue 0, saturation 0.
LS_BODY void to_hsv(HueBlock& block) {
  for (std::size_t i = 0; i < kBlock; ++i) {
    const int r = block.r[i], g = block.g[i], b = block.b[i];
    const int high = larger(r, larger(g, b)), range = high - smaller(r, smaller(g, b));
    const auto divisor = static_cast<float>(larger(range, 1));
    const float saturation = static_cast<float>(range) / static_cast<float>(larger(high, 1));
    const float rc = static_cast<float>(high - r) / divisor, gc = static_cast<float>(high - g) / divisor,
                bc = static_cast<float>(high - b) / divisor;
    const float of_red = bc - gc;
    const auto of_green = static_cast<float>(2.0 + rc - bc), of_blue = static_cast<float>(4.0 + gc - rc);
    // One of the three by products with 0 and 1, which are exact: the compiler makes no vectors of a choice between sums.
    const int is_red = r == high, is_green = (1 - is_red) & static_cast<int>(g == high), is_blue = 1 - is_red - is_green;
    const float sixths = of_red * static_cast<float>(is_red) + of_green * static_cast<float>(is_green) + of_blue * static_cast<float>(is_blue);
    const double turns = sixths / 6.0 + 1.0;  // in [5/6, 2); fmod by 1 takes off the whole number
    const auto hue = static_cast<float>(turns - static_cast<int>(turns));
    block.hue[i] = static_cast<int>(hue * 255.0) & -static_cast<int>(range != 0);
    block.saturation[i] = static_cast<int>(saturation * 255.0);
    block.value[i] = high;
  }
}

// x >= 0 and, with these operands, never the number just below a half: floor(x + 1/2) is C's round(x).
LS_BODY int rounded(double x) { return static_cast<int>(x + 0.5); }

// Back from HSV, with `turn` added to the hue modulo 256.
LS_BODY void from_hsv(HueBlock& block, int turn) {
  for (std::size_t i = 0; i < kBlock; ++i) {
    const int value = block.value[i];
    const int hue = (block.hue[i] + turn) & 255;
    const double place = static_cast<float>(hue) * 6.0 / 255.0;
    const int sector = static_cast<int>(place);  // 0 to 6
    const auto f = static_cast<float>(place - static_cast<float>(sector));
    const auto s = static_cast<float>(static_cast<float>(block.saturation[i]) / 255.0);
    const int p = rounded(value * (1.0 - s)), q = rounded(value * (1.0 - s * f)), t = rounded(value * (1.0 - s * (1.0 - f)));
    // All bits where the sector is k; the seventh is the first.
    const auto in = [sector](int k) { return -static_cast<int>(sector == k); };
    const int in_0 = in(0) | in(6);
    block.r[i] = ((in_0 | in(5)) & value) | (in(1) & q) | ((in(2) | in(3)) & p) | (in(4) & t);
    block.g[i] = ((in(1) | in(2)) & value) | (in(3) & q) | ((in(4) | in(5)) & p) | (in_0 & t);
    block.b[i] = ((in(3) | in(4)) & value) | (in(5) & q) | ((in_0 | in(1)) & p) | (in(2) & t);
  }
}

LS_BODY void turn_hue_body(std::uint8_t* rgb, std::size_t count, std::uint8_t turn) {
  HueBlock block = {};
  for (std::size_t begin = 0; begin < count; begin += kBlock) {
    const std::size_t n = std::min(kBlock, count - begin);
    std::uint8_t* at = rgb + 3 * begin;
    for (std::size_t i = 0; i < n; ++i) block.r[i] = at[3 * i], block.g[i] = at[3 * i + 1], block.b[i] = at[3 * i + 2];
    to_hsv(block);
    from_hsv(block, turn);
    for (std::size_t i = 0; i < n; ++i) {
      at[3 * i] = static_cast<std::uint8_t>(block.r[i]);
      at[3 * i + 1] = static_cast<std::uint8_t>(block.g[i]);
      at[3 * i + 2] = static_cast<std::uint8_t>(block.b[i]);
    }
  }
}

// One table of kernels, compiled with the attributes given.
#define LS_ENHANCE_KERNELS(NAME, ATTRIBUTES)                                                                                     \
  struct NAME {                                                                                                                  \
    ATTRIBUTES static void blend(const std::uint8_t* degenerate, std::uint8_t* image, std::size_t count, float alpha) {          \
      blend_body(degenerate, image, count, alpha);                                                                               \
    }                                                                                                                            \
    ATTRIBUTES static void blend_constant(std::uint8_t degenerate, std::uint8_t* image, std::size_t count, float alpha) {        \
      blend_constant_body(degenerate, image, count, alpha);                                                                      \
    }                                                                                                                            \
    ATTRIBUTES static void luma(const std::uint8_t* rgb, std::uint8_t* out, std::size_t count) { luma_body(rgb, out, count); }   \
    ATTRIBUTES static void luma_rgb(const std::uint8_t* rgb, std::uint8_t* out, std::size_t count) {                             \
      luma_rgb_body(rgb, out, count);                                                                                            \
    }                                                                                                                            \
    ATTRIBUTES static void turn_hue(std::uint8_t* rgb, std::size_t count, std::uint8_t turn) { turn_hue_body(rgb, count, turn); } \
    ATTRIBUTES static void smooth(const std::uint8_t* above, const std::uint8_t* row, const std::uint8_t* below,                 \
                                  std::uint8_t* out, std::size_t count) {                                                        \
      smooth_body(above, row, below, out, count);                                                                                \
    }                                                                                                                            \
    static constexpr EnhanceKernels kTable = {blend, blend_constant, luma, luma_rgb, turn_hue, smooth};                          \
  }

LS_ENHANCE_KERNELS(Portable, );
#if defined(__x86_64__)
LS_ENHANCE_KERNELS(Avx2, [[gnu::target("avx2")]]);
#endif

}  // namespace

const EnhanceKernels& portable_enhance_kernels() { return Portable::kTable; }

const EnhanceKernels& best_enhance_kernels() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return Avx2::kTable;
#endif
  return Portable::kTable;
}

}  // namespace lockstep::detail
