// A 5x7 bitmap font, for captions on contact sheets. Small letters are drawn as capitals; what it does not know as a box.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

namespace lockstep {

inline constexpr int kGlyphHeight = 7, kGlyphWidth = 5;
inline constexpr int kGlyphAdvance = kGlyphWidth + 1;

// Rows from the top; bit 4 is the leftmost pixel.
const std::array<std::uint8_t, kGlyphHeight>& glyph_of(char character);

}  // namespace lockstep
