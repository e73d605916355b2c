// Whole files on top of Fs: a writer that buffers, hashes, syncs and closes; a reader that never runs past the end; and
// the removal of our own folders.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "train/checkpoint/fs.h"
#include "train/checkpoint/hash.h"

namespace lockstep {

// A new file of a size known beforehand. Space is reserved first, so that a full disk is found before any byte is
// written. Without finish() the file is closed by the destructor and worthless.
class OutputFile {
 public:
  OutputFile(Fs& fs, std::string path, std::uint64_t nbytes);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void append(const void* data, std::size_t nbytes);
  Hash128 finish();  // writes the rest, fsync, close; returns the hash of the whole file

 private:
  void write_through(const void* data, std::size_t nbytes);
  void flush();

  Fs& fs_;
  std::string path_;
  std::uint64_t nbytes_;
  std::uint64_t appended_ = 0;
  int file_;
  std::vector<char> buffer_;
  Hasher hasher_;
};

class InputFile {
 public:
  InputFile(Fs& fs, std::string path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  InputFile(InputFile&& other) noexcept;

  std::uint64_t nbytes() const { return nbytes_; }
  const std::string& path() const { return path_; }
  void read(void* data, std::size_t nbytes, std::uint64_t offset) const;  // UserError(kData) past the end
  Hash128 hash(std::uint64_t offset, std::uint64_t nbytes) const;

 private:
  Fs* fs_;
  std::string path_;
  int file_;
  std::uint64_t nbytes_ = 0;
};

// A small file: written to `path`.tmp.<suffix>, synced, renamed over `path`, folder synced.
void replace_small_file(Fs& fs, const std::string& path, std::string_view text, const std::string& suffix);

// Throws UserError(kData) when it is larger than `limit` bytes.
std::string read_small_file(Fs& fs, const std::string& path, std::uint64_t limit);

// Removes a folder of plain files. A sub-folder is not ours: FsError.
void remove_flat_directory(Fs& fs, const std::string& path);

std::string join_path(const std::string& directory, const std::string& name);
std::string parent_path(const std::string& path);  // "." when there is none
std::string file_name(const std::string& path);    // the last component, trailing slashes ignored

}  // namespace lockstep
