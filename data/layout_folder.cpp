// Image folder: <root>/train/<class>/*.jpg and <root>/val/<class>/*.jpg. The classes of the evaluation split are those of train/
// where that exists.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "data/layouts.h"

namespace lockstep {
namespace {

std::string split_folder(const std::string& root, Split split) {
  const std::string folder = find_split_folder(root, "", split);
  if (folder.empty())
    throw UserError(fmt::format("{}: no image folder here. Looked for {}/.\n"
                                "The layout is <path>/train/<class>/*.jpg and <path>/val/<class>/*.jpg.",
                                root, fmt::join(split_words(split), "/, ")),
                    ExitCode::kNoInput);
  return folder;
}

bool found(const std::string& root) {
  return !find_split_folder(root, "", Split::kTrain).empty() || !find_split_folder(root, "", Split::kEval).empty();
}

std::vector<std::string> inputs(const std::string& root, Split split) {
  std::vector<std::string> paths = class_folder_inputs(root, split_folder(root, split));
  if (const std::string train = find_split_folder(root, "", Split::kTrain); split == Split::kEval && !train.empty()) paths.push_back(train);
  return paths;
}

SampleIndex list(const std::string& root, Split split, const IndexOf&) {
  const std::string folder = split_folder(root, split);
  const std::string train = find_split_folder(root, "", Split::kTrain);
  if (split == Split::kTrain || train.empty()) return index_class_folders(root, folder, {}, false, "");
  ClassList classes = folder_classes(join_path(root, train));
  if (classes.names.empty()) throw UserError(fmt::format("{}: no class folders here.", join_path(root, train)), ExitCode::kNoInput);
  return index_class_folders(root, folder, std::move(classes.names), classes.numbered, "train/");
}

}  // namespace

constinit const Layout kFolderLayout{SourceKind::kFolder, "image folder", "train/<class>/ (images)", found, inputs, list};

}  // namespace lockstep
