// Kaggle's ImageNet: ILSVRC/Data/CLS-LOC/train/<wnid>/*.JPEG, .../val/*.JPEG without folders, and LOC_val_solution.csv, which lies
// beside ILSVRC/. The path may name any of these levels.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <optional>

#include "core/error.h"
#include "data/flat_folder.h"
#include "data/layouts.h"

namespace lockstep {
namespace {

// CLS-LOC below root ("" is root itself), if it is there.
std::optional<std::string> class_loc(const std::string& root) {
  for (const char* folder : {"ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC"})
    if (is_folder(join_path(root, folder))) return folder;
  if (is_folder(join_path(root, "val")) && is_flat(join_path(root, "val")) && !solution_file(root, "").empty()) return "";
  return std::nullopt;
}

bool found(const std::string& root) { return class_loc(root).has_value(); }

// train or val, below root.
std::string split_folder(const std::string& root, Split split) {
  const std::string name = split == Split::kTrain ? "train" : "val";
  const std::optional<std::string> base = class_loc(root);
  if (!base || !is_folder(join_path(root, join_path(*base, name))))
    throw UserError(fmt::format("{}: no ILSVRC/Data/CLS-LOC/{}/ here.\nUnpack imagenet-object-localization-challenge.zip there.", root, name),
                    ExitCode::kNoInput);
  return join_path(*base, name);
}

std::string train_beside(const std::string& root, const std::string& val) {
  const std::string train = join_path(folder_of(val), "train");
  return is_folder(join_path(root, train)) ? train : "";
}

std::vector<std::string> inputs(const std::string& root, Split split) {
  const std::string folder = split_folder(root, split);
  std::vector<std::string> paths{folder};
  if (is_flat(join_path(root, folder)))
    paths.push_back(require_solution(root, std::string(folder_of(folder))));
  else
    paths = class_folder_inputs(root, folder);
  if (const std::string train = train_beside(root, folder); split == Split::kEval && !train.empty()) paths.push_back(train);
  return paths;
}

SampleIndex list(const std::string& root, Split split, const IndexOf&) {
  const std::string folder = split_folder(root, split);
  if (split == Split::kTrain) return index_class_folders(root, folder, {}, false, "");
  const std::string train = train_beside(root, folder);
  ClassList classes = train.empty() ? ClassList{} : folder_classes(join_path(root, train));
  if (!is_flat(join_path(root, folder))) return index_class_folders(root, folder, std::move(classes.names), classes.numbered, "train/");
  const std::string solution = require_solution(root, std::string(folder_of(folder)));
  return index_flat_folder(root, folder, read_solution(join_path(root, solution)), std::move(classes));
}

}  // namespace

constinit const Layout kKaggleLayout{SourceKind::kKaggle, "Kaggle's ImageNet", "ILSVRC/Data/CLS-LOC/ (Kaggle's ImageNet)", found, inputs, list};

}  // namespace lockstep
