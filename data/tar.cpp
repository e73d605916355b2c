// SPDX-License-Identifier: Apache-2.0
#include "data/tar.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "core/error.h"
#include "data/files.h"

namespace lockstep {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::string_view kAgain = "Fetch the archive again and compare its checksum.";

struct Field {
  std::size_t begin, size;
};
constexpr Field kName{0, 100}, kSize{124, 12}, kChecksum{148, 8}, kPrefix{345, 155};
constexpr std::size_t kTypeAt = 156, kMagicAt = 257;

template <class Block>
std::string_view text_of(const Block& block, Field field) {
  const auto* begin = reinterpret_cast<const char*>(block.data() + field.begin);
  return {begin, ::strnlen(begin, field.size)};
}

// Octal digits between optional spaces, ended by space, NUL or the field's end; or base 256 with the top bit set. Nothing for
// anything else, negative numbers and what does not fit in 63 bits. An empty field is 0.
template <class Block>
std::optional<std::uint64_t> number(const Block& block, Field field) {
  const std::uint8_t* p = block.data() + field.begin;
  const std::uint8_t* end = p + field.size;
  std::uint64_t value = 0;
  if ((*p & 0x80) != 0) {
    if ((*p & 0x7f) != 0) return std::nullopt;  // negative, or far beyond 63 bits
    for (++p; p < end; ++p) {
      if (value >> 55 != 0) return std::nullopt;
      value = value << 8 | *p;
    }
    return value;
  }
  while (p < end && *p == ' ') ++p;
  for (; p < end && *p >= '0' && *p <= '7'; ++p) {
    if (value >> 60 != 0) return std::nullopt;
    value = value << 3 | (*p - '0');
  }
  for (; p < end; ++p)
    if (*p != ' ' && *p != 0) return std::nullopt;
  return value;
}

// The sum of all bytes, those of the checksum itself counted as spaces; some old writers took bytes as signed.
template <class Block>
bool checksum_holds(const Block& block) {
  std::uint64_t sum = 0, signed_sum = 0;
  for (std::size_t i = 0; i < block.size(); ++i) {
    const std::uint8_t byte = i >= kChecksum.begin && i < kChecksum.begin + kChecksum.size ? ' ' : block[i];
    sum += byte;
    signed_sum += static_cast<std::uint64_t>(static_cast<std::int64_t>(static_cast<std::int8_t>(byte)));
  }
  const std::optional<std::uint64_t> want = number(block, kChecksum);
  return want && (*want == sum || *want == signed_sum);
}

std::uint64_t padded(std::uint64_t size) { return (size + 511) / 512 * 512; }  // size < 2^63: no overflow

}  // namespace

TarReader::TarReader(ByteRange archive, std::string name) : archive_(std::move(archive)), name_(std::move(name)), page_(kPage) {
  refuse_compressed();
}

void TarReader::damaged(std::uint64_t at, const std::string& what) const {
  throw UserError(fmt::format("{}: damaged tar archive at byte {}: {}.\n{}", name_, at, what, kAgain), ExitCode::kData);
}

void TarReader::refuse_compressed() {
  struct Kind {
    std::string_view magic, name, tool;
  };
  using namespace std::string_view_literals;
  constexpr Kind kKinds[] = {{"\xfd" "7zXZ\0"sv, "xz", "xz -dk"}, {"\x1f\x8b"sv, "gzip", "gzip -dk"},
                             {"\x28\xb5\x2f\xfd"sv, "zstd", "zstd -dk"}, {"BZh"sv, "bzip2", "bzip2 -dk"}};
  char start[6] = {};
  copy(0, start, std::min<std::uint64_t>(sizeof start, archive_.size()));
  for (const Kind& kind : kKinds)
    if (std::string_view(start, sizeof start).starts_with(kind.magic) && archive_.size() >= kind.magic.size())
      throw UserError(fmt::format("{}: compressed with {}: such an archive can't be read at random.\nDecompress it once: {} {}", name_, kind.name,
                                  kind.tool, archive_.file().name()),
                      ExitCode::kData);
}

void TarReader::copy(std::uint64_t offset, void* to, std::size_t size) {
  const std::uint64_t begin = archive_.begin() + offset;
  if (size > kPage / 2) return archive_.file().read(begin, to, size);
  auto* out = static_cast<std::uint8_t*>(to);
  for (std::size_t done = 0; done < size;) {
    const std::uint64_t at = begin + done;
    if (at < page_begin_ || at >= page_begin_ + page_size_) {
      page_begin_ = at / kPage * kPage;
      page_size_ = static_cast<std::size_t>(std::min<std::uint64_t>(kPage, archive_.file().size() - page_begin_));
      archive_.file().read(page_begin_, page_.data(), page_size_);
    }
    const auto part = std::min<std::size_t>(size - done, static_cast<std::size_t>(page_begin_ + page_size_ - at));
    std::copy_n(page_.data() + (at - page_begin_), part, out + done);
    done += part;
  }
}

void TarReader::read(const TarMember& member, void* to, std::size_t size) {
  LS_CHECK(size <= member.size && member.offset <= archive_.size() && size <= archive_.size() - member.offset,
           fmt::format("{} of {} bytes at {}", size, member.size, member.offset));
  copy(member.offset, to, size);
}

bool TarReader::at_end(const Block& block) {
  const auto zero = [](const Block& b) { return std::all_of(b.begin(), b.end(), [](std::uint8_t byte) { return byte == 0; }); };
  if (!zero(block)) return false;
  Block second;
  if (archive_.size() - position_ < kBlock) return true;
  copy(position_, second.data(), kBlock);
  if (!zero(second)) damaged(header_, "a block of zeros in the middle");
  return true;
}

bool TarReader::next_header(Block& block) {
  const std::uint64_t left = archive_.size() - position_;
  if (left == 0) return false;
  if (left < kBlock) damaged(position_, fmt::format("it ends in the middle of a header: got {} bytes, want {}", left, kBlock));
  header_ = position_;
  copy(header_, block.data(), kBlock);
  position_ += kBlock;
  if (at_end(block)) return false;
  if (!checksum_holds(block)) damaged(header_, "what should be a header has a wrong checksum");
  if (++members_ > kMaxTarMembers) damaged(header_, fmt::format("more than {} members", kMaxTarMembers));
  return true;
}

std::uint64_t TarReader::member_size(const Block& block, const Extensions& extensions) const {
  const std::uint8_t type = block[kTypeAt];
  if (type >= '1' && type <= '6') return 0;  // links, devices, folders, pipes: no bytes follow, whatever the field says
  const std::optional<std::uint64_t> size = extensions.size ? extensions.size : number(block, kSize);
  if (!size) damaged(header_, "the size of the member is no number");
  const std::uint64_t left = archive_.size() - position_;
  if (*size > left || padded(*size) > left)
    damaged(header_, fmt::format("the archive is cut off: member \"{}\" has {} bytes, {} are left", text_of(block, kName), *size, left));
  return *size;
}

std::string TarReader::extension_text(std::uint64_t size, std::size_t limit, const char* what) {
  if (size > limit) damaged(header_, fmt::format("{}: got {} bytes, want at most {}", what, size, limit));
  std::string text(static_cast<std::size_t>(size), '\0');
  copy(position_, text.data(), text.size());
  return text;
}

// Records "LENGTH KEY=VALUE\n"; LENGTH counts the whole record.
void TarReader::take_pax(const std::string& records, Extensions& extensions) const {
  for (std::size_t at = 0; at < records.size();) {
    if (records[at] == '\0') break;  // padding by old writers
    std::size_t length = 0;
    const char* end = records.data() + records.size();
    const auto [after, failure] = std::from_chars(records.data() + at, end, length);
    const auto digits = static_cast<std::size_t>(after - records.data()) - at;
    if (failure != std::errc() || after == end || *after != ' ' || length < digits + 4 || length > records.size() - at ||
        records[at + length - 1] != '\n')
      damaged(header_, "a pax record that makes no sense");
    const std::string_view record = std::string_view(records).substr(at + digits + 1, length - digits - 2);
    const std::size_t equals = record.find('=');
    if (equals == std::string_view::npos) damaged(header_, "a pax record without '='");
    const std::string_view key = record.substr(0, equals), value = record.substr(equals + 1);
    if (key == "path") extensions.name = value;
    if (key == "size") {
      std::uint64_t size = 0;
      const auto [rest, bad] = std::from_chars(value.data(), value.data() + value.size(), size);
      if (bad != std::errc() || rest != value.data() + value.size() || size >> 63 != 0) damaged(header_, "a pax size that is no number");
      extensions.size = size;
    }
    if (key.starts_with("GNU.sparse.")) damaged(header_, "a sparse member: write the archive without --sparse");
    at += length;
  }
}

void TarReader::set_name(const Block& block, Extensions& extensions, std::string& name) const {
  if (!extensions.name.empty()) {
    name = std::move(extensions.name);
  } else {
    name.clear();
    const bool posix = std::memcmp(block.data() + kMagicAt, "ustar", 6) == 0;  // GNU: "ustar " and no prefix
    if (const std::string_view prefix = text_of(block, kPrefix); posix && !prefix.empty()) name.append(prefix).append("/");
    name += text_of(block, kName);
  }
  while (name.starts_with("./")) name.erase(0, 2);
  if (name.empty() || name.size() > kMaxTarName || name.find('\0') != std::string::npos)
    damaged(header_, fmt::format("a member's name: got {} bytes, want 1 to {} and no zero bytes", name.size(), kMaxTarName));
}

bool TarReader::next(TarMember& member) {
  Extensions extensions;
  Block block;
  while (next_header(block)) {
    const char type = static_cast<char>(block[kTypeAt]);
    const bool about_the_next = type == 'x' || type == 'L' || type == 'K' || type == 'g';
    const std::uint64_t size = member_size(block, about_the_next ? Extensions{} : extensions);
    const std::uint64_t data = position_;
    if (type == 'x') take_pax(extension_text(size, kMaxPaxHeader, "pax header"), extensions);
    if (type == 'L') {
      extensions.name = extension_text(size, kMaxTarName + 1, "long name");
      extensions.name.resize(::strnlen(extensions.name.data(), extensions.name.size()));
    }
    position_ = data + padded(size);
    if (about_the_next) continue;
    if (type == 'S' || type == 'M') damaged(header_, "a sparse or multi-volume member: write the archive without these options");
    if (type == '0' || type == '\0' || type == '7') {
      set_name(block, extensions, member.name);
      if (member.name.back() != '/') {  // v7 writes folders so
        member.offset = data;
        member.size = size;
        return true;
      }
    } else if (type != '5') {
      ++others_;
    }
    extensions = {};
  }
  if (!extensions.name.empty() || extensions.size) damaged(header_, "it ends after a header about a member that does not follow");
  return false;
}

}  // namespace lockstep
