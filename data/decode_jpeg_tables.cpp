// The look-up tables of JpegHuffman.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "data/decode_jpeg_bits.h"

namespace lockstep::detail {
namespace {

constexpr std::array<std::uint8_t, 192> natural_order() {
  std::array<std::uint8_t, 192> order{};
  order.fill(63);
  int row = 0, column = 0;
  for (std::size_t k = 0; k < 64; ++k) {
    order[k] = static_cast<std::uint8_t>(8 * row + column);
    const bool up = (row + column) % 2 == 0;
    if (up ? column == 7 : row != 7 && column == 0)
      ++row;
    else if (up ? row == 0 : row == 7)
      ++column;
    else
      row += up ? -1 : 1, column += up ? 1 : -1;
  }
  return order;
}

// A coefficient at the top of kLookBits bits, in the form of a PairTable's.
std::uint32_t single(std::uint32_t index, std::uint16_t code) {
  if (code == 0) return 0;
  const int length = code >> 8, run = (code >> 4) & 15, size = code & 15;
  const auto advance = static_cast<std::uint32_t>(size != 0 ? run + 1 : run == 15 ? 16 : kEndOfBlock) << 4;
  const int left = kLookBits - length - size;
  if (left < 0 || size > 7) return advance | static_cast<std::uint32_t>(length) << 16 | static_cast<std::uint32_t>(size) << 20;
  const int value = size == 0 ? 0 : extend((index >> left) & ((1u << size) - 1), size);
  const std::uint32_t byte = static_cast<std::uint8_t>(value);
  return static_cast<std::uint32_t>(length + size) | advance | byte << 16 | byte << 24;
}

}  // namespace

constinit const std::array<std::uint8_t, 192> kNaturalOrder = natural_order();

void HuffmanTable::build() {
  code.fill(0);
  std::uint32_t next_code = 0;
  int symbols = 0;
  for (int length = 1; length <= 16; ++length, next_code <<= 1) {
    const auto at = static_cast<std::size_t>(length);
    offset[at] = symbols - static_cast<std::int32_t>(next_code);
    for (int i = 0; i < bits[at]; ++i, ++next_code, ++symbols) {
      if (length > kLookBits) continue;
      const auto entry = static_cast<std::uint16_t>((length << 8) | values[static_cast<std::size_t>(symbols)]);
      std::fill_n(code.begin() + (next_code << (kLookBits - length)), 1 << (kLookBits - length), entry);
    }
    last_code[at] = bits[at] != 0 ? static_cast<std::int32_t>(next_code) - 1 : -1;
  }
}

void PairTable::build(const HuffmanTable& table) {
  std::array<std::uint32_t, 1 << kLookBits> singles;
  for (std::uint32_t index = 0; index < singles.size(); ++index) singles[index] = single(index, table.code[index]);
  for (std::uint32_t index = 0; index < singles.size(); ++index) {
    // The second is looked up by the bits behind the first and zeros: it counts only if it needs none of the zeros.
    const std::uint32_t first = singles[index], second = singles[(index << (first & 15)) % singles.size()];
    const std::uint32_t length = (first & 15) + (second & 15);
    const bool pair = (first & 15) != 0 && ((first >> 4) & 63) != kEndOfBlock && (second & 15) != 0 && length <= kLookBits;
    pairs[index] = pair ? length | (first & 0x3f0) | ((second & 0x3f0) << 6) | (first & 0xff0000) | (second & 0xff000000) : first;
  }
}

}  // namespace lockstep::detail
