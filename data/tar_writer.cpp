// SPDX-License-Identifier: Apache-2.0
#include "data/tar_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace lockstep {
namespace {

constexpr std::int64_t kBlock = 512;
constexpr std::size_t kBufferBytes = std::size_t{1} << 20;
constexpr std::int64_t kMaxOctalSize = (std::int64_t{1} << 33) - 1;  // 11 octal digits

std::int64_t rounded_up(std::int64_t size) { return (size + kBlock - 1) / kBlock * kBlock; }

struct Ustar {
  char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100], magic[6], version[2], user[32], group[32], major[8],
      minor[8], prefix[155], unused[12];
};
static_assert(sizeof(Ustar) == kBlock);

// The slash at which a long name is split into prefix and name; npos if none will do; 0 if the name fits as it is.
std::size_t split_point(std::string_view name) {
  if (name.size() <= sizeof Ustar::name) return 0;
  if (name.size() > sizeof Ustar::prefix + 1 + sizeof Ustar::name) return std::string_view::npos;
  const std::size_t slash = name.find('/', name.size() - sizeof Ustar::name - 1);
  return slash == std::string_view::npos || slash == 0 || slash > sizeof Ustar::prefix || slash + 1 == name.size() ? std::string_view::npos : slash;
}

// A pax record counts its own length: "30 path=...\n".
std::string pax_path(std::string_view name) {
  const std::size_t rest = name.size() + std::strlen(" path=\n");
  std::size_t length = rest + 1;
  while (rest + std::to_string(length).size() != length) ++length;
  return fmt::format("{} path={}\n", length, name);
}

// `digits` octal digits; what follows them in the field stays.
void octal(char* field, int digits, std::int64_t value) {
  for (int i = digits - 1; i >= 0; --i, value >>= 3) field[i] = static_cast<char>('0' + (value & 7));
}

}  // namespace

PartialFile::PartialFile(std::string path) : path_(std::move(path)), partial_(path_ + ".partial") {
  struct stat there = {};
  if (::stat(path_.c_str(), &there) == 0 && !S_ISREG(there.st_mode))  // a device would be replaced by a file
    throw UserError(path_ + ": it is there and not a regular file. Name another.", ExitCode::kCantCreate);
  file_ = ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file_ < 0) throw_errno("open", partial_, errno, ExitCode::kCantCreate);
}

PartialFile::~PartialFile() {
  if (file_ < 0) return;
  ::close(file_);
  ::unlink(partial_.c_str());
}

void PartialFile::write(std::span<const std::uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(file_, bytes.data(), bytes.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) throw_errno("write", partial_, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(wrote));
  }
}

void PartialFile::finish() {
  if (::fsync(file_) != 0) throw_errno("fsync", partial_, errno);
  if (::rename(partial_.c_str(), path_.c_str()) != 0) throw_errno("rename", partial_, errno);
  if (::close(std::exchange(file_, -1)) != 0) throw_errno("close", path_, errno);
}

TarWriter::TarWriter(std::string path) : file_(std::move(path)) { buffer_.reserve(kBufferBytes); }

std::int64_t TarWriter::member_bytes(std::string_view name, std::int64_t size) {
  const bool pax = split_point(name) == std::string_view::npos;
  return kBlock + rounded_up(size) + (pax ? kBlock + rounded_up(static_cast<std::int64_t>(pax_path(name).size())) : 0);
}

void TarWriter::add(std::string_view name, std::span<const std::uint8_t> bytes) {
  LS_CHECK(!name.empty() && name.front() != '/', std::string(name));
  if (split_point(name) == std::string_view::npos) {
    const std::string record = pax_path(name);
    header("pax_header", static_cast<std::int64_t>(record.size()), 'x');
    append(record.data(), record.size());
    pad();
  }
  header(name, static_cast<std::int64_t>(bytes.size()), '0');
  append(bytes.data(), bytes.size());
  pad();
}

void TarWriter::header(std::string_view name, std::int64_t size, char type) {
  LS_CHECK(size <= kMaxOctalSize, fmt::format("{}: {} bytes", name, size));
  Ustar block = {};
  const std::size_t slash = split_point(name);
  if (slash == std::string_view::npos)
    name = name.substr(0, sizeof block.name);  // the pax header before it has the whole name
  else if (slash > 0)
    name.copy(block.prefix, slash), name.remove_prefix(slash + 1);
  name.copy(block.name, sizeof block.name);
  octal(block.mode, sizeof block.mode - 1, 0644);
  octal(block.uid, sizeof block.uid - 1, 0);
  octal(block.gid, sizeof block.gid - 1, 0);
  octal(block.size, sizeof block.size - 1, size);
  octal(block.mtime, sizeof block.mtime - 1, 0);
  block.type = type;
  std::memcpy(block.magic, "ustar", 6);
  std::memcpy(block.version, "00", 2);
  octal(block.major, sizeof block.major - 1, 0);
  octal(block.minor, sizeof block.minor - 1, 0);
  std::memset(block.checksum, ' ', sizeof block.checksum);  // it is summed as spaces
  std::array<unsigned char, kBlock> bytes;
  std::memcpy(bytes.data(), &block, bytes.size());
  unsigned sum = 0;
  for (const unsigned char byte : bytes) sum += byte;
  octal(block.checksum, 6, sum);
  block.checksum[6] = '\0';
  append(&block, sizeof block);
}

void TarWriter::append(const void* data, std::size_t size) {
  const auto* from = static_cast<const std::uint8_t*>(data);
  buffer_.insert(buffer_.end(), from, from + size);
  nbytes_ += static_cast<std::int64_t>(size);
  if (buffer_.size() < kBufferBytes) return;
  file_.write(buffer_);
  buffer_.clear();
}

void TarWriter::pad() {
  static constexpr std::array<std::uint8_t, kBlock> kZeros{};
  append(kZeros.data(), static_cast<std::size_t>(rounded_up(nbytes_) - nbytes_));
}

void TarWriter::finish() {
  buffer_.insert(buffer_.end(), 2 * kBlock, 0);  // two empty blocks end a tar
  file_.write(buffer_);
  buffer_.clear();
  file_.finish();
}

void write_whole_file(const std::string& path, std::span<const std::uint8_t> bytes) {
  PartialFile file(path);
  file.write(bytes);
  file.finish();
}

}  // namespace lockstep
