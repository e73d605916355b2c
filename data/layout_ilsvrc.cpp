// ImageNet as it comes: ILSVRC2012_img_train.tar, a tar of 1,000 tars, one a class; ILSVRC2012_img_val.tar, whose images' classes are
// in the development kit (or in Kaggle's LOC_val_solution.csv). Either may be unpacked: train/ and val/ stand in for a missing tar.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <memory>

#include "core/error.h"
#include "data/devkit.h"
#include "data/files.h"
#include "data/flat_folder.h"
#include "data/layouts.h"
#include "data/tar.h"

namespace lockstep {
namespace {

constexpr const char* kTrainTar = "ILSVRC2012_img_train.tar";
constexpr const char* kValTar = "ILSVRC2012_img_val.tar";

// The tar of a split, or the folder that stands in for it; "" when neither is there.
std::string split_place(const std::string& root, Split split) {
  const char* tar = split == Split::kTrain ? kTrainTar : kValTar;
  return is_file(join_path(root, tar)) ? tar : find_split_folder(root, "", split);
}

bool is_tar(const std::string& place) { return place.ends_with(".tar"); }

std::string require_place(const std::string& root, Split split) {
  const std::string place = split_place(root, split);
  if (place.empty())
    throw UserError(fmt::format("{}: no {} and no {}/ here.\nFetch it from image-net.org (md5 {}); it is read as it is.", root,
                                split == Split::kTrain ? kTrainTar : kValTar, split == Split::kTrain ? "train" : "val",
                                split == Split::kTrain ? "1d675b47d978889d74fa0da5fadfb00e" : "29b22e2961454d5413ddabcf34fc5622"),
                    ExitCode::kNoInput);
  return place;
}

// The files that say which class an image of val has.
std::vector<std::string> label_files(const std::string& root) {
  if (std::vector<std::string> kit = devkit_files(root); !kit.empty()) return kit;
  if (const std::string solution = solution_file(root, ""); !solution.empty()) return {solution};
  throw UserError(fmt::format("{}: nothing here says which class an evaluation image has.\nPut ILSVRC2012_devkit_t12.tar.gz there "
                              "(from image-net.org, md5 fa75699e90414af021442c21a62c3abf), or Kaggle's LOC_val_solution.csv.",
                              root),
                  ExitCode::kNoInput);
}

ImageLabels read_labels(const std::string& root) {
  const std::vector<std::string> files = label_files(root);
  return files[0].ends_with(".csv") ? read_solution(join_path(root, files[0])) : read_devkit(root, files);
}

struct InnerTar {
  std::string wnid;
  ByteRange bytes;
};

// The inner tars of the training archive: 1,000 headers are read.
std::vector<InnerTar> inner_tars(const std::string& path, std::int64_t& ignored) {
  TarReader outer(ByteRange(std::make_shared<DiskFile>(path)), path);
  std::vector<InnerTar> inner;
  for (TarMember member; outer.next(member);) {
    const std::string_view name = base_of(member.name);
    if (name.ends_with(".tar") && name.front() != '.')
      inner.push_back({std::string(name.substr(0, name.size() - 4)), outer.archive().window(member.offset, member.size)});
    else
      ++ignored;
  }
  ignored += outer.others();
  if (inner.empty())
    bad_data(path, "members", "no tars", "a tar for each class (n01440764.tar, ...)",
             "Fetch the archive again; if it holds <class>/<image>, call it train.tar and set data.source: TAR.");
  return inner;
}

ClassList train_classes(const std::string& root) {
  const std::string place = split_place(root, Split::kTrain);
  if (place.empty()) return {};
  if (!is_tar(place)) return folder_classes(join_path(root, place));
  ClassList classes;
  std::int64_t ignored = 0;
  for (const InnerTar& inner : inner_tars(join_path(root, place), ignored)) classes.names.push_back(inner.wnid);
  order_classes(classes.names, classes.numbered, join_path(root, place));
  return classes;
}

SampleIndex list_train_tar(const std::string& root) {
  const std::string path = join_path(root, kTrainTar);
  std::int64_t ignored = 0;
  const std::vector<InnerTar> inner = inner_tars(path, ignored);
  IndexBuilder builder = build_in_parallel(inner.size(), [&](std::size_t i, IndexBuilder& part) {
    TarReader tar(inner[i].bytes, fmt::format("{}: {}.tar", path, inner[i].wnid));
    const int id = part.class_id(inner[i].wnid);
    for (TarMember member; tar.next(member);) {
      const std::string_view name = base_of(member.name);
      if (is_image_name(name))
        part.add(id, 0, inner[i].bytes.begin() + member.offset, member.size, name);
      else
        part.ignore(name.empty() || name.front() == '.' ? 0 : 1);
    }
    part.ignore(tar.others());
  });
  if (builder.empty()) bad_data(path, "images", "none", ".JPEG files in its tars", "Fetch the archive again.");
  if (builder.class_names().size() != inner.size())
    bad_data(path, "classes", fmt::format("{} tars of {} classes", inner.size(), builder.class_names().size()), "each class once",
             "Fetch the archive again.");
  builder.ignore(ignored);
  return builder.finish({}, false, {{.path = kTrainTar, .archive = true}}, path, "");
}

SampleIndex list_val_tar(const std::string& root) {
  const std::string path = join_path(root, kValTar);
  const ImageLabels labels = read_labels(root);
  LabelLookup lookup(labels);
  IndexBuilder builder;
  TarReader tar(ByteRange(std::make_shared<DiskFile>(path)), path);
  for (TarMember member; tar.next(member);) {
    const std::string_view name = base_of(member.name);
    if (is_image_name(name))
      builder.add(builder.class_id(lookup(name)), 0, member.offset, member.size, name);
    else
      builder.ignore(name.front() == '.' ? 0 : 1);
  }
  builder.ignore(tar.others());
  lookup.check_complete(path);
  ClassList classes = train_classes(root);
  const std::string wanted_from = classes.names.empty() ? labels.from : join_path(root, split_place(root, Split::kTrain));
  if (classes.names.empty()) classes.names = labels.classes;
  return builder.finish(std::move(classes.names), classes.numbered, {{.path = kValTar, .archive = true}}, path, wanted_from);
}

bool found(const std::string& root) { return is_file(join_path(root, kTrainTar)) || is_file(join_path(root, kValTar)); }

std::vector<std::string> inputs(const std::string& root, Split split) {
  const std::string place = require_place(root, split);
  std::vector<std::string> paths{place};
  const bool flat = !is_tar(place) && is_flat(join_path(root, place));
  if (!is_tar(place) && !flat) paths = class_folder_inputs(root, place);
  if (split == Split::kTrain) return paths;
  if (is_tar(place) || flat)
    for (const std::string& file : label_files(root)) paths.push_back(file);
  if (const std::string train = split_place(root, Split::kTrain); !train.empty()) paths.push_back(train);
  return paths;
}

SampleIndex list(const std::string& root, Split split, const IndexOf&) {
  const std::string place = require_place(root, split);
  if (split == Split::kTrain) return is_tar(place) ? list_train_tar(root) : index_class_folders(root, place, {}, false, "");
  if (is_tar(place)) return list_val_tar(root);
  ClassList classes = train_classes(root);
  if (is_flat(join_path(root, place))) return index_flat_folder(root, place, read_labels(root), std::move(classes));
  return index_class_folders(root, place, std::move(classes.names), classes.numbered, split_place(root, Split::kTrain));
}

}  // namespace

constinit const Layout kIlsvrcLayout{SourceKind::kIlsvrc, "ILSVRC2012 archives", "ILSVRC2012_img_train.tar (ImageNet)", found, inputs, list};

}  // namespace lockstep
