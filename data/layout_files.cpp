// What several layouts share: folders of files, and listing in parallel.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <exception>
#include <filesystem>

#include "core/error.h"
#include "data/files.h"
#include "data/layouts.h"
#include "data/work_crew.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

// Calls visit(item, base name) for everything in the folder that is not hidden, in the disk's order.
template <class Visit>
void for_each_item(const std::string& path, Visit visit) {
  std::error_code failure;
  fs::directory_iterator it(path, failure);
  for (const fs::directory_iterator end; !failure && it != end; it.increment(failure)) {
    const std::string name = it->path().filename().string();
    if (name.front() != '.') visit(*it, name);
  }
  if (failure) no_input(path, failure.message(), "Check the path and its permissions.");
}

template <class Wanted>
std::vector<std::string> list_items(const std::string& path, Wanted wanted) {
  std::vector<std::string> names;
  for_each_item(path, [&](const fs::directory_entry& item, const std::string& name) {
    if (wanted(item)) names.push_back(name);
  });
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

std::span<const std::string_view> split_words(Split split) {
  static constexpr std::array<std::string_view, 1> kTrain = {"train"};
  static constexpr std::array<std::string_view, 5> kEval = {"val", "validation", "valid", "test", "eval"};
  if (split == Split::kTrain) return kTrain;
  return kEval;
}

bool is_folder(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

bool is_file(const std::string& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

std::string find_split_folder(const std::string& root, const std::string& folder, Split split) {
  for (const std::string_view word : split_words(split))
    if (const std::string path = folder.empty() ? std::string(word) : join_path(folder, word); is_folder(join_path(root, path))) return path;
  return {};
}

std::vector<std::string> list_folders(const std::string& path) {
  return list_items(path, [](const fs::directory_entry& item) {
    std::error_code ignored;
    return item.is_directory(ignored);
  });
}

std::vector<std::string> list_files(const std::string& path) {
  return list_items(path, [](const fs::directory_entry& item) {
    std::error_code ignored;
    return item.is_regular_file(ignored);
  });
}

bool is_flat(const std::string& path) {
  std::error_code failure;
  fs::directory_iterator it(path, failure);
  for (const fs::directory_iterator end; !failure && it != end; it.increment(failure)) {
    const std::string name = it->path().filename().string();
    if (name.front() == '.') continue;
    std::error_code ignored;
    if (it->is_directory(ignored)) return false;
    if (is_image_name(name)) return true;
  }
  return false;
}

IndexBuilder build_in_parallel(std::size_t count, const std::function<void(std::size_t, IndexBuilder&)>& body) {
  constexpr std::size_t kThreads = 16;  // they mostly wait for the disk
  std::vector<IndexBuilder> parts(count);
  std::vector<std::exception_ptr> faults(count);
  for_each_piece(static_cast<std::int64_t>(count), 1, static_cast<int>(std::clamp<std::size_t>(count, 1, kThreads)),
                 [&](int, std::int64_t begin, std::int64_t) {
                   const auto i = static_cast<std::size_t>(begin);
                   try {
                     body(i, parts[i]);
                   } catch (...) {
                     faults[i] = std::current_exception();
                   }
                 });
  for (const std::exception_ptr& fault : faults)
    if (fault) std::rethrow_exception(fault);
  IndexBuilder all;
  for (IndexBuilder& part : parts) all.append(std::move(part));
  return all;
}

void add_files(const std::string& root, const Container& folder, std::size_t container,
               const std::function<std::string_view(std::string_view base_name)>& class_of, IndexBuilder& builder) {
  const std::string path = join_path(root, folder.path);
  for_each_item(path, [&](const fs::directory_entry& item, const std::string& name) {
    std::error_code failure;
    if (!is_image_name(name)) return builder.ignore(1);
    const auto kind = item.status(failure).type();
    if (kind == fs::file_type::directory || (!failure && kind != fs::file_type::regular && kind != fs::file_type::not_found)) return builder.ignore(1);
    // A link to nowhere, or what can't be looked at now, is an image that can't be read: if it were left out, all that
    // follow would have other numbers.
    const auto bytes = kind == fs::file_type::regular ? item.file_size(failure) : 0;
    builder.add(builder.class_id(class_of(name)), container, 0, failure ? 0 : bytes, name);
  });
}

ClassList folder_classes(const std::string& path) {
  ClassList classes{.names = list_folders(path)};
  if (!classes.names.empty()) order_classes(classes.names, classes.numbered, path);
  return classes;
}

std::vector<std::string> class_folder_inputs(const std::string& root, const std::string& folder) {
  std::vector<std::string> inputs{folder};
  for (const std::string& name : list_folders(join_path(root, folder))) inputs.push_back(join_path(folder, name));
  return inputs;
}

SampleIndex index_class_folders(const std::string& root, const std::string& folder, std::vector<std::string> classes, bool numbered,
                                const std::string& wanted_from) {
  const std::string where = join_path(root, folder);
  const std::vector<std::string> folders = list_folders(where);
  if (folders.empty())
    throw UserError(fmt::format("{}: no class folders here.\nThe layout is <path>/train/<class>/*.jpg and <path>/val/<class>/*.jpg.", where),
                    ExitCode::kNoInput);
  std::vector<Container> containers;
  for (const std::string& name : folders) containers.push_back({.path = join_path(folder, name)});
  IndexBuilder builder = build_in_parallel(folders.size(), [&](std::size_t i, IndexBuilder& part) {
    part.class_id(folders[i]);  // a folder without images is a class too
    add_files(root, containers[i], i, [&](std::string_view) -> std::string_view { return folders[i]; }, part);
  });
  if (builder.empty())
    throw UserError(fmt::format("{}: no .jpg, .jpeg or .png files in its class folders.", where), ExitCode::kNoInput);
  return builder.finish(std::move(classes), numbered, std::move(containers), where, wanted_from);
}

}  // namespace lockstep
