// SPDX-License-Identifier: Apache-2.0
#include "data/sample_index.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <limits>
#include <optional>
#include <tuple>

#include "core/error.h"
#include "data/files.h"
#include "data/manifest_hash.h"

namespace lockstep {
namespace {

constexpr std::uint32_t kHuge = std::numeric_limits<std::uint32_t>::max();

// A number as people write it: no sign, no leading zeros.
std::optional<int> plain_number(std::string_view text) {
  int value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size() || (text.size() > 1 && text.front() == '0') || text.front() == '-')
    return std::nullopt;
  return value;
}

// Are the names exactly first, first + 1, ...?
bool counts_from(const std::vector<std::string>& names, int first) {
  std::vector<bool> seen(names.size());
  for (const std::string& name : names) {
    const std::optional<int> number = plain_number(name);
    if (!number || *number < first || static_cast<std::size_t>(*number - first) >= names.size()) return false;
    seen[static_cast<std::size_t>(*number - first)] = true;
  }
  return std::find(seen.begin(), seen.end(), false) == seen.end();
}

std::string digest_of(const SampleIndex& index) {
  ManifestHash hash("folder");
  hash.add(static_cast<std::int64_t>(index.classes.size()));
  for (const std::string& name : index.classes) hash.add(name);
  hash.add(index.size());
  for (std::size_t i = 0; i < index.entries.size(); ++i) {
    hash.add(index.base_name(i));
    hash.add(index.entries[i].label);
    hash.add(static_cast<std::int64_t>(index.entries[i].size));
  }
  return hash.hex();
}

}  // namespace

std::string join_path(std::string_view root, std::string_view path) {
  if (path.empty()) return std::string(root);
  if (root.empty() || root.back() == '/') return fmt::format("{}{}", root, path);
  return fmt::format("{}/{}", root, path);
}

FileStamp stamp_of(const std::string& root, const std::string& path) {
  struct stat status = {};
  if (::stat(join_path(root, path).c_str(), &status) != 0)
    no_input(join_path(root, path), std::strerror(errno), "Check the path and its permissions.");
  return {path, status.st_size, std::int64_t{1'000'000'000} * status.st_mtim.tv_sec + status.st_mtim.tv_nsec, status.st_ino};
}

std::string_view SampleIndex::base_name(std::size_t entry) const {
  const std::size_t begin = entries[entry].name_begin;
  const std::size_t end = entry + 1 < entries.size() ? entries[entry + 1].name_begin : names.size();
  return std::string_view(names).substr(begin, end - begin);
}

bool SampleIndex::operator==(const SampleIndex& other) const {
  const auto same = [](const IndexEntry& a, const IndexEntry& b) { return std::memcmp(&a, &b, sizeof a) == 0; };  // it has no padding
  return classes == other.classes && containers == other.containers && names == other.names && ignored == other.ignored &&
         numbered == other.numbered && digest == other.digest &&
         std::equal(entries.begin(), entries.end(), other.entries.begin(), other.entries.end(), same);
}

std::string index_fault(const SampleIndex& index) {
  if (index.entries.empty() || index.classes.empty()) return "it is empty";
  std::size_t name_begin = 0;
  for (const IndexEntry& entry : index.entries) {
    if (entry.label < 0 || static_cast<std::size_t>(entry.label) >= index.classes.size()) return "a label out of range";
    if (entry.container >= index.containers.size()) return "a container out of range";
    if (entry.name_begin < name_begin || entry.name_begin > index.names.size()) return "a name out of range";
    name_begin = entry.name_begin;
  }
  return {};
}

void order_classes(std::vector<std::string>& names, bool& numbered, const std::string& where) {
  std::sort(names.begin(), names.end());
  numbered = counts_from(names, 0);
  if (numbered)
    std::stable_sort(names.begin(), names.end(), [](const std::string& a, const std::string& b) { return a.size() < b.size(); });
  if (names.size() == 1000 && counts_from(names, 1))
    bad_data(where, "names of the classes", "1 to 1000", "the wnids (n01440764, ...)",
             "These look like numbers of the ImageNet development kit, which are not in the order of the wnids that published networks use. "
             "Name the folders by wnid; for any other data set, count from 0.");
}

std::string examples(const std::vector<std::string>& all) {
  const std::vector<std::string> first(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(3, all.size())));
  return all.size() <= 3 ? fmt::format("{}", fmt::join(first, ", ")) : fmt::format("{} and {} more", fmt::join(first, ", "), all.size() - 3);
}

std::string_view base_of(std::string_view path) { return path.substr(path.rfind('/') + 1); }

std::string_view folder_of(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
}

bool is_image_name(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos || name.front() == '.') return false;
  std::string extension(name.substr(dot + 1));
  for (char& c : extension) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return extension == "jpg" || extension == "jpeg" || extension == "png";
}

int IndexBuilder::class_id(std::string_view name) {
  if (const auto found = class_ids_.find(name); found != class_ids_.end()) return found->second;
  const int id = static_cast<int>(class_names_.size());
  class_names_.emplace_back(name);
  class_ids_.emplace(std::string(name), id);
  return id;
}

void IndexBuilder::add(int class_id, std::size_t container, std::uint64_t offset, std::uint64_t size, std::string_view base_name) {
  if (names_.size() + base_name.size() >= kHuge)
    throw UserError("data: the names of all images together have more than 4 GiB: split the data set.", ExitCode::kData);
  const auto name_begin = static_cast<std::uint32_t>(names_.size());
  const auto bytes = static_cast<std::uint32_t>(std::min<std::uint64_t>(size, kHuge));
  entries_.push_back({{offset, bytes, name_begin, static_cast<std::uint32_t>(container), class_id}, static_cast<std::uint32_t>(base_name.size())});
  names_ += base_name;
}

void IndexBuilder::append(IndexBuilder other) {
  std::vector<int> ids;
  for (const std::string& name : other.class_names_) ids.push_back(class_id(name));
  for (const Entry& e : other.entries_)
    add(ids[static_cast<std::size_t>(e.entry.label)], e.entry.container, e.entry.offset, e.entry.size, other.name_of(e));
  ignored_ += other.ignored_;
}

void IndexBuilder::relabel(const SampleIndex& index, const std::string& where, const std::string& wanted_from) {
  std::unordered_map<std::string_view, int> places;
  for (std::size_t i = 0; i < index.classes.size(); ++i) places.emplace(index.classes[i], static_cast<int>(i));
  std::vector<int> labels;
  std::vector<std::string> strangers;
  for (const std::string& name : class_names_) {
    const auto place = places.find(name);
    if (place == places.end()) strangers.push_back(name);
    labels.push_back(place == places.end() ? -1 : place->second);
  }
  std::sort(strangers.begin(), strangers.end());
  if (!strangers.empty())
    bad_data(where, "classes", fmt::format("{}, which {} does not have", examples(strangers), wanted_from),
             fmt::format("only some of its {} classes", index.classes.size()),
             "Remove these images here, or complete the training data (a partial download?).");
  for (Entry& e : entries_) e.entry.label = labels[static_cast<std::size_t>(e.entry.label)];
}

SampleIndex IndexBuilder::finish(std::vector<std::string> classes, bool numbered, std::vector<Container> containers, const std::string& where,
                                 const std::string& wanted_from) {
  SampleIndex index;
  index.classes = std::move(classes);
  index.numbered = numbered;
  index.containers = std::move(containers);
  index.ignored = ignored_;
  if (index.classes.empty()) {
    index.classes = class_names_;
    order_classes(index.classes, index.numbered, where);
  }
  relabel(index, where, wanted_from);
  std::sort(entries_.begin(), entries_.end(), [this](const Entry& a, const Entry& b) {
    if (a.entry.label != b.entry.label) return a.entry.label < b.entry.label;
    if (const int order = name_of(a).compare(name_of(b)); order != 0) return order < 0;
    return std::tie(a.entry.container, a.entry.offset) < std::tie(b.entry.container, b.entry.offset);
  });
  index.entries.reserve(entries_.size());
  index.names.reserve(names_.size());
  for (const Entry& e : entries_) {
    index.entries.push_back(e.entry);
    index.entries.back().name_begin = static_cast<std::uint32_t>(index.names.size());
    index.names += name_of(e);
  }
  index.digest = digest_of(index);
  return index;
}

}  // namespace lockstep
