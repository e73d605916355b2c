// TarReader: walks the members of an uncompressed tar archive without extracting it.
//
// Understood: v7, ustar (prefix field), pax (path and size; global headers are ignored), GNU (long names, base-256 sizes). Every
// header's checksum is verified. Only regular files are reported: links, devices and folders are counted. Refused: sparse and
// multi-volume members (their bytes do not lie in one piece), compressed archives (they can't be read at random), and every
// kind of damage: UserError(kData) naming archive and offset. Nothing in a header is believed before it was compared with the
// archive's length, and no memory is asked for by a header beyond the limits below.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/random_access.h"

namespace lockstep {

inline constexpr std::size_t kMaxTarName = 4096;           // bytes
inline constexpr std::size_t kMaxPaxHeader = 64u << 10;    // bytes
inline constexpr std::int64_t kMaxTarMembers = 1 << 24;    // of all kinds

struct TarMember {
  std::string name;          // as stored, without a leading "./"; not empty
  std::uint64_t offset = 0;  // of its bytes, in the ByteRange
  std::uint64_t size = 0;
};

class TarReader {
 public:
  // `name` for messages: the archive, and the place in it for an inner one. Throws UserError(kData) for a compressed archive.
  TarReader(ByteRange archive, std::string name);

  // Goes to the next regular file. False at the end: two blocks of zeros, one as the archive's last, or the archive's end
  // where a header could begin. Throws UserError(kData). Blocks.
  bool next(TarMember& member);

  // The bytes of a member of this archive; `size` <= member.size.
  void read(const TarMember& member, void* to, std::size_t size);

  std::int64_t others() const { return others_; }  // members so far that are neither regular files nor folders
  const ByteRange& archive() const { return archive_; }
  const std::string& name() const { return name_; }

 private:
  static constexpr std::size_t kBlock = 512;
  using Block = std::array<std::uint8_t, kBlock>;
  struct Extensions {  // what precedes a member and speaks about it
    std::string name;
    std::optional<std::uint64_t> size;
  };
  [[noreturn]] void damaged(std::uint64_t at, const std::string& what) const;
  void refuse_compressed();
  bool next_header(Block& block);  // false at the end
  bool at_end(const Block& block);
  std::uint64_t member_size(const Block& block, const Extensions& extensions) const;
  void set_name(const Block& block, Extensions& extensions, std::string& name) const;
  std::string extension_text(std::uint64_t size, std::size_t limit, const char* what);
  void take_pax(const std::string& records, Extensions& extensions) const;
  void copy(std::uint64_t offset, void* to, std::size_t size);

  ByteRange archive_;
  std::string name_;
  std::uint64_t position_ = 0;  // of the next header
  std::uint64_t header_ = 0;    // of the current one
  std::int64_t members_ = 0;
  std::int64_t others_ = 0;
  // A page of the file: headers, long names and small files beside each other cost one read.
  std::vector<std::uint8_t> page_;
  std::uint64_t page_begin_ = 0;  // in the file
  std::size_t page_size_ = 0;
};

}  // namespace lockstep
