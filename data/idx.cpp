// SPDX-License-Identifier: Apache-2.0
#include "data/idx.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "core/error.h"
#include "data/files.h"
#include "data/limits.h"
#include "data/memory_source.h"

namespace lockstep {
namespace {

constexpr std::string_view kFix =
    "Fetch the file again; for Fashion-MNIST: apt-get install --reinstall dataset-fashion-mnist";

std::vector<std::string> conventional_names(Split split, bool images) {
  const std::string_view set = split == Split::kTrain ? "train" : "t10k";
  const std::string_view what = images ? "images" : "labels";
  const int rank = images ? 3 : 1;
  std::vector<std::string> names;
  for (const std::string_view joint : {"-", "."})
    for (const std::string_view suffix : {"", ".gz"})
      names.push_back(fmt::format("{}-{}{}idx{}-ubyte{}", set, what, joint, rank, suffix));
  return names;
}

std::string find(const std::string& directory, Split split, bool images) {
  for (const std::string& name : conventional_names(split, images)) {
    const auto path = std::filesystem::path(directory) / name;
    std::error_code ignored;
    if (std::filesystem::exists(path, ignored)) return path.string();
  }
  return {};
}

std::string find_or_throw(const std::string& directory, Split split, bool images) {
  const std::string path = find(directory, split, images);
  if (path.empty())
    throw UserError(
        fmt::format("{}: no IDX {} file here. Looked for {}.\nFor Fashion-MNIST: apt-get install dataset-fashion-mnist "
                    "(it installs /usr/share/datasets/fashion-mnist)",
                    directory, images ? "image" : "label", fmt::join(conventional_names(split, images), ", ")),
        ExitCode::kNoInput);
  return path;
}

struct IdxArray {
  std::vector<std::int64_t> extents;
  std::vector<std::uint8_t> values;
  std::size_t header_bytes = 0;
};

std::uint32_t big_endian(const std::uint8_t* p) {
  return std::uint32_t{p[0]} << 24 | std::uint32_t{p[1]} << 16 | std::uint32_t{p[2]} << 8 | p[3];
}

// Magic and extents. Returns the extents; their number is the rank.
std::vector<std::int64_t> read_header(GzReader& reader, const std::string& path, int min_rank, int max_rank) {
  std::array<std::uint8_t, 4> magic{};
  const std::size_t got = reader.read(magic.data(), magic.size());
  if (got < magic.size()) bad_data(path, "file ends inside the magic number", fmt::format("{} bytes", got), "4", kFix);
  const int rank = magic[3];
  if (magic[0] != 0 || magic[1] != 0 || magic[2] != 8 || rank < min_rank || rank > max_rank)
    bad_data(path, "magic number at offset 0", fmt::format("{:02x}", fmt::join(magic, " ")),
             fmt::format("00 00 08 (u8) and rank {}", min_rank == max_rank
                                                          ? fmt::format("{:02x}", min_rank)
                                                          : fmt::format("{:02x} or {:02x}", min_rank, max_rank)),
             kFix);
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(rank) * 4);
  const std::size_t header = reader.read(bytes.data(), bytes.size());
  if (header < bytes.size())
    bad_data(path, "file ends inside the header", fmt::format("{} bytes", 4 + header),
             fmt::format("{}", 4 + bytes.size()), kFix);
  std::vector<std::int64_t> extents;
  for (int i = 0; i < rank; ++i) extents.push_back(big_endian(bytes.data() + 4 * i));
  return extents;
}

// The number of elements, checked against overflow, our cap and what the file can hold at all: all before allocating.
std::int64_t checked_count(const GzReader& reader, const std::string& path, const std::vector<std::int64_t>& extents) {
  std::int64_t count = 1;
  for (const std::int64_t extent : extents) count = extent == 0 ? -1 : checked_multiply(count, extent);
  const std::string shape = fmt::format("extents ({})", fmt::join(extents, ", "));
  if (count <= 0 || count > kMaxMemorySetBytes)
    bad_data(path, "extents at offset 4", shape, fmt::format("1 to {} elements", kMaxMemorySetBytes), kFix);
  const std::int64_t header = 4 + 4 * static_cast<std::int64_t>(extents.size());
  if (!reader.compressed() && reader.file_bytes() != header + count)
    bad_data(path, fmt::format("file size for {}", shape), fmt::format("{} bytes", reader.file_bytes()),
             fmt::format("{}", header + count), kFix);
  if (reader.compressed() && count / kMaxDeflateRatio > reader.file_bytes())
    bad_data(path, fmt::format("{} in a gzip file", shape), fmt::format("{} bytes", reader.file_bytes()),
             fmt::format("at least {}", count / kMaxDeflateRatio), kFix);
  return count;
}

IdxArray read_idx(const std::string& path, int min_rank, int max_rank) {
  GzReader reader(path);
  IdxArray array;
  array.extents = read_header(reader, path, min_rank, max_rank);
  array.header_bytes = 4 + 4 * array.extents.size();
  const auto count = static_cast<std::size_t>(checked_count(reader, path, array.extents));
  // Compressed files: memory grows with what was really unpacked, so that a lying header costs little.
  std::size_t done = 0;
  array.values.reserve(reader.compressed() ? std::min<std::size_t>(count, 64u << 20) : count);
  while (done < count) {
    const std::size_t part = std::min<std::size_t>(count - done, std::max<std::size_t>(done, 16u << 20));
    array.values.resize(done + part);
    const std::size_t got = reader.read(array.values.data() + done, part);
    done += got;
    if (got < part)
      bad_data(path, fmt::format("file ends at offset {} (unpacked)", array.header_bytes + done),
               fmt::format("{} elements", done), fmt::format("{}", count), kFix);
  }
  std::uint8_t extra = 0;  // reading on also verifies the gzip checksum
  if (reader.read(&extra, 1) != 0)
    bad_data(path, "bytes after the last element", "more bytes",
             fmt::format("the end at offset {}", array.header_bytes + count), kFix);
  return array;
}

int checked_classes(const std::string& path, const IdxArray& labels, int classes) {
  if (classes == 0) return 1 + *std::max_element(labels.values.begin(), labels.values.end());
  for (std::size_t i = 0; i < labels.values.size(); ++i)
    if (labels.values[i] >= classes)
      bad_data(path, fmt::format("label of image {} (offset {})", i, labels.header_bytes + i),
               fmt::format("{}", labels.values[i]), fmt::format("0 to {}", classes - 1),
               "Correct the number of classes in the config, or fetch the file again.");
  return classes;
}

}  // namespace

bool has_idx_files(const std::string& directory, Split split) { return !find(directory, split, true).empty(); }

std::unique_ptr<Source> open_idx(const std::string& directory, Split split, int classes) {
  const std::string images = find_or_throw(directory, split, true);
  return open_idx_files(images, find_or_throw(directory, split, false), classes);
}

std::unique_ptr<Source> open_idx_files(const std::string& images, const std::string& labels, int classes) {
  IdxArray y = read_idx(labels, 1, 1);  // the small file first
  const int class_count = checked_classes(labels, y, classes);
  IdxArray x = read_idx(images, 3, 4);
  if (x.extents[0] != y.extents[0])
    bad_data(labels, "number of labels", fmt::format("{}", y.extents[0]), fmt::format("{} ({})", x.extents[0], images),
             "Images and labels must come from the same set.");
  const std::int64_t channels = x.extents.size() == 4 ? x.extents[3] : 1;
  if (x.extents[1] > kMaxImageSide || x.extents[2] > kMaxImageSide || (channels != 1 && channels != 3))
    bad_data(images, "image size at offset 8", fmt::format("{}x{}x{}", x.extents[1], x.extents[2], channels),
             fmt::format("sides up to {} and 1 or 3 channels", kMaxImageSide), kFix);
  return std::make_unique<MemorySource>(MemoryImages{.kind = "IDX",
                                                     .height = static_cast<int>(x.extents[1]),
                                                     .width = static_cast<int>(x.extents[2]),
                                                     .channels = static_cast<int>(channels),
                                                     .classes = class_count,
                                                     .pixels = std::move(x.values),
                                                     .labels = std::move(y.values),
                                                     .parts = {{images, 0}}});
}

}  // namespace lockstep
