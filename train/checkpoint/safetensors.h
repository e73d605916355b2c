// safetensors files (https://github.com/huggingface/safetensors), the weights' format that every framework reads:
// 8 bytes little-endian header length, JSON header, row-major tensors without holes.
// The reader checks the whole header against the file's size before anything is allocated; files may come from others.
// The writer lays tensors out and writes the header as the reference library does, byte for byte.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "train/checkpoint/file_io.h"
#include "train/checkpoint/state.h"

namespace lockstep {

// F64 F32 BF16 F16 U8 I32 I64; others are refused by name.
std::string_view safetensors_dtype(DType dtype);

Shape shape_from(std::span<const std::int64_t> extents);  // at most Shape::kMaxRank
std::vector<std::int64_t> extents_of(const Shape& shape);

struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::uint64_t offset = 0;  // of the first byte, from the start of the file
  std::uint64_t nbytes = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // in file order
  std::map<std::string, std::string> metadata;
  std::uint64_t file_nbytes = 0;
};

// Pure: `text` is the JSON header of a file of `file_nbytes` bytes. `where` names the file in errors (UserError, kData).
SafetensorsHeader parse_safetensors_header(std::string_view text, std::uint64_t file_nbytes, const std::string& where);

// Validates; no tensor is read. UserError: kNoInput when there is no file, kData when it is damaged or not understood.
class SafetensorsFile {
 public:
  SafetensorsFile(Fs& fs, const std::string& path);

  const SafetensorsHeader& header() const { return header_; }
  const SafetensorsEntry* find(std::string_view name) const;  // null when there is none
  const InputFile& file() const { return file_; }

  // Streams the tensor into `destination` (host memory, same shape and dtype: UserError kData otherwise) and returns the
  // hash of its row-major bytes.
  Hash128 read(const SafetensorsEntry& entry, const View& destination) const;
  Tensor read(const SafetensorsEntry& entry) const;

 private:
  InputFile file_;
  SafetensorsHeader header_;
};

struct SafetensorsWritten {
  std::uint64_t nbytes = 0;
  Hash128 hash;                            // of the whole file
  std::vector<SafetensorsEntry> entries;   // in file order
  std::vector<Hash128> hashes;             // of each entry's bytes
};

// A new file (fails when the name is taken), synced and closed. `tensors` are read once; rank 4 is turned to row-major
// in pieces. Names must be unique and not "__metadata__" (InternalError).
SafetensorsWritten write_safetensors(Fs& fs, const std::string& path, std::span<const NamedView> tensors,
                                     const std::map<std::string, std::string>& metadata);

}  // namespace lockstep
