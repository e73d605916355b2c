// One tar per split: train.tar, and val.tar or test.tar, with members <class>/<image>, all below one common folder if there is one.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>
#include <optional>

#include "core/error.h"
#include "data/files.h"
#include "data/layouts.h"
#include "data/tar.h"

namespace lockstep {
namespace {

std::string find_tar(const std::string& root, Split split, std::string_view packed = "") {
  for (const std::string_view word : split_words(split))
    if (const std::string file = fmt::format("{}.tar{}", word, packed); is_file(join_path(root, file))) return file;
  return {};
}

// A tar that lies there compressed; "" for none.
std::string find_compressed(const std::string& root, Split split) {
  for (const std::string_view packed : {".xz", ".gz", ".zst", ".bz2"})
    if (const std::string file = find_tar(root, split, packed); !file.empty()) return file;
  return {};
}

std::string require_tar(const std::string& root, Split split) {
  if (std::string file = find_tar(root, split); !file.empty()) return file;
  const std::string packed = find_compressed(root, split);
  // TarReader recognises the compression by the first bytes and says what to do; if these do not show it, the name still does.
  if (!packed.empty()) TarReader(ByteRange(std::make_shared<DiskFile>(join_path(root, packed))), join_path(root, packed));
  throw UserError(fmt::format("{}: no {}.tar here{}.", root, fmt::join(split_words(split), ".tar, "),
                              packed.empty() ? "" : fmt::format(", only {}, which can't be read at random: decompress it", packed)),
                  packed.empty() ? ExitCode::kNoInput : ExitCode::kData);
}

bool found(const std::string& root) {
  for (const Split split : {Split::kTrain, Split::kEval})
    if (!find_tar(root, split).empty() || !find_compressed(root, split).empty()) return true;
  return false;
}

std::vector<std::string> inputs(const std::string& root, Split split) {
  std::vector<std::string> paths{require_tar(root, split)};
  if (const std::string train = find_tar(root, Split::kTrain); split == Split::kEval && !train.empty()) paths.push_back(train);
  return paths;
}

// Takes the class of members out of their paths and sees to it that all have the same folder above it.
class ClassOfPath {
 public:
  explicit ClassOfPath(const std::string& archive) : archive_(archive) {}
  std::string_view operator()(const std::string& member) {
    const std::string_view folder = folder_of(member);
    if (folder.empty())
      bad_data(archive_, fmt::format("member {}", member), "an image without a folder", "<class>/<image>", "Pack one folder per class.");
    const std::string_view above = folder_of(folder);
    if (!above_) above_ = above, first_ = member;
    if (above != *above_)
      bad_data(archive_, "members", fmt::format("{} and {}", first_, member), "<class>/<image>, all at one depth below one folder",
               "Pack one folder per class, without folders in between.");
    return base_of(folder);
  }

 private:
  const std::string& archive_;
  std::optional<std::string> above_;
  std::string first_;
};

SampleIndex list(const std::string& root, Split split, const IndexOf& index_of) {
  const std::string file = require_tar(root, split);
  const std::string path = join_path(root, file);
  TarReader tar(ByteRange(std::make_shared<DiskFile>(path)), path);
  ClassOfPath class_of(path);
  IndexBuilder builder;
  for (TarMember member; tar.next(member);) {
    const std::string_view name = base_of(member.name);
    if (is_image_name(name))
      builder.add(builder.class_id(class_of(member.name)), 0, member.offset, member.size, name);
    else
      builder.ignore(name.front() == '.' ? 0 : 1);
  }
  builder.ignore(tar.others());
  if (builder.empty()) bad_data(path, "images", "none", "<class>/<image> with .jpg, .jpeg or .png", "Check what the archive holds: tar tf.");
  ClassList classes;
  if (split == Split::kEval && !find_tar(root, Split::kTrain).empty()) {
    SampleIndex train = index_of(Split::kTrain);
    classes = {.names = std::move(train.classes), .numbered = train.numbered};
  }
  return builder.finish(std::move(classes.names), classes.numbered, {{.path = file, .archive = true}}, path, "train.tar");
}

}  // namespace

constinit const Layout kTarLayout{SourceKind::kTar, "tar", "train.tar (<class>/<image>)", found, inputs, list};

}  // namespace lockstep
