// scan: reads and decodes every image of a data set once, on all cores, and lists what training would stumble over and what
// its owner should know.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/source.h"

namespace lockstep {

enum class ScanKind : std::uint8_t {
  // Unreadable: training needs a substitute for it.
  kEmpty,        // no bytes
  kNotAnImage,   // neither JPEG nor PNG
  kTruncated,    // its end is missing
  kTooLarge,     // over the limits of data/limits.h
  kUnsupported,  // lossless, hierarchical or 12-bit JPEG
  kCorrupt,      // everything else that does not decode
  kUnavailable,  // the bytes can't be had: gone, not permitted, I/O error
  // Notes: they decode.
  kDisguised,  // its name says another format
  kCmyk,
  kGrey,
  kTiny,       // a side below kTinySide
  kHuge,       // more than kHugePixels
  kDuplicate,  // the same bytes as an earlier image of its split
  kLeak,       // the same bytes as an image of another split
};
inline constexpr int kScanKinds = 14;
inline constexpr int kTinySide = 32;
inline constexpr std::int64_t kHugePixels = std::int64_t{1} << 24;

std::string_view scan_kind_name(ScanKind kind);  // "truncated"
constexpr bool is_unreadable(ScanKind kind) { return kind <= ScanKind::kUnavailable; }

struct ScanFinding {
  ScanKind kind = ScanKind::kCorrupt;
  int split = 0;  // which of the scanned sources
  std::int64_t index = 0;
  int height = 0, width = 0;                    // where the note is about the size
  std::int64_t other_index = 0;                 // kDuplicate, kLeak: the image that it repeats
  int other_split = 0;
  std::string reason;                           // unreadable ones: one line, without the name
};

struct ScanReport {
  std::int64_t images = 0, bytes = 0;            // bytes as stored (of decoded pixels where they aren't encoded)
  std::array<std::int64_t, kScanKinds> counts{};  // by ScanKind
  std::vector<ScanFinding> findings;             // by split, index, kind: the same at any number of threads
  std::int64_t unreadable() const;
};

struct ScanOptions {
  int threads = 0;  // 0: all processors
  std::function<void(std::int64_t done, std::int64_t images)> progress;  // called a few times a second from the calling thread
};

// Blocks until all is read. Memory: 20 bytes an image, and the findings. Throws only what is not about single images.
ScanReport scan(std::span<const Source* const> splits, const ScanOptions& options);

// A finding in words: "grey", "same bytes as <name>", "truncated: Premature end of JPEG file".
std::string describe(const ScanFinding& finding, std::span<const Source* const> splits);

}  // namespace lockstep
