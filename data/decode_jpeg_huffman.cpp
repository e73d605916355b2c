// SPDX-License-Identifier: Apache-2.0
#include "data/decode_jpeg_huffman.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>

#include <jpeglib.h>

#include <jerror.h>

// The interface between libjpeg's parts. It is not part of its API, but installed by Debian, and what is used of it has not
// changed since libjpeg 6b. Without it libjpeg decodes alone.
#if __has_include(<jpegint.h>) && defined(LIBJPEG_TURBO_VERSION_NUMBER)
#include "data/decode_jpeg_bits.h"
#include "data/files.h"

extern "C" {
#include <jpegint.h>
}

namespace lockstep::detail {
namespace {

constexpr int kMaxBlocks = D_MAX_BLOCKS_IN_MCU;
// Zeros behind the data: as much as an MCU can take, so that its end is checked for once per MCU. A coefficient takes at most
// 16 + 15 bits.
constexpr std::size_t kPadBytes = kMaxBlocks * DCTSIZE2 * 4 + 8;

}  // namespace

class JpegHuffman : public jpeg_entropy_decoder {
 public:
  void attach(jpeg_decompress_struct& info, unsigned first_column, unsigned last_column);

 private:
  struct Block {
    int component;
    BlockTables tables;
  };
  static boolean decode(j_decompress_ptr info, JBLOCKROW* blocks);
  bool start_interval(jpeg_decompress_struct& info);
  void read_segment(const std::uint8_t* from);
  template <bool kStore>
  bool decode_blocks(JBLOCKROW* blocks);

  std::array<HuffmanTable, NUM_HUFF_TBLS> dc_, ac_;
  std::array<PairTable, NUM_HUFF_TBLS> pairs_;  // of ac_
  std::array<Block, kMaxBlocks> blocks_;
  int block_count_ = 0;
  std::array<int, MAX_COMPS_IN_SCAN> last_dc_;
  std::vector<std::uint8_t> data_;           // of the restart interval, without stuffing; only grows
  std::size_t data_bytes_ = 0;               // the zeros behind not counted
  const std::uint8_t *marker_ = nullptr, *file_end_ = nullptr;  // the marker that ends the interval, or the end of the file
  BitReader bits_;
  unsigned column_ = 0, columns_ = 0, first_column_ = 0, last_column_ = 0;  // MCUs
  std::uint64_t mcus_left_ = 0;
  unsigned interval_ = 0, interval_left_ = 0;  // MCUs; 0: no restarts
  int next_restart_ = 0;
};

namespace {

// As libjpeg warns; the caller makes it an error by a jump.
boolean warn(jpeg_decompress_struct& info, int code) {
  info.err->msg_code = code;
  info.err->emit_message(reinterpret_cast<j_common_ptr>(&info), -1);
  return FALSE;
}

// True: the table is another than before.
bool update(HuffmanTable& table, const JHUFF_TBL& definition) {
  if (std::memcmp(table.bits.data(), definition.bits, table.bits.size()) == 0 &&
      std::memcmp(table.values.data(), definition.huffval, table.values.size()) == 0)
    return false;
  std::memcpy(table.bits.data(), definition.bits, table.bits.size());
  std::memcpy(table.values.data(), definition.huffval, table.values.size());
  table.build();
  return true;
}

}  // namespace

void JpegHuffman::attach(jpeg_decompress_struct& info, unsigned first_column, unsigned last_column) {
  block_count_ = info.blocks_in_MCU;
  for (int i = 0; i < block_count_; ++i) {
    const int component = info.MCU_membership[i];
    const jpeg_component_info& about = *info.cur_comp_info[component];
    const auto dc = static_cast<std::size_t>(about.dc_tbl_no), ac = static_cast<std::size_t>(about.ac_tbl_no);
    update(dc_[dc], *info.dc_huff_tbl_ptrs[dc]);
    if (update(ac_[ac], *info.ac_huff_tbl_ptrs[ac])) pairs_[ac].build(ac_[ac]);
    blocks_[static_cast<std::size_t>(i)] = {component, {&dc_[dc], &ac_[ac], &pairs_[ac]}};
  }
  column_ = 0;
  columns_ = info.MCUs_per_row;
  first_column_ = first_column;
  last_column_ = last_column;
  mcus_left_ = std::uint64_t{info.MCUs_per_row} * info.MCU_rows_in_scan;
  interval_ = interval_left_ = info.restart_interval;
  next_restart_ = 0;
  file_end_ = info.src->next_input_byte + info.src->bytes_in_buffer;
  grow(data_, info.src->bytes_in_buffer + kPadBytes);
  read_segment(info.src->next_input_byte);
  start_pass = nullptr;  // there is one pass, and libjpeg has begun it
  decode_mcu = decode;
  insufficient_data = FALSE;
  info.entropy = this;  // the old one lies in libjpeg's memory pool
}

// Copies up to the next marker: FF 00 stands for FF. FFs before a 00 or a marker are padding.
void JpegHuffman::read_segment(const std::uint8_t* from) {
  std::uint8_t* to = data_.data();
  marker_ = file_end_;
  while (from < file_end_) {
    const auto* found = static_cast<const std::uint8_t*>(std::memchr(from, 0xff, static_cast<std::size_t>(file_end_ - from)));
    const std::uint8_t* stop = found != nullptr ? found : file_end_;
    std::memcpy(to, from, static_cast<std::size_t>(stop - from));
    to += stop - from;
    while (stop < file_end_ && *stop == 0xff) ++stop;
    if (stop == file_end_) break;
    if (*stop != 0) {
      marker_ = stop - 1;
      break;
    }
    *to++ = 0xff;
    from = stop + 1;
  }
  data_bytes_ = static_cast<std::size_t>(to - data_.data());
  std::memset(to, 0, kPadBytes);
  bits_ = BitReader(data_.data());
  last_dc_.fill(0);
}

bool JpegHuffman::start_interval(jpeg_decompress_struct& info) {
  if (file_end_ - marker_ < 2 || marker_[1] != JPEG_RST0 + next_restart_) return warn(info, JWRN_HIT_MARKER);
  next_restart_ = (next_restart_ + 1) & 7;
  interval_left_ = interval_;
  read_segment(marker_ + 2);
  return true;
}

template <bool kStore>
bool JpegHuffman::decode_blocks(JBLOCKROW* blocks) {
  BitReader bits = bits_;  // in registers
  bool good = true;
  for (int i = 0; i < block_count_; ++i) {
    const Block& block = blocks_[static_cast<std::size_t>(i)];
    std::int16_t* to = nullptr;
    if constexpr (kStore) to = blocks[i][0];
    good = decode_block<kStore>(bits, block.tables, last_dc_[static_cast<std::size_t>(block.component)], to) && good;
  }
  bits_ = bits;
  return good;
}

// `blocks` null: the MCU is not wanted.
boolean JpegHuffman::decode(j_decompress_ptr info, JBLOCKROW* blocks) {
  auto& self = static_cast<JpegHuffman&>(*info->entropy);
  if (self.interval_ != 0 && self.interval_left_ == 0 && !self.start_interval(*info)) return FALSE;
  const bool wanted = blocks != nullptr && self.column_ >= self.first_column_ && self.column_ <= self.last_column_;
  const bool good = wanted ? self.decode_blocks<true>(blocks) : self.decode_blocks<false>(nullptr);
  if (!good) return warn(*info, JWRN_HUFF_BAD_CODE);
  if (self.bits_.consumed_bits(self.data_.data()) > 8 * static_cast<std::int64_t>(self.data_bytes_))
    return warn(*info, JWRN_HIT_MARKER);
  if (++self.column_ == self.columns_) self.column_ = 0;
  --self.interval_left_;
  if (--self.mcus_left_ == 0) {  // libjpeg reads on, at the marker
    info->src->next_input_byte = self.marker_;
    info->src->bytes_in_buffer = static_cast<std::size_t>(self.file_end_ - self.marker_);
  }
  return TRUE;
}

void JpegHuffmanDeleter::operator()(JpegHuffman* huffman) const { delete huffman; }

bool use_own_huffman(jpeg_decompress_struct& info, unsigned first_column, unsigned last_column, JpegHuffmanPtr& huffman) {
  if (info.arith_code || jpeg_has_multiple_scans(&info) != FALSE || info.data_precision != 8) return false;
  if (!huffman) huffman.reset(new JpegHuffman());
  huffman->attach(info, first_column, last_column);
  return true;
}

}  // namespace lockstep::detail

#else

namespace lockstep::detail {

class JpegHuffman {};
void JpegHuffmanDeleter::operator()(JpegHuffman* huffman) const { delete huffman; }
bool use_own_huffman(jpeg_decompress_struct&, unsigned, unsigned, JpegHuffmanPtr&) { return false; }

}  // namespace lockstep::detail

#endif
