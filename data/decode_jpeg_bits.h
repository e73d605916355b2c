// The inner loops of JpegHuffman: a bit reader over data without stuffing, look-up tables, and one block of coefficients.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

namespace lockstep::detail {

inline constexpr int kLookBits = 11;     // of a look-up: 8 KiB of pairs, twice, still leave room in the first-level cache
inline constexpr int kEndOfBlock = 63;  // ends any block, as it reaches the last coefficient from everywhere

// Bits, the first at the top of `buffer`; below the `count` valid ones lie, unconsumed, more of the same data or zeros. May
// read 8 bytes beyond what is consumed.
class BitReader {
 public:
  BitReader() = default;
  explicit BitReader(const std::uint8_t* data) : next_(data) {}
  // 56 valid bits or more.
  void refill() {
    std::uint64_t eight;
    std::memcpy(&eight, next_, 8);
    if constexpr (std::endian::native == std::endian::little) eight = __builtin_bswap64(eight);
    buffer_ |= eight >> count_;
    next_ += (63 - count_) >> 3;
    count_ |= 56;
  }
  std::uint32_t peek(int bits) const { return static_cast<std::uint32_t>(buffer_ >> (64 - bits)); }  // bits: 1 to 32
  void drop(int bits) {
    buffer_ <<= bits;
    count_ -= bits;
  }
  std::int64_t consumed_bits(const std::uint8_t* begin) const { return 8 * (next_ - begin) - count_; }

 private:
  std::uint64_t buffer_ = 0;
  const std::uint8_t* next_ = nullptr;
  int count_ = 0;
};

// What a code means: (run of zeros, size of the value) for AC coefficients, size for DC ones (T.81, F.1.2).
struct HuffmanTable {
  std::array<std::uint8_t, 17> bits{};     // the definition: number of codes of each length,
  std::array<std::uint8_t, 256> values{};  // and their symbols
  std::array<std::uint16_t, 1 << kLookBits> code{};  // by the next bits: length << 8 | symbol of a code no longer than that; else 0
  std::array<std::int32_t, 17> last_code;            // the largest code of each length, or -1
  std::array<std::int32_t, 17> offset{};             // of a code's symbol: values[offset[length] + code]

  HuffmanTable() { last_code.fill(-1); }  // as build() makes of an empty definition, which a file may have
  void build();                           // from the definition, which libjpeg has checked
};

// Up to two AC coefficients by the next kLookBits, with their values:
//   bits 0-3: length of it all; 4-9 and 10-15: advances; 16-23 and 24-31: values.
// An advance is by how much the coefficient's index grows: 1 for no zeros before, kEndOfBlock for the end. A single coefficient
// is followed by an advance of 0 and its value again. One whose value reaches further than the look-up has a length of 0:
//   4-9: advance; 16-19: length of its code; 20-23: size of its value.
// 0: the code itself is longer.
struct PairTable {
  std::array<std::uint32_t, 1 << kLookBits> pairs{};

  void build(const HuffmanTable& table);
};

// T.81, F.2.2.1: what `size` bits mean, 0 to 15: those that begin with 0 are the negative values.
inline int extend(std::uint32_t bits, int size) {
  const int limit = 1 << size, value = static_cast<int>(bits);
  return 2 * value < limit ? value - limit + 1 : value;
}

// The same of the next bits, dropped; without a branch, as the sign is anyone's guess.
inline int take_value(BitReader& bits, int size) {
  const int negative = static_cast<int>(bits.peek(1)) - 1;  // all ones or 0
  const int value = static_cast<int>(bits.peek(32) >> 1 >> (31 - size)) + (negative & (1 - (1 << size)));
  bits.drop(size);
  return value;
}

// The next symbol, dropped; -1: no such code. Wants 16 bits.
inline int decode_symbol(BitReader& bits, const HuffmanTable& table) {
  if (const std::uint16_t found = table.code[bits.peek(kLookBits)]; found != 0) {
    bits.drop(found >> 8);
    return found & 0xff;
  }
  for (int length = kLookBits + 1; length <= 16; ++length) {
    const auto code = static_cast<std::int32_t>(bits.peek(length));
    if (code > table.last_code[static_cast<std::size_t>(length)]) continue;
    bits.drop(length);
    return table.values[static_cast<std::size_t>(table.offset[static_cast<std::size_t>(length)] + code) & 0xff];
  }
  return -1;
}

// From zigzag order to rows, in bytes of the block. What runs past 63 (ends of blocks, with a value of 0, and damaged data)
// goes to the last coefficient, as in libjpeg.
extern const std::array<std::uint8_t, 192> kNaturalOrder;

// The next AC coefficient by itself.
struct Single {
  BitReader bits;  // behind it. Passed by value: a reader whose address is known does not stay in registers
  int advance = 0, value = 0;
  bool good = false;  // false: no such code
};

[[gnu::noinline]] inline Single decode_single(BitReader bits, const HuffmanTable& ac) {  // wants 31 bits
  const int symbol = decode_symbol(bits, ac);
  if (symbol < 0) return {bits};
  const int run = symbol >> 4, size = symbol & 15;
  if (size == 0) return {bits, run == 15 ? 16 : kEndOfBlock, 0, true};
  const int value = take_value(bits, size);
  return {bits, run + 1, value, true};
}

struct BlockTables {
  const HuffmanTable *dc, *ac;
  const PairTable* pairs;  // of ac
};

inline bool decode_difference(BitReader& bits, const HuffmanTable& dc, int& difference) {
  bits.refill();
  int size = 0;
  if (const std::uint16_t found = dc.code[bits.peek(kLookBits)]; found != 0) [[likely]] {
    bits.drop(found >> 8);
    size = found & 15;  // libjpeg has refused larger ones
  } else {
    BitReader after = bits;
    size = decode_symbol(after, dc);
    bits = after;
  }
  if (size < 0) return false;
  difference = take_value(bits, size);
  return true;
}

// One block: `to` are its 64 coefficients, zeros before; untouched if !kStore. False: no such code.
template <bool kStore>
inline bool decode_block(BitReader& bits, const BlockTables& tables, int& last_dc, std::int16_t* to) {
  int difference = 0;
  if (!decode_difference(bits, *tables.dc, difference)) return false;
  last_dc = static_cast<int>(static_cast<unsigned>(last_dc) + static_cast<unsigned>(difference));
  if constexpr (kStore) to[0] = static_cast<std::int16_t>(last_dc);
  const auto store = [&](int k, int value) {
    if constexpr (kStore) to[kNaturalOrder[static_cast<std::size_t>(k)]] = static_cast<std::int16_t>(value);
  };
  for (int k = 0;;) {
    bits.refill();
    for (int looks = 0; looks < 3; ++looks) {  // two leave 56 - 2 * 11 bits, enough for any coefficient
      const std::uint32_t found = tables.pairs->pairs[bits.peek(kLookBits)];
      const int length = static_cast<int>(found & 15), first = k + static_cast<int>((found >> 4) & 63);
      const int second = first + static_cast<int>((found >> 10) & 63);
      if (length != 0 && (first < 63 || second == first)) [[likely]] {
        bits.drop(length);
        k = second;
        store(first, static_cast<std::int8_t>(found >> 16));
        store(second, static_cast<std::int8_t>(found >> 24));
        if (k >= 63) return true;
        continue;
      }
      if (length == 0 && found != 0) {
        bits.drop(static_cast<int>((found >> 16) & 15));
        const int size = static_cast<int>((found >> 20) & 15);
        k = first;
        store(k, take_value(bits, size));
      } else {  // a long code, or the second of the pair is another block's
        const Single next = decode_single(bits, *tables.ac);
        if (!next.good) return false;
        bits = next.bits;
        k += next.advance;
        store(k, next.value);
      }
      if (k >= 63) return true;
      break;
    }
  }
}

}  // namespace lockstep::detail
