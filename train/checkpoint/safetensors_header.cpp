// Parsing of the JSON header, as a stream of events: no tree is built, a repeated key is seen, nesting is bounded by the
// grammar ({name: {dtype, shape: [..], data_offsets: [..]}}).
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "train/checkpoint/safetensors.h"

namespace lockstep {
namespace {

constexpr std::array<std::pair<std::string_view, DType>, 7> kDTypes = {{{"F64", DType::kF64}, {"F32", DType::kF32},
    {"BF16", DType::kBF16}, {"F16", DType::kF16}, {"U8", DType::kU8}, {"I32", DType::kI32}, {"I64", DType::kI64}}};

struct RawEntry {
  std::string name;
  std::string dtype;
  std::vector<std::uint64_t> shape;
  std::vector<std::uint64_t> offsets;
  bool has_dtype = false, has_shape = false, has_offsets = false;
};

// One call per JSON token; returning false ends the parse with `error` set.
class HeaderEvents final : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::vector<RawEntry> entries;
  std::map<std::string, std::string> metadata;
  std::string error;

  bool null() override { return fail("null"); }
  bool boolean(bool) override { return fail("true or false"); }
  bool number_integer(number_integer_t) override { return fail("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { return fail("a fraction or a number of more than 64 bits"); }
  bool binary(binary_t&) override { return fail("binary data"); }
  bool number_unsigned(number_unsigned_t value) override {
    if (list_ == nullptr) return fail("a number");
    if (list_->size() == kLongestList) return fail("a list of more than " + std::to_string(kLongestList) + " numbers");
    list_->push_back(value);
    return true;
  }
  bool string(string_t& value) override {
    if (level_ != 2 || list_ != nullptr || want_list_ != nullptr) return fail("a string");
    if (in_metadata_) {
      metadata[key_] = value;
    } else if (key_ == "dtype") {
      entries.back().dtype = value;
      entries.back().has_dtype = true;
    } else {
      return fail("a string for " + key_);
    }
    return true;
  }
  bool start_object(std::size_t) override {
    if (level_ == 2) return fail("an object inside an entry");
    if (level_ == 0) return level_ = 1, true;
    level_ = 2;
    in_metadata_ = name_ == "__metadata__";
    keys_.clear();
    if (!in_metadata_) {
      entries.emplace_back();
      entries.back().name = name_;
    }
    return true;
  }
  bool key(string_t& value) override {
    if (level_ == 1) {
      name_ = value;
      return names_.insert(value).second || (error = "the name '" + value + "' appears twice", false);
    }
    key_ = value;
    if (!keys_.insert(value).second) return error = "'" + name_ + "' has the key '" + value + "' twice", false;
    if (in_metadata_) return true;
    RawEntry& entry = entries.back();
    want_list_ = value == "shape" ? &entry.shape : value == "data_offsets" ? &entry.offsets : nullptr;
    if (want_list_ == nullptr && value != "dtype") return error = "'" + name_ + "' has the unknown key '" + value + "'", false;
    return true;
  }
  bool end_object() override {
    if (level_ == 2 && !in_metadata_) {
      const RawEntry& entry = entries.back();
      if (!entry.has_dtype || !entry.has_shape || !entry.has_offsets)
        return error = "'" + name_ + "' lacks dtype, shape or data_offsets", false;
    }
    --level_;
    return true;
  }
  bool start_array(std::size_t) override {
    if (want_list_ == nullptr || list_ != nullptr) return fail("a list");
    list_ = std::exchange(want_list_, nullptr);
    (list_ == &entries.back().shape ? entries.back().has_shape : entries.back().has_offsets) = true;
    return true;
  }
  bool end_array() override {
    list_ = nullptr;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    error = "not JSON (or not UTF-8) at byte " + std::to_string(position);
    return false;
  }

 private:
  static constexpr std::size_t kLongestList = 32;

  bool fail(const std::string& what) {
    error = (name_.empty() ? std::string("the header") : "'" + name_ + "'") + " holds " + what +
            ", want {dtype: string, shape: [counts], data_offsets: [begin, end]}";
    return false;
  }

  int level_ = 0;
  bool in_metadata_ = false;
  std::string name_, key_;
  std::set<std::string> names_, keys_;
  std::vector<std::uint64_t>* want_list_ = nullptr;  // a list must come next and goes here
  std::vector<std::uint64_t>* list_ = nullptr;       // numbers go here
};

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw UserError(where + ": not a valid safetensors file: " + what, ExitCode::kData);
}

DType dtype_of(const RawEntry& entry, const std::string& where) {
  for (const auto& [name, dtype] : kDTypes)
    if (name == entry.dtype) return dtype;
  refuse(where, "tensor '" + entry.name + "' has dtype " + entry.dtype + ", want one of F64 F32 BF16 F16 U8 I32 I64");
}

// Shape, and its bytes against data_offsets, with every product and sum checked.
SafetensorsEntry checked_entry(const RawEntry& raw, std::uint64_t data_begin, const std::string& where) {
  SafetensorsEntry entry;
  entry.name = raw.name;
  entry.dtype = dtype_of(raw, where);
  if (raw.shape.size() > static_cast<std::size_t>(Shape::kMaxRank))
    refuse(where, "tensor '" + raw.name + "' has " + std::to_string(raw.shape.size()) + " dimensions, want at most 5");
  std::vector<std::int64_t> extents;
  std::uint64_t nbytes = dtype_size(entry.dtype);
  for (const std::uint64_t extent : raw.shape) {
    if (extent > INT64_MAX || __builtin_mul_overflow(nbytes, extent, &nbytes))
      refuse(where, "tensor '" + raw.name + "': the size of its shape exceeds 2^64 bytes");
    extents.push_back(static_cast<std::int64_t>(extent));
  }
  entry.shape = shape_from(extents);
  if (raw.offsets.size() != 2 || raw.offsets[1] < raw.offsets[0] || raw.offsets[1] - raw.offsets[0] != nbytes)
    refuse(where, "tensor '" + raw.name + "': data_offsets don't span the " + std::to_string(nbytes) + " bytes of its shape and dtype");
  entry.nbytes = nbytes;
  if (__builtin_add_overflow(data_begin, raw.offsets[0], &entry.offset))
    refuse(where, "tensor '" + raw.name + "': data_offsets exceed 2^64");
  return entry;
}

}  // namespace

std::string_view safetensors_dtype(DType dtype) {
  for (const auto& [name, known] : kDTypes)
    if (known == dtype) return name;
  throw InternalError("safetensors: a dtype without a name");
}

Shape shape_from(std::span<const std::int64_t> extents) {
  LS_CHECK(extents.size() <= static_cast<std::size_t>(Shape::kMaxRank), "shape_from: " + std::to_string(extents.size()) + " extents");
  const auto e = [&](std::size_t i) { return extents[i]; };
  switch (extents.size()) {
    case 0: return {};
    case 1: return {e(0)};
    case 2: return {e(0), e(1)};
    case 3: return {e(0), e(1), e(2)};
    case 4: return {e(0), e(1), e(2), e(3)};
    default: return {e(0), e(1), e(2), e(3), e(4)};
  }
}

std::vector<std::int64_t> extents_of(const Shape& shape) {
  std::vector<std::int64_t> extents;
  for (int axis = 0; axis < shape.rank(); ++axis) extents.push_back(shape[axis]);
  return extents;
}

SafetensorsHeader parse_safetensors_header(std::string_view text, std::uint64_t file_nbytes, const std::string& where) {
  if (text.empty() || text[0] != '{') refuse(where, "the header doesn't begin with {");
  HeaderEvents events;
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &events)) refuse(where, events.error);
  SafetensorsHeader header;
  header.metadata = std::move(events.metadata);
  header.file_nbytes = file_nbytes;
  const std::uint64_t data_begin = 8 + text.size();
  for (const RawEntry& raw : events.entries) header.entries.push_back(checked_entry(raw, data_begin, where));
  std::sort(header.entries.begin(), header.entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::pair(a.offset, a.nbytes) < std::pair(b.offset, b.nbytes);
  });
  std::uint64_t next = data_begin;
  for (const SafetensorsEntry& entry : header.entries) {
    if (entry.offset != next)
      refuse(where, "tensor '" + entry.name + "' begins at byte " + std::to_string(entry.offset) + ", want " +
                        std::to_string(next) + " (hole or overlap)");
    if (__builtin_add_overflow(next, entry.nbytes, &next)) refuse(where, "tensor '" + entry.name + "' ends beyond 2^64");
  }
  if (next != file_nbytes)
    refuse(where, "the tensors end at byte " + std::to_string(next) + " but the file has " + std::to_string(file_nbytes) +
                      " bytes (truncated, or not complete)");
  return header;
}

}  // namespace lockstep
