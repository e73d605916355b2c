// SampleIndex: where each image of an encoded data set lies: file or place in an archive, size, label, name.
//
// Every layout (data/layouts.h) is a function from a path to one of these; IndexedSource reads them all. Samples are in the byte
// order of (label, base name), whatever the layout, so that the same images are the same data set however they are stored: same
// order, same digest, same run. 1.28 million entries cost 24 bytes each and their base names.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace lockstep {

// A file or folder whose change makes an index stale.
struct FileStamp {
  std::string path;  // below the index's root; "" is the root itself
  std::int64_t size = 0;
  std::int64_t mtime_ns = 0;
  std::uint64_t inode = 0;
  bool operator==(const FileStamp&) const = default;
};
FileStamp stamp_of(const std::string& root, const std::string& path);  // throws UserError(kNoInput)

// "root/path"; root alone for an empty path.
std::string join_path(std::string_view root, std::string_view path);

// What holds images: an uncompressed tar, or a folder of image files.
struct Container {
  std::string path;  // below the root
  bool archive = false;
  bool operator==(const Container&) const = default;
};

struct IndexEntry {
  std::uint64_t offset;      // of the image's bytes in the archive; 0 for a file of its own
  std::uint32_t size;        // bytes; 2^32 - 1 stands for that many or more (such an image is bad)
  std::uint32_t name_begin;  // of the base name in `names`; it ends where the next entry's begins
  std::uint32_t container;
  std::int32_t label;
};
static_assert(sizeof(IndexEntry) == 24, "the index cache stores these as they are");

struct SampleIndex {
  std::vector<std::string> classes;  // names in order; "0", "1", ... where the data has none
  std::vector<Container> containers;
  std::vector<IndexEntry> entries;
  std::string names;
  std::int64_t ignored = 0;  // files and members that are no images, hidden ones and folders aside
  bool numbered = false;     // the classes are numbers, and ordered as such
  std::string digest;        // 32 hex digits: classes, base names, labels, sizes; nothing of the layout

  std::int64_t size() const { return static_cast<std::int64_t>(entries.size()); }
  std::string_view base_name(std::size_t entry) const;
  bool operator==(const SampleIndex& other) const;
};

// Why this can't be an index: a number out of its range. Empty: it may be one.
std::string index_fault(const SampleIndex& index);

// The order of classes: byte order of the names; if they are exactly 0 .. N-1, by number (`numbered` is set). Throws
// UserError(kData) for exactly 1 .. 1000: numbers of the ImageNet development kit are not in the order of the wnids, which every
// published network uses.
void order_classes(std::vector<std::string>& names, bool& numbered, const std::string& where);

// "a, b, c and 4 more"
std::string examples(const std::vector<std::string>& all);

// Is this the name of an image: .jpg, .jpeg, .png in any case, not hidden? `name` is a base name.
bool is_image_name(std::string_view name);
std::string_view base_of(std::string_view path);    // after the last '/'
std::string_view folder_of(std::string_view path);  // before the last '/'; "" without one

// Collects entries in any order, under class names; finish() puts all in order.
class IndexBuilder {
 public:
  int class_id(std::string_view name);  // its number here; a new name gets the next one
  void add(int class_id, std::size_t container, std::uint64_t offset, std::uint64_t size, std::string_view base_name);
  void ignore(std::int64_t files) { ignored_ += files; }
  void append(IndexBuilder other);  // containers are those of the whole index
  bool empty() const { return entries_.empty(); }
  std::size_t size() const { return entries_.size(); }
  std::string_view base_name(std::size_t entry) const { return name_of(entries_[entry]); }  // in the order of add()
  const std::vector<std::string>& class_names() const { return class_names_; }

  // `classes` are all there are, in order; empty: those that were met, in order_classes's order. A class that is none of them is
  // an error that shows examples. `where` for messages: the split's folder or archive. `wanted_from`: what the list comes from.
  SampleIndex finish(std::vector<std::string> classes, bool numbered, std::vector<Container> containers, const std::string& where,
                     const std::string& wanted_from);

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  struct Entry {
    IndexEntry entry;
    std::uint32_t name_size;
  };
  std::string_view name_of(const Entry& entry) const { return std::string_view(names_).substr(entry.entry.name_begin, entry.name_size); }
  void relabel(const SampleIndex& index, const std::string& where, const std::string& wanted_from);

  std::vector<std::string> class_names_;
  std::unordered_map<std::string, int, Hash, std::equal_to<>> class_ids_;
  std::vector<Entry> entries_;
  std::string names_;
  std::int64_t ignored_ = 0;
};

}  // namespace lockstep
