// TarWriter: a tar file (POSIX ustar; pax headers where a name needs one) whose bytes depend on its members alone: no time, no
// owner, mode 0644.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

// A new file under `path` + ".partial"; finish() syncs it and gives it its name, so that a file of that name is always whole.
// Without finish() the destructor removes it. Errors of the disk are EnvironmentError (kCantCreate, kIo).
class PartialFile {
 public:
  explicit PartialFile(std::string path);
  ~PartialFile();
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  void write(std::span<const std::uint8_t> bytes);
  void finish();

 private:
  std::string path_, partial_;
  int file_ = -1;
};

// Appends to a PartialFile.
class TarWriter {
 public:
  explicit TarWriter(std::string path);

  void add(std::string_view name, std::span<const std::uint8_t> bytes);  // a regular file; name: no leading slash
  std::int64_t nbytes() const { return nbytes_; }                        // so far, without the end marker
  static std::int64_t member_bytes(std::string_view name, std::int64_t size);  // what add() adds
  void finish();

 private:
  void header(std::string_view name, std::int64_t size, char type);
  void append(const void* data, std::size_t size);
  void pad();

  PartialFile file_;
  std::int64_t nbytes_ = 0;
  std::vector<std::uint8_t> buffer_;
};

// Writes a whole file in the same way: under a name of its own, synced, then renamed over what there was.
void write_whole_file(const std::string& path, std::span<const std::uint8_t> bytes);

}  // namespace lockstep
