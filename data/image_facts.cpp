// SPDX-License-Identifier: Apache-2.0
#include "data/image_facts.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace lockstep {
namespace {

using Bytes = std::span<const std::uint8_t>;

bool begins_with(Bytes bytes, std::string_view magic, std::size_t at = 0) {
  return bytes.size() >= at + magic.size() && std::memcmp(bytes.data() + at, magic.data(), magic.size()) == 0;
}

int big_endian_16(const std::uint8_t* p) { return p[0] << 8 | p[1]; }

std::uint32_t big_endian_32(const std::uint8_t* p) {
  return std::uint32_t{p[0]} << 24 | std::uint32_t{p[1]} << 16 | std::uint32_t{p[2]} << 8 | p[3];
}

constexpr std::string_view kPngMagic = "\x89PNG\r\n\x1a\n";

bool is_frame(int marker) { return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc; }

// Baseline, extended, progressive; the same with arithmetic coding. The others are lossless or hierarchical.
bool is_usual_frame(int marker) { return marker <= 0xc2 || marker == 0xc9 || marker == 0xca; }

bool has_length(int marker) { return marker != 0x01 && (marker < 0xd0 || marker > 0xd9); }

// The position after the next 0xff xx that is neither stuffing nor fill, or the end. `marker`: its xx.
std::size_t next_marker(Bytes bytes, std::size_t at, int& marker) {
  while (at < bytes.size()) {
    const auto* found = static_cast<const std::uint8_t*>(std::memchr(bytes.data() + at, 0xff, bytes.size() - at));
    if (found == nullptr) break;
    at = static_cast<std::size_t>(found - bytes.data());
    while (at < bytes.size() && bytes[at] == 0xff) ++at;
    if (at == bytes.size()) break;
    marker = bytes[at++];
    if (marker != 0) return at;
  }
  marker = 0;
  return bytes.size();
}

// Segments and entropy-coded data are walked alike: in both a marker is what follows 0xff.
ImageFacts jpeg_facts(Bytes bytes) {
  ImageFacts facts{.format = ImageFormat::kJpeg};
  int marker = 0;
  for (std::size_t at = next_marker(bytes, 2, marker); marker != 0; at = next_marker(bytes, at, marker)) {
    if (marker == 0xd9) {
      facts.ends = true;
      break;
    }
    if (!has_length(marker)) continue;
    if (at + 2 > bytes.size()) break;
    const auto length = static_cast<std::size_t>(big_endian_16(bytes.data() + at));
    if (at + length > bytes.size()) break;
    if (is_frame(marker) && facts.channels == 0 && length >= 8) {
      facts.bits = bytes[at + 2];
      facts.height = big_endian_16(bytes.data() + at + 3);
      facts.width = big_endian_16(bytes.data() + at + 5);
      facts.channels = bytes[at + 7];
      facts.usual = is_usual_frame(marker) && facts.bits == 8;
    }
    at += std::max<std::size_t>(length, 2);  // it counts itself; decoders take a lower number for that
  }
  return facts;
}

ImageFacts png_facts(Bytes bytes) {
  ImageFacts facts{.format = ImageFormat::kPng};
  std::size_t at = kPngMagic.size();
  while (at + 12 <= bytes.size()) {  // length, type, data, checksum
    const std::size_t length = big_endian_32(bytes.data() + at);
    if (length > bytes.size() - at - 12) break;
    if (begins_with(bytes, "IHDR", at + 4) && length >= 13 && facts.channels == 0) {
      const auto side = [&](std::size_t offset) {
        const std::uint32_t value = big_endian_32(bytes.data() + at + offset);
        return value > 0x7fffffff ? 0x7fffffff : static_cast<int>(value);
      };
      facts.width = side(8);
      facts.height = side(12);
      facts.bits = bytes[at + 16];
      facts.channels = (bytes[at + 17] & 2) != 0 ? 3 : 1;
    }
    if (begins_with(bytes, "IEND", at + 4)) {
      facts.ends = true;
      break;
    }
    at += 12 + length;
  }
  return facts;
}

}  // namespace

ImageFacts image_facts(Bytes bytes) {
  if (begins_with(bytes, "\xff\xd8\xff")) return jpeg_facts(bytes);
  if (begins_with(bytes, kPngMagic)) return png_facts(bytes);
  return {};
}

std::string_view guess_content(Bytes bytes) {
  if (begins_with(bytes, "GIF8")) return "a GIF";
  if (begins_with(bytes, "BM")) return "a BMP";
  if (begins_with(bytes, "RIFF") && begins_with(bytes, "WEBP", 8)) return "a WebP image";
  if (begins_with(bytes, "jP  ", 4)) return "a JPEG 2000 image";
  if (begins_with(bytes, "ftyp", 4)) return "an AVIF, HEIC or MP4 file";
  if (begins_with(bytes, {"II*\0", 4}) || begins_with(bytes, {"MM\0*", 4})) return "a TIFF";
  if (begins_with(bytes, "<!DO") || begins_with(bytes, "<!do") || begins_with(bytes, "<htm") || begins_with(bytes, "<HTM")) return "an HTML page";
  if (begins_with(bytes, "PK\x03\x04")) return "a ZIP archive";
  if (begins_with(bytes, "\x1f\x8b")) return "gzip data";
  return {};
}

}  // namespace lockstep
