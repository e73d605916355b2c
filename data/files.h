// Files: reading whole files and gzip streams, and the one form of message for bad data.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

struct gzFile_s;

namespace lockstep {

// Throws UserError(kData): "FILE: WHAT: got GOT, want WANT. FIX".
[[noreturn]] void bad_data(std::string_view file, std::string_view what, std::string_view got, std::string_view want,
                           std::string_view fix);

// Throws UserError(kNoInput): "FILE: cannot be read: REASON. FIX".
[[noreturn]] void no_input(std::string_view file, std::string_view reason, std::string_view fix);

// Makes a buffer at least `size` long. Never shrinks it, so that a reused buffer stops allocating.
template <class T>
void grow(std::vector<T>& buffer, std::size_t size) {
  if (buffer.size() < size) buffer.resize(size);
}

// Reads a regular file of at most `max_bytes` to the front of `out` (grown, never shrunk) and returns its size. Blocks.
// Throws UserError (missing, not a file, too large) or EnvironmentError (kIo).
std::size_t read_file(const std::string& path, std::size_t max_bytes, std::vector<std::uint8_t>& out);

std::int64_t file_size(const std::string& path);  // throws like read_file

// Reads a file that may or may not be gzip-compressed, from front to back.
class GzReader {
 public:
  explicit GzReader(const std::string& path);
  ~GzReader();
  GzReader(const GzReader&) = delete;
  GzReader& operator=(const GzReader&) = delete;

  // Up to `size` bytes; fewer only at the end. Damage, or an end in the middle of a gzip stream, is a UserError(kData).
  std::size_t read(void* to, std::size_t size);
  bool compressed() const { return compressed_; }
  std::int64_t file_bytes() const { return file_bytes_; }  // on disk

 private:
  std::string path_;
  gzFile_s* file_ = nullptr;
  std::int64_t file_bytes_ = 0;
  bool compressed_ = false;
};

}  // namespace lockstep
