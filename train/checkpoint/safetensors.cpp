// SPDX-License-Identifier: Apache-2.0
#include "train/checkpoint/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>
#include <numeric>

#include "train/checkpoint/row_major.h"

namespace lockstep {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors payloads are little-endian");

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kHeaderCapBytes = 100'000'000;  // the reference library's

std::string read_header(const InputFile& file) {
  if (file.nbytes() < kLengthBytes)
    throw UserError(file.path() + ": not a valid safetensors file: got " + std::to_string(file.nbytes()) +
                        " bytes, want at least 8", ExitCode::kData);
  std::uint64_t length = 0;
  file.read(&length, sizeof length, 0);
  if (length > kHeaderCapBytes || length > file.nbytes() - kLengthBytes)
    throw UserError(file.path() + ": not a valid safetensors file: the header claims " + std::to_string(length) +
                        " bytes, want at most 100 MB and no more than the file", ExitCode::kData);
  std::string text(static_cast<std::size_t>(length), '\0');
  file.read(text.data(), text.size(), kLengthBytes);
  return text;
}

// The reference library's order: by its list of dtypes from the widest down, then by name.
int layout_rank(DType dtype) {
  switch (dtype) {
    case DType::kI64: return 0;
    case DType::kF64: return 1;
    case DType::kF32: return 2;
    case DType::kI32: return 3;
    case DType::kBF16: return 4;
    case DType::kF16: return 5;
    case DType::kU8: return 6;
  }
  throw InternalError("safetensors: a dtype without a rank");
}

std::string quoted(const std::string& text) { return nlohmann::json(text).dump(); }

// Length and header, padded with spaces so that the tensors begin at a multiple of 8.
std::string header_bytes(const std::vector<SafetensorsEntry>& entries, const std::map<std::string, std::string>& metadata) {
  std::string json = "{";
  if (!metadata.empty()) json += "\"__metadata__\":" + nlohmann::json(metadata).dump();
  std::uint64_t begin = 0;
  for (const SafetensorsEntry& entry : entries) {
    json += fmt::format(R"({}{}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", json.size() > 1 ? "," : "",
                        quoted(entry.name), safetensors_dtype(entry.dtype), fmt::join(extents_of(entry.shape), ","), begin,
                        begin + entry.nbytes);
    begin += entry.nbytes;
  }
  json += "}";
  json.resize((json.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = json.size();
  LS_CHECK(length <= kHeaderCapBytes, "safetensors: a header of " + std::to_string(length) + " bytes");
  std::string bytes(kLengthBytes, '\0');
  for (std::size_t i = 0; i < kLengthBytes; ++i) bytes[i] = static_cast<char>(length >> (8 * i));
  return bytes + json;
}

// Indices of `tensors` in file order.
std::vector<std::size_t> layout(std::span<const NamedView> tensors) {
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const int left = layout_rank(tensors[a].view.dtype), right = layout_rank(tensors[b].view.dtype);
    return left != right ? left < right : tensors[a].name < tensors[b].name;
  });
  std::vector<std::string_view> names;
  for (const NamedView& tensor : tensors) names.push_back(tensor.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  LS_CHECK(twice == names.end(), "safetensors: two tensors are named " + std::string(*twice));
  LS_CHECK(!std::binary_search(names.begin(), names.end(), "__metadata__"), "safetensors: a tensor named __metadata__");
  return order;
}

}  // namespace

SafetensorsFile::SafetensorsFile(Fs& fs, const std::string& path)
    : file_(fs, path), header_(parse_safetensors_header(read_header(file_), file_.nbytes(), path)) {}

const SafetensorsEntry* SafetensorsFile::find(std::string_view name) const {
  const auto found = std::find_if(header_.entries.begin(), header_.entries.end(), [&](const auto& e) { return e.name == name; });
  return found == header_.entries.end() ? nullptr : &*found;
}

Hash128 SafetensorsFile::read(const SafetensorsEntry& entry, const View& destination) const {
  if (!(destination.shape == entry.shape) || destination.dtype != entry.dtype)
    throw UserError(file_.path() + ": tensor '" + entry.name + "': got " + entry.shape.str() + " " +
                        std::string(dtype_name(entry.dtype)) + ", want " + destination.shape.str() + " " +
                        std::string(dtype_name(destination.dtype)) + " (another model?)", ExitCode::kData);
  Hasher hasher;
  std::vector<std::byte> scratch;
  std::uint64_t offset = entry.offset;
  fill_from_row_major(destination, scratch, [&](void* bytes, std::size_t nbytes) {
    file_.read(bytes, nbytes, offset);
    hasher.update(bytes, nbytes);
    offset += nbytes;
  });
  return hasher.value();
}

Tensor SafetensorsFile::read(const SafetensorsEntry& entry) const {
  Tensor tensor = Tensor::empty(entry.shape, entry.dtype);
  read(entry, tensor);
  return tensor;
}

SafetensorsWritten write_safetensors(Fs& fs, const std::string& path, std::span<const NamedView> tensors,
                                     const std::map<std::string, std::string>& metadata) {
  SafetensorsWritten written;
  const std::vector<std::size_t> order = layout(tensors);
  for (const std::size_t i : order) {
    const ConstView& view = tensors[i].view;
    written.entries.push_back({tensors[i].name, view.dtype, view.shape, 0,
                               static_cast<std::uint64_t>(view.numel()) * dtype_size(view.dtype)});
  }
  const std::string header = header_bytes(written.entries, metadata);
  written.nbytes = header.size();
  for (SafetensorsEntry& entry : written.entries) {
    entry.offset = written.nbytes;
    written.nbytes += entry.nbytes;
  }
  OutputFile file(fs, path, written.nbytes);
  file.append(header.data(), header.size());
  Hasher hasher;
  std::vector<std::byte> scratch;
  for (const std::size_t i : order) {
    hasher.reset();
    for_each_row_major_piece(tensors[i].view, scratch, [&](const void* bytes, std::size_t nbytes) {
      hasher.update(bytes, nbytes);
      file.append(bytes, nbytes);
    });
    written.hashes.push_back(hasher.value());
  }
  written.hash = file.finish();
  return written;
}

}  // namespace lockstep
