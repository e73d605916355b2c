// Layouts: the ways in which encoded images lie on a disk, each a function from a path to a SampleIndex.
//
// A layout has two steps: to find the files it consists of (cheap: a few folders are listed) and to list the images in them
// (dear: every member of an archive, every file of a folder). An index that was kept is used again as long as the first step finds
// the same files, unchanged (data/index_cache.h).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/sample_index.h"
#include "data/source.h"

namespace lockstep {

using IndexOf = std::function<SampleIndex(Split)>;  // the index of a split of the same data set, kept or new

struct Layout {
  SourceKind kind;
  std::string_view name;       // for messages: "image folder"
  std::string_view looks_for;  // for messages: what it is recognised by
  // Is this layout at `root` (a folder), in at least one split? Never throws.
  bool (*found)(const std::string& root);
  // Paths below `root` of all that the split's index depends on, in a fixed order. Throws UserError when the split is not there.
  std::vector<std::string> (*inputs)(const std::string& root, Split split);
  // Lists the split. Throws UserError, EnvironmentError. Blocks on the disk; uses several threads.
  SampleIndex (*list)(const std::string& root, Split split, const IndexOf& index_of);
};

extern const Layout kFolderLayout, kIlsvrcLayout, kKaggleLayout, kTarLayout, kWebDatasetLayout;
// In order of precedence: of two that are found, the first may describe more of the data.
inline constexpr std::array<const Layout*, 5> kLayouts = {&kIlsvrcLayout, &kKaggleLayout, &kWebDatasetLayout, &kTarLayout, &kFolderLayout};

// The names by which splits are found, in order of preference: train; val, validation, valid, test, eval.
std::span<const std::string_view> split_words(Split split);
// The first of split_words that is a folder below `folder` (itself below root); "" when there is none.
std::string find_split_folder(const std::string& root, const std::string& folder, Split split);

bool is_folder(const std::string& path);
bool is_file(const std::string& path);
// Names in a folder, in byte order; hidden ones are left out. Throws UserError(kNoInput).
std::vector<std::string> list_folders(const std::string& path);
std::vector<std::string> list_files(const std::string& path);  // regular ones
// Is the first thing in the folder that is not hidden an image file, and no folder of a class?
bool is_flat(const std::string& path);

// Runs body(i, builder i) for i in [0, count) from several threads and appends the builders in order. Of several exceptions the
// one with the lowest i is thrown.
IndexBuilder build_in_parallel(std::size_t count, const std::function<void(std::size_t, IndexBuilder&)>& body);

// Adds the images that lie in `folder` (container `container`, below root) under the class that `class_of` returns for a base name.
void add_files(const std::string& root, const Container& folder, std::size_t container,
               const std::function<std::string_view(std::string_view base_name)>& class_of, IndexBuilder& builder);

// Class folders below `folder`. `classes`: as for IndexBuilder::finish; empty: the folders themselves, empty ones included.
SampleIndex index_class_folders(const std::string& root, const std::string& folder, std::vector<std::string> classes, bool numbered,
                                const std::string& wanted_from);
std::vector<std::string> class_folder_inputs(const std::string& root, const std::string& folder);  // itself and its folders

// The classes of a folder layout's train/: ordered.
struct ClassList {
  std::vector<std::string> names;
  bool numbered = false;
};
ClassList folder_classes(const std::string& path);

}  // namespace lockstep
