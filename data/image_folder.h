// Image folder: <path>/train/<class>/*.jpg. A class's index is its rank in the byte order of the folder names.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/source.h"

namespace lockstep {

// True when `directory` has the split's folder: train/, or val/, valid/, test/ or eval/ for Split::kEval.
bool has_image_folder(const std::string& directory, Split split);

// Lists the images (.jpg, .jpeg, .png in any case; other files are ignored and counted) and decodes them when read.
// The classes of an evaluation split are those of train/ where that exists: a folder unknown there is an error.
class ImageFolderSource final : public Source {
 public:
  ImageFolderSource(const std::string& directory, Split split, int classes);  // throws UserError; blocks on the disk
  std::int64_t size() const override { return static_cast<std::int64_t>(entries_.size()); }
  int classes() const override { return static_cast<int>(class_names_.size()); }
  int label(std::int64_t index) const override { return entry(index).label; }
  int channels() const override { return 3; }
  int height() const override { return 0; }
  int width() const override { return 0; }
  Image read(std::int64_t index, ReadScratch& scratch) const override;
  std::string name(std::int64_t index) const override;
  std::string describe() const override;
  std::string digest() const override;  // over class names, file names and file sizes; asks the disk for each size
  const std::vector<std::string>& class_names() const { return class_names_; }

 private:
  struct Entry {
    std::size_t name_begin;  // in names_; ends where the next entry's begins
    int label;
  };
  const Entry& entry(std::int64_t index) const;
  std::string_view file_name(std::int64_t index) const;
  void write_path(std::int64_t index, std::string& path) const;
  void list_class(const std::string& folder, int label);

  std::string root_;  // the split's folder
  std::vector<std::string> class_names_;
  std::vector<Entry> entries_;
  std::string names_;  // all file names, one after the other: a million strings would cost too much
  std::int64_t ignored_files_ = 0;
};

}  // namespace lockstep
