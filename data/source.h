// Source: a set of labelled images, read by index. Everything that the loader knows about where samples come from.
//
// Images are uint8 in memory order (H, W, C), C = 1 (grey) or 3 (RGB; a synthetic set may have others). All const
// methods may be called from several threads at once. Errors are UserError (kData, kNoInput) and name the file.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/decode_jpeg_huffman.h"

namespace lockstep {

// Pixels that somebody else owns; rows are contiguous: row y begins at pixels + y * width * channels.
struct Image {
  const std::uint8_t* pixels = nullptr;
  int height = 0;
  int width = 0;
  int channels = 0;
};

// One thread's buffers for reading and decoding. They only grow, so that a warm thread allocates nothing.
struct ReadScratch {
  std::string path;
  std::vector<std::uint8_t> file;    // the bytes of an encoded image
  std::vector<std::uint8_t> pixels;  // the decoded image
  std::vector<std::uint8_t> row;     // one row in the file's own colours
  std::vector<std::uint8_t*> rows;   // pointers into pixels
  detail::JpegHuffmanPtr jpeg;       // made by the first JPEG
};

class Source {
 public:
  virtual ~Source() = default;
  virtual std::int64_t size() const = 0;  // images, >= 1
  virtual int classes() const = 0;
  virtual int label(std::int64_t index) const = 0;  // [0, classes())
  virtual int channels() const = 0;
  // The size that all images share; 0 where it differs from image to image.
  virtual int height() const = 0;
  virtual int width() const = 0;
  // The image, valid until the next read with the same scratch. Blocks on the disk for sets that are not in memory.
  virtual Image read(std::int64_t index, ReadScratch& scratch) const = 0;
  // Do images lie encoded (JPEG, PNG)? Then a caller may fetch the bytes and decode only what it needs (data/decode.h).
  virtual bool encoded() const { return false; }
  // The bytes of an encoded image, in scratch.file or in the source's own memory; valid as read()'s. Blocks on the disk.
  virtual std::span<const std::uint8_t> fetch(std::int64_t index, ReadScratch& scratch) const;
  // These will be read soon: starts to bring them into memory and does not wait. Never throws. -1 is ignored.
  virtual void will_read(std::span<const std::int64_t> indices) const { static_cast<void>(indices); }
  // Names of the classes in order; empty: they have none but their numbers.
  virtual std::span<const std::string> class_names() const { return {}; }
  virtual std::string name(std::int64_t index) const = 0;  // for messages: file and place in it
  virtual std::string describe() const = 0;                // one line for the banner
  // 32 hex digits of XXH3-128 over the manifest: kind, sizes, names or pixels, labels. Does not depend on where the
  // set lies, so that it can be compared between hosts and runs.
  virtual std::string digest() const = 0;
};

enum class SourceKind : std::uint8_t { kAuto, kIdx, kCifar10, kFolder, kSynthetic, kIlsvrc, kTar, kKaggle, kWebDataset };
enum class Split : std::uint8_t { kTrain, kEval };

struct SourceOptions {
  SourceKind kind = SourceKind::kAuto;  // kAuto looks at what lies in `path`
  std::string path;                     // a directory; unused by kSynthetic
  Split split = Split::kTrain;
  int classes = 0;  // labels must be below this; 0: what the data has (kSynthetic needs it)
  std::optional<std::string> index_cache;  // folder for indexes; empty: none is kept; absent: the user's cache folder
  // kSynthetic only:
  std::int64_t size = 0;
  int height = 0;
  int width = 0;
  int channels = 3;
  std::uint64_t seed = 0;
};

// Opens, checks and (IDX, CIFAR-10) loads the set.
std::unique_ptr<Source> open_source(const SourceOptions& options);

}  // namespace lockstep
