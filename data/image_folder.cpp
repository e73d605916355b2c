// SPDX-License-Identifier: Apache-2.0
#include "data/image_folder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "core/error.h"
#include "core/trace.h"
#include "data/decode.h"
#include "data/files.h"
#include "data/manifest_hash.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kLayout = "The layout is <path>/train/<class>/*.jpg and <path>/val/<class>/*.jpg.";

std::vector<std::string> split_names(Split split) {
  if (split == Split::kTrain) return {"train"};
  return {"val", "valid", "test", "eval"};
}

std::string find_split(const std::string& directory, Split split) {
  for (const std::string& name : split_names(split)) {
    std::error_code ignored;
    if (fs::is_directory(fs::path(directory) / name, ignored)) return (fs::path(directory) / name).string();
  }
  return {};
}

bool is_image_name(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos || name.front() == '.') return false;
  std::string extension(name.substr(dot + 1));
  for (char& c : extension) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return extension == "jpg" || extension == "jpeg" || extension == "png";
}

// The names in `folder` for which `wanted` holds, in byte order; counts the rest, hidden ones aside.
template <class Predicate>
std::vector<std::string> list(const std::string& folder, Predicate wanted, std::int64_t& others) {
  std::vector<std::string> names;
  std::error_code failure;
  fs::directory_iterator it(folder, failure);
  for (const fs::directory_iterator end; !failure && it != end; it.increment(failure)) {
    std::string name = it->path().filename().string();
    if (wanted(*it, name))
      names.push_back(std::move(name));
    else if (name.front() != '.')
      ++others;
  }
  if (failure) no_input(folder, failure.message(), "Check the path and its permissions.");
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> list_classes(const std::string& root) {
  std::int64_t others = 0;
  return list(
      root,
      [](const fs::directory_entry& item, const std::string& name) {
        std::error_code ignored;
        return name.front() != '.' && item.is_directory(ignored);
      },
      others);
}

}  // namespace

bool has_image_folder(const std::string& directory, Split split) { return !find_split(directory, split).empty(); }

ImageFolderSource::ImageFolderSource(const std::string& directory, Split split, int classes)
    : root_(find_split(directory, split)) {
  if (root_.empty())
    throw UserError(fmt::format("{}: no image folder here. Looked for {}.\n{}", directory,
                                fmt::join(split_names(split), "/, "), kLayout),
                    ExitCode::kNoInput);
  const std::string train = find_split(directory, Split::kTrain);
  const std::vector<std::string> own = list_classes(root_);
  class_names_ = train.empty() ? own : list_classes(train);
  if (class_names_.empty())
    throw UserError(fmt::format("{}: no class folders here.\n{}", train.empty() ? root_ : train, kLayout),
                    ExitCode::kNoInput);
  if (classes != 0 && classes != this->classes())
    bad_data(root_, "number of class folders", fmt::format("{}", this->classes()), fmt::format("{}", classes),
             "Correct the number of classes in the config, or the folders.");
  for (const std::string& name : own) {
    const auto place = std::lower_bound(class_names_.begin(), class_names_.end(), name);
    if (place == class_names_.end() || *place != name)
      bad_data((fs::path(root_) / name).string(), "class folder", "a class that train/ does not have",
               fmt::format("one of its {} classes", class_names_.size()),
               "Remove the folder or add the class to train/.");
    list_class((fs::path(root_) / name).string(), static_cast<int>(place - class_names_.begin()));
  }
  if (entries_.empty())
    throw UserError(fmt::format("{}: no .jpg, .jpeg or .png files here.\n{}", root_, kLayout), ExitCode::kNoInput);
}

void ImageFolderSource::list_class(const std::string& folder, int label) {
  const auto wanted = [](const fs::directory_entry& item, const std::string& name) {
    std::error_code ignored;
    return is_image_name(name) && item.is_regular_file(ignored);
  };
  for (const std::string& name : list(folder, wanted, ignored_files_)) {
    entries_.push_back({names_.size(), label});
    names_ += name;
  }
}

const ImageFolderSource::Entry& ImageFolderSource::entry(std::int64_t index) const {
  LS_CHECK(index >= 0 && index < size(), fmt::format("sample {} of {}", index, size()));
  return entries_[static_cast<std::size_t>(index)];
}

std::string_view ImageFolderSource::file_name(std::int64_t index) const {
  const std::size_t begin = entry(index).name_begin;
  const std::size_t end = index + 1 < size() ? entry(index + 1).name_begin : names_.size();
  return std::string_view(names_).substr(begin, end - begin);
}

void ImageFolderSource::write_path(std::int64_t index, std::string& path) const {
  path.assign(root_)
      .append("/")
      .append(class_names_[static_cast<std::size_t>(label(index))])
      .append("/")
      .append(file_name(index));
}

Image ImageFolderSource::read(std::int64_t index, ReadScratch& scratch) const {
  write_path(index, scratch.path);
  const std::size_t size = read_image_file(scratch.path, scratch);
  const TraceScope trace(SpanKind::kLoader, "decode", index);
  return decode_image({scratch.file.data(), size}, scratch.path, scratch);
}

std::string ImageFolderSource::name(std::int64_t index) const {
  std::string path;
  write_path(index, path);
  return path;
}

std::string ImageFolderSource::describe() const {
  const std::string ignored = ignored_files_ == 0 ? "" : fmt::format(", {} other files ignored", ignored_files_);
  return fmt::format("image folder: {} images, {} classes{} ({})", size(), classes(), ignored, root_);
}

std::string ImageFolderSource::digest() const {
  ManifestHash hash("folder");
  hash.add(classes());
  for (const std::string& class_name : class_names_) hash.add(class_name);
  hash.add(size());
  std::string path;
  for (std::int64_t i = 0; i < size(); ++i) {
    write_path(i, path);
    std::error_code failure;
    const auto bytes = fs::file_size(path, failure);
    if (failure) no_input(path, failure.message(), "The data folder must not change while it is in use.");
    hash.add(file_name(i));
    hash.add(label(i));
    hash.add(static_cast<std::int64_t>(bytes));
  }
  return hash.hex();
}

}  // namespace lockstep
