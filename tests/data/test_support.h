// What the data room's tests share: temporary folders, made-up files of every format, and checks of errors.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "core/error.h"
#include "data/source.h"

struct jpeg_compress_struct;

namespace lockstep::test {

using Bytes = std::vector<std::uint8_t>;

// A folder that disappears with its contents.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  // Writes a file, making the folders on the way; returns its path.
  std::string write(const std::string& name, const Bytes& bytes) const;

 private:
  std::string path_;
};

Bytes read_bytes(const std::string& path);
Bytes gzip(const Bytes& bytes);
Bytes pattern(std::uint32_t seed, std::size_t count);         // as in tests/golden/record_images.py
std::string fnv(const std::uint8_t* data, std::size_t size);  // FNV-1a, 64 bits, hex

// "" when `action` throws a UserError of this code whose message holds all of `parts`; otherwise what is wrong.
std::string not_the_user_error(const std::function<void()>& action, ExitCode code,
                               std::initializer_list<std::string> parts);

std::string source_dir();     // the project's root
std::string sample_images();  // a folder with train/ of real photos; empty when this machine has none

// IDX bytes: header and values.
Bytes idx(std::initializer_list<std::uint32_t> extents, const Bytes& values);
// `count` records with labels i % 10 and pixels by pattern(i).
Bytes cifar(std::int64_t count);

// (height, width, components) as a JPEG with libjpeg's defaults, but for what `tweak` sets before it begins; 1 component is grey,
// 3 are RGB, 4 CMYK.
Bytes jpeg_of(const Bytes& pixels, int height, int width, int components, const std::function<void(jpeg_compress_struct&)>& tweak);

enum class JpegKind : std::uint8_t { kYcc, kRgb, kGrey, kCmyk, kYcck, kProgressive, kArithmetic, kManyScans };
Bytes make_jpeg(JpegKind kind, int height, int width, std::uint32_t seed = 1);
// `colour` is a PNG_COLOR_TYPE_*, `depth` 8 or 16.
Bytes make_png(int colour, int depth, int height, int width, bool interlaced = false, std::uint32_t seed = 1);

// <dir>/<split>/c<k>/<i>.jpg: `classes` classes of `per_class` small JPEGs of different sizes.
void make_folder(const TempDir& dir, const std::string& split, int classes, int per_class);

}  // namespace lockstep::test
