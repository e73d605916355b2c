// SPDX-License-Identifier: Apache-2.0
#include "data/mat_file.h"

#include <fmt/format.h>
#include <zlib.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "core/error.h"
#include "data/limits.h"

namespace lockstep {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::size_t kHeader = 128;
constexpr std::size_t kMaxInflated = 64u << 20;
constexpr std::size_t kMaxFields = 256;  // of a struct; ImageNet's has 8
constexpr std::size_t kMaxRecords = 1u << 20;
enum Type : std::uint32_t { kInt8 = 1, kUint8, kInt16, kUint16, kInt32, kUint32, kSingle, kDouble = 9 };
enum WideType : std::uint32_t { kInt64 = 12, kUint64, kMatrix, kCompressed, kUtf8, kUtf16 };
enum Class : std::uint8_t { kStructClass = 2, kCharClass = 4 };

using Bytes = std::span<const std::uint8_t>;

struct Element {
  std::uint32_t type = 0;
  Bytes bytes;
};

class Reader {
 public:
  Reader(Bytes bytes, const std::string& name) : bytes_(bytes), name_(name) {}
  bool done() const { return bytes_.empty(); }

  [[noreturn]] void damaged(const std::string& what) const {
    throw UserError(fmt::format("{}: damaged MAT-file: {}.\nFetch ILSVRC2012_devkit_t12.tar.gz again (md5 fa75699e90414af021442c21a62c3abf).",
                                name_, what),
                    ExitCode::kData);
  }

  // Elements begin at multiples of 8; deflated ones are not padded. A small element has its length beside its type.
  Element next() {
    const auto first = value<std::uint32_t>(bytes_);
    const std::uint32_t small = first >> 16;
    if (small != 0) {
      if (small > 4 || bytes_.size() < 8) damaged("a small element that is cut off");
      const Element element{first & 0xffff, bytes_.subspan(4, small)};
      bytes_ = bytes_.subspan(8);
      return element;
    }
    if (bytes_.size() < 8) damaged("an element that is cut off");
    const auto size = value<std::uint32_t>(bytes_.subspan(4));
    if (size > bytes_.size() - 8) damaged(fmt::format("an element of {} bytes where {} are left", size, bytes_.size() - 8));
    const Element element{first, bytes_.subspan(8, size)};
    const std::size_t padded = first == kCompressed ? size : (std::size_t{size} + 7) / 8 * 8;
    bytes_ = bytes_.subspan(std::min(bytes_.size(), 8 + padded));
    return element;
  }
  Element next(std::uint32_t type, const char* what) {
    const Element element = next();
    if (element.type != type) damaged(fmt::format("{} has element type {}, want {}", what, element.type, type));
    return element;
  }
  template <class T>
  T value(Bytes from) const {
    T out;
    if (from.size() < sizeof out) damaged("a number that is cut off");
    std::memcpy(&out, from.data(), sizeof out);
    return out;
  }
  const std::string& name() const { return name_; }

 private:
  Bytes bytes_;
  const std::string& name_;
};

std::vector<std::uint8_t> inflate_element(Bytes packed, const Reader& reader) {
  const std::size_t limit = std::min<std::size_t>(kMaxInflated, packed.size() * static_cast<std::size_t>(kMaxDeflateRatio) + 64);
  z_stream stream = {};
  if (inflateInit(&stream) != Z_OK) throw std::bad_alloc();
  std::vector<std::uint8_t> out;
  stream.next_in = const_cast<std::uint8_t*>(packed.data());
  stream.avail_in = static_cast<unsigned>(packed.size());
  int code = Z_OK;
  while (code == Z_OK && out.size() < limit) {
    const std::size_t done = out.size();
    out.resize(std::min(limit, done + (std::size_t{1} << 18)));
    stream.next_out = out.data() + done;
    stream.avail_out = static_cast<unsigned>(out.size() - done);
    code = inflate(&stream, Z_NO_FLUSH);
    out.resize(out.size() - stream.avail_out);
  }
  inflateEnd(&stream);
  if (code != Z_STREAM_END) reader.damaged("a deflated element that is no whole zlib stream");
  return out;
}

// Characters: UTF-8, or 8- or 16-bit codes, of which those beyond ASCII become '?': wnids have none.
std::string text_of(const Element& element, const Reader& reader) {
  const bool wide = element.type == kUint16 || element.type == kUtf16;
  if (!wide) return {reinterpret_cast<const char*>(element.bytes.data()), element.bytes.size()};
  std::string text;
  for (std::size_t i = 0; i + 1 < element.bytes.size(); i += 2) {
    const auto code = reader.value<std::uint16_t>(element.bytes.subspan(i));
    text += code < 128 ? static_cast<char>(code) : '?';
  }
  return text;
}

template <class T>
std::int64_t whole(const Reader& reader, Bytes bytes) {
  const T value = reader.value<T>(bytes);
  if constexpr (std::is_floating_point_v<T>) {
    if (!(std::abs(value) < 1e15) || value != std::floor(value)) reader.damaged("a number that is not whole");
  }
  return static_cast<std::int64_t>(value);
}

std::int64_t number_of(const Element& element, const Reader& reader) {
  switch (element.type) {
    case kInt8: return whole<std::int8_t>(reader, element.bytes);
    case kUint8: return whole<std::uint8_t>(reader, element.bytes);
    case kInt16: return whole<std::int16_t>(reader, element.bytes);
    case kUint16: return whole<std::uint16_t>(reader, element.bytes);
    case kInt32: return whole<std::int32_t>(reader, element.bytes);
    case kUint32: return whole<std::uint32_t>(reader, element.bytes);
    case kInt64: return whole<std::int64_t>(reader, element.bytes);
    case kUint64: return whole<std::uint64_t>(reader, element.bytes);
    case kSingle: return whole<float>(reader, element.bytes);
    case kDouble: return whole<double>(reader, element.bytes);
    default: reader.damaged(fmt::format("a number of element type {}", element.type));
  }
}

struct MatrixHead {
  std::uint8_t kind = 0;
  std::size_t count = 0;  // product of the dimensions
  std::string name;
};

MatrixHead read_head(Reader& matrix) {
  MatrixHead head;
  const Element flags = matrix.next(kUint32, "an array's flags");
  head.kind = static_cast<std::uint8_t>(matrix.value<std::uint32_t>(flags.bytes) & 0xff);
  const Element extents = matrix.next(kInt32, "an array's dimensions");
  std::int64_t count = 1;
  for (std::size_t i = 0; i + 4 <= extents.bytes.size(); i += 4)
    count = checked_multiply(count, matrix.value<std::int32_t>(extents.bytes.subspan(i)));
  if (count < 0) matrix.damaged("dimensions that make no sense");
  head.count = static_cast<std::size_t>(count);
  head.name = text_of(matrix.next(kInt8, "an array's name"), matrix);
  return head;
}

// A field's value: text, or one number; all else is left out.
void read_field(const Element& element, const std::string& field, const std::string& file, MatRecord& record) {
  if (element.bytes.empty()) return;
  Reader matrix(element.bytes, file);
  const MatrixHead head = read_head(matrix);
  if (head.kind == kCharClass) record.texts[field] = head.count == 0 ? "" : text_of(matrix.next(), matrix);
  if (head.kind > 5 && head.kind < 16 && head.count == 1) record.numbers[field] = number_of(matrix.next(), matrix);  // 6 double .. 15 uint64
}

std::vector<MatRecord> read_structs(Reader& matrix, std::size_t count) {
  const Element width_element = matrix.next(kInt32, "the length of field names");
  const auto width = matrix.value<std::int32_t>(width_element.bytes);
  const std::string all = text_of(matrix.next(kInt8, "field names"), matrix);
  if (width < 1 || all.empty() || all.size() % static_cast<std::size_t>(width) != 0) matrix.damaged("field names that make no sense");
  if (all.size() / static_cast<std::size_t>(width) > kMaxFields) matrix.damaged(fmt::format("more than {} fields", kMaxFields));
  std::vector<std::string> fields;
  for (std::size_t at = 0; at < all.size(); at += static_cast<std::size_t>(width))
    fields.emplace_back(all.substr(at, static_cast<std::size_t>(width)).c_str());  // up to the first zero
  if (count > kMaxRecords) matrix.damaged(fmt::format("{} structs", count));
  std::vector<MatRecord> records;
  for (std::size_t i = 0; i < count; ++i) {
    MatRecord& record = records.emplace_back();
    for (const std::string& field : fields) read_field(matrix.next(kMatrix, "a field"), field, matrix.name(), record);
  }
  return records;
}

}  // namespace

std::vector<MatRecord> read_mat_structs(std::span<const std::uint8_t> file, const std::string& variable, const std::string& name) {
  Reader whole_file(file.subspan(std::min(file.size(), kHeader)), name);
  if (file.size() < kHeader || std::memcmp(file.data(), "MATLAB 5.0", 10) != 0 || file[126] != 'I' || file[127] != 'M')
    whole_file.damaged("it does not begin as a little-endian MAT-file of level 5");
  while (!whole_file.done()) {
    Element element = whole_file.next();
    std::vector<std::uint8_t> inflated;
    if (element.type == kCompressed) {
      inflated = inflate_element(element.bytes, whole_file);
      element = Reader(inflated, name).next();
    }
    if (element.type != kMatrix) continue;
    Reader matrix(element.bytes, name);
    const MatrixHead head = read_head(matrix);
    if (head.kind == kStructClass && head.name == variable) return read_structs(matrix, head.count);
  }
  return {};
}

}  // namespace lockstep
