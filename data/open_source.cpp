// open_source: from options to a source; for kAuto, by looking at what lies there.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "core/error.h"
#include "data/cifar10.h"
#include "data/files.h"
#include "data/idx.h"
#include "data/index_cache.h"
#include "data/indexed_source.h"
#include "data/layouts.h"
#include "data/source.h"
#include "data/synthetic.h"

namespace lockstep {
namespace {

// The folder that `path` names; a tar stands for the folder it lies in.
std::string root_of(const std::string& path) {
  if (path.empty()) throw UserError("data: no folder given: name one with --data DIR, or choose synthetic data.");
  if (is_folder(path)) return path.substr(0, std::max<std::size_t>(1, path.find_last_not_of('/') + 1));
  if (is_file(path) && base_of(path).find(".tar") != std::string_view::npos)
    return path.find('/') == std::string::npos ? "." : path.substr(0, std::max<std::size_t>(1, path.rfind('/')));
  std::error_code failure;
  const auto status = std::filesystem::status(path, failure);
  const bool missing = status.type() == std::filesystem::file_type::not_found;
  const std::string hint = path.find("fashion-mnist") == std::string::npos
                               ? "Check the path (--data DIR)."
                               : "Fashion-MNIST is installed by: apt-get install dataset-fashion-mnist";
  no_input(path,
           missing   ? std::string("no such folder")
           : failure ? failure.message()
                     : std::string("neither a folder nor a tar"),
           hint);
}

// Is the image folder that was found beside a layout its own? Both may well have the folder train/ or val/ in common.
bool shares_folders(const Layout& layout, const std::string& root) {
  const auto both = [&](const char* tar, Split split) { return is_file(join_path(root, tar)) && !find_split_folder(root, "", split).empty(); };
  switch (layout.kind) {
    case SourceKind::kIlsvrc: return !both("ILSVRC2012_img_train.tar", Split::kTrain) && !both("ILSVRC2012_img_val.tar", Split::kEval);
    case SourceKind::kKaggle: return is_flat(join_path(root, "val"));
    case SourceKind::kWebDataset: {
      const std::string train = find_split_folder(root, "", Split::kTrain);
      return !train.empty() && list_folders(join_path(root, train)).empty();
    }
    default: return false;
  }
}

const Layout& layout_of(SourceKind kind) {
  for (const Layout* layout : kLayouts)
    if (layout->kind == kind) return *layout;
  return kFolderLayout;
}

// What a tar that is named itself must be.
SourceKind kind_of_tar(const std::string& path) {
  const std::string_view name = base_of(path);
  if (name.starts_with("ILSVRC2012_img_")) return SourceKind::kIlsvrc;
  for (const Split split : {Split::kTrain, Split::kEval})
    for (const std::string_view word : split_words(split))
      if (name.starts_with(fmt::format("{}.tar", word))) return SourceKind::kTar;
  no_input(path, "a tar by itself is recognised only as ILSVRC2012_img_*.tar, train.tar, val.tar or test.tar",
           "Name the folder that the shards of a WebDataset lie in; rename a tar of <class>/<image>, or link it under such a name.");
}

SourceKind recognise(const std::string& path) {
  std::vector<std::string_view> names;
  SourceKind kind = SourceKind::kAuto;
  const auto add = [&](bool found, SourceKind its, std::string_view name) {
    if (found && names.empty()) kind = its;
    if (found) names.push_back(name);
  };
  add(has_idx_files(path, Split::kTrain) || has_idx_files(path, Split::kEval), SourceKind::kIdx, "IDX");
  add(!find_cifar10(path).empty(), SourceKind::kCifar10, "CIFAR-10");
  const std::size_t others = names.size();
  for (const Layout* layout : kLayouts) {
    const bool part = layout->kind == SourceKind::kFolder && names.size() == others + 1 && shares_folders(layout_of(kind), path);
    add(!part && layout->found(path), layout->kind, layout->name);
  }
  if (names.size() > 1)
    throw UserError(fmt::format("{}: holds several data sets ({}): say in the config which to use (data.source).", path, fmt::join(names, ", ")),
                    ExitCode::kData);
  if (names.size() == 1) return kind;
  std::string wanted = "train-images-idx3-ubyte[.gz] (IDX), data_batch_1.bin (CIFAR-10)";
  for (const Layout* layout : kLayouts) wanted += fmt::format(", {}", layout->looks_for);
  throw UserError(fmt::format("{}: no data set recognised here. Looked for {}.\nCheck the path (--data DIR); for Fashion-MNIST: apt-get install "
                              "dataset-fashion-mnist and --data /usr/share/datasets/fashion-mnist",
                              path, wanted),
                  ExitCode::kNoInput);
}

// Of val.tar and test.tar beside each other the first is taken: a path that names the second must not mean the first.
void check_named_tar(const SourceOptions& options, const Layout& layout, const std::string& root) {
  if (is_folder(options.path) || options.split == Split::kTrain) return;
  const std::string_view name = base_of(options.path);
  if (name.find("train") != std::string_view::npos) return;
  if (const std::vector<std::string> inputs = layout.inputs(root, options.split); inputs[0] != name)
    throw UserError(fmt::format("{}: {} lies beside it and is taken for evaluation.\nPut them in different folders.", options.path, inputs[0]),
                    ExitCode::kData);
}

}  // namespace

std::unique_ptr<Source> open_source(const SourceOptions& options) {
  if (options.kind == SourceKind::kSynthetic) return std::make_unique<SyntheticSource>(options);
  if (options.classes < 0)
    throw UserError(fmt::format("data: classes: got {}, want 0 (any) or more.", options.classes));
  const std::string root = root_of(options.path);
  SourceKind kind = options.kind;
  if (kind == SourceKind::kAuto) kind = is_folder(options.path) ? recognise(root) : kind_of_tar(options.path);
  if (kind == SourceKind::kIdx) return open_idx(root, options.split, options.classes);
  if (kind == SourceKind::kCifar10) return open_cifar10(root, options.split, options.classes);
  const Layout& layout = layout_of(kind);
  check_named_tar(options, layout, root);
  SampleIndex index = make_index(layout, root, options.split, options.index_cache.value_or(default_index_cache()));
  return std::make_unique<IndexedSource>(layout, root, std::move(index), options.classes);
}

}  // namespace lockstep
