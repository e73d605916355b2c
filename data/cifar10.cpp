// SPDX-License-Identifier: Apache-2.0
#include "data/cifar10.h"

#include <fmt/format.h>

#include <filesystem>

#include "core/error.h"
#include "data/files.h"
#include "data/limits.h"
#include "data/memory_source.h"

namespace lockstep {
namespace {

constexpr int kSide = 32;
constexpr std::size_t kPlane = kSide * kSide;
constexpr std::size_t kRecord = 1 + 3 * kPlane;
constexpr std::int64_t kRecordsPerFile = 10000;
constexpr std::string_view kFix =
    "Fetch the binary version again: https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz";

bool is_there(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

std::vector<std::string> file_names(Split split) {
  if (split == Split::kEval) return {"test_batch.bin"};
  std::vector<std::string> names;
  for (int i = 1; i <= 5; ++i) names.push_back(fmt::format("data_batch_{}.bin", i));
  return names;
}

void append_record(const std::uint8_t* record, MemoryImages& images) {
  images.labels.push_back(record[0]);
  const std::uint8_t* red = record + 1;
  for (std::size_t i = 0; i < kPlane; ++i)
    for (const std::size_t plane : {std::size_t{0}, kPlane, 2 * kPlane}) images.pixels.push_back(red[plane + i]);
}

}  // namespace

std::string find_cifar10(const std::string& directory) {
  for (const auto& folder :
       {std::filesystem::path(directory), std::filesystem::path(directory) / "cifar-10-batches-bin"})
    if (is_there(folder / "data_batch_1.bin") || is_there(folder / "test_batch.bin")) return folder.string();
  return {};
}

std::unique_ptr<Source> open_cifar10(const std::string& directory, Split split, int classes) {
  if (classes != 0 && classes != 10)
    throw UserError(fmt::format("{}: CIFAR-10 has 10 classes: got classes = {}, want 10 (or 0).", directory, classes));
  const std::string folder = find_cifar10(directory);
  const bool pickled = is_there(std::filesystem::path(directory) / "data_batch_1");
  std::vector<std::string> files;
  for (const std::string& name : file_names(split)) {
    const auto path = std::filesystem::path(folder.empty() ? directory : folder) / name;
    if (!is_there(path))
      no_input(path.string(), pickled ? "the folder holds the Python version of CIFAR-10" : "no such file", kFix);
    files.push_back(path.string());
  }
  return open_cifar_files(files, kRecordsPerFile, 10);
}

std::unique_ptr<Source> open_cifar_files(const std::vector<std::string>& files, std::int64_t records, int classes) {
  const std::size_t want = static_cast<std::size_t>(records) * kRecord;
  for (const std::string& file : files)  // all sizes before any memory
    if (const std::int64_t got = file_size(file); got != static_cast<std::int64_t>(want))
      bad_data(file, "file size", fmt::format("{} bytes", got),
               fmt::format("{} ({} records of {})", want, records, kRecord), kFix);
  MemoryImages images{.kind = "CIFAR-10", .height = kSide, .width = kSide, .channels = 3, .classes = classes};
  images.pixels.reserve(files.size() * static_cast<std::size_t>(records) * 3 * kPlane);
  images.labels.reserve(files.size() * static_cast<std::size_t>(records));
  std::vector<std::uint8_t> bytes;
  for (const std::string& file : files) {
    images.parts.push_back({file, static_cast<std::int64_t>(images.labels.size())});
    if (read_file(file, want, bytes) != want)
      bad_data(file, "file size", "a change while reading", fmt::format("{}", want), kFix);
    for (std::size_t offset = 0; offset < want; offset += kRecord) {
      if (bytes[offset] >= classes)
        bad_data(file, fmt::format("label of record {} (offset {})", offset / kRecord, offset),
                 fmt::format("{}", bytes[offset]), fmt::format("0 to {}", classes - 1), kFix);
      append_record(bytes.data() + offset, images);
    }
  }
  return std::make_unique<MemorySource>(std::move(images));
}

}  // namespace lockstep
