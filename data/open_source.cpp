// open_source: from options to a source; for kAuto, by looking at the folder.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstring>
#include <filesystem>

#include "core/error.h"
#include "data/cifar10.h"
#include "data/files.h"
#include "data/idx.h"
#include "data/image_folder.h"
#include "data/source.h"
#include "data/synthetic.h"

namespace lockstep {
namespace {

void check_directory(const std::string& path) {
  if (path.empty()) throw UserError("data: no folder given: name one with --data DIR, or choose synthetic data.");
  std::error_code failure;
  const auto status = std::filesystem::status(path, failure);
  if (status.type() == std::filesystem::file_type::directory) return;
  const bool missing = status.type() == std::filesystem::file_type::not_found;
  const std::string hint = path.find("fashion-mnist") == std::string::npos
                               ? "Check the path (--data DIR)."
                               : "Fashion-MNIST is installed by: apt-get install dataset-fashion-mnist";
  no_input(path,
           missing   ? std::string("no such folder")
           : failure ? failure.message()
                     : std::string("not a folder"),
           hint);
}

SourceKind recognise(const std::string& path) {
  const bool idx = has_idx_files(path, Split::kTrain) || has_idx_files(path, Split::kEval);
  const bool cifar = !find_cifar10(path).empty();
  const bool folder = has_image_folder(path, Split::kTrain) || has_image_folder(path, Split::kEval);
  if (idx + cifar + folder > 1)
    throw UserError(fmt::format("{}: holds several data sets ({}{}{}): say in the config which kind to use.", path,
                                idx ? "IDX " : "", cifar ? "CIFAR-10 " : "", folder ? "image folder " : ""),
                    ExitCode::kData);
  if (idx) return SourceKind::kIdx;
  if (cifar) return SourceKind::kCifar10;
  if (folder) return SourceKind::kFolder;
  throw UserError(
      fmt::format(
          "{}: no data set recognised here. Looked for train-images-idx3-ubyte[.gz] (IDX), data_batch_1.bin (CIFAR-10) "
          "and train/<class>/ (images).\nCheck the path (--data DIR); for Fashion-MNIST: apt-get install "
          "dataset-fashion-mnist and --data /usr/share/datasets/fashion-mnist",
          path),
      ExitCode::kNoInput);
}

}  // namespace

std::unique_ptr<Source> open_source(const SourceOptions& options) {
  if (options.kind == SourceKind::kSynthetic) return std::make_unique<SyntheticSource>(options);
  if (options.classes < 0)
    throw UserError(fmt::format("data: classes: got {}, want 0 (any) or more.", options.classes));
  check_directory(options.path);
  switch (options.kind == SourceKind::kAuto ? recognise(options.path) : options.kind) {
    case SourceKind::kIdx:
      return open_idx(options.path, options.split, options.classes);
    case SourceKind::kCifar10:
      return open_cifar10(options.path, options.split, options.classes);
    default:
      return std::make_unique<ImageFolderSource>(options.path, options.split, options.classes);
  }
}

}  // namespace lockstep
