// SPDX-License-Identifier: Apache-2.0
#include "data/indexed_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <climits>

#include "core/error.h"
#include "core/trace.h"
#include "data/decode.h"
#include "data/files.h"
#include "data/index_cache.h"
#include "data/limits.h"

namespace lockstep {
namespace {

std::vector<FileStamp> stamps_of(const Layout& layout, const std::string& root, Split split) {
  std::vector<FileStamp> stamps;
  for (const std::string& path : layout.inputs(root, split)) stamps.push_back(stamp_of(root, path));
  return stamps;
}

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// Starts to read a small file as a whole. The path is put together on the stack: warm threads ask nobody for memory.
void will_read_file(std::string_view root, std::string_view folder, std::string_view name) {
  std::array<char, PATH_MAX> path;
  if (root.size() + folder.size() + name.size() + 3 > path.size()) return;
  const auto end = fmt::format_to(path.data(), "{}/{}/{}", root, folder, name);
  *end = '\0';
  const int fd = ::open(path.data(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return;  // reading says why
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED);
  ::close(fd);
}

}  // namespace

SampleIndex make_index(const Layout& layout, const std::string& root, Split split, const std::string& cache) {
  const IndexOf index_of = [&](Split other) { return make_index(layout, root, other, cache); };
  if (cache.empty()) {
    layout.inputs(root, split);  // for its errors
    return layout.list(root, split, index_of);
  }
  const std::string file = index_cache_file(cache, root, split, layout.name);
  const std::int64_t begun_ns = now_ns();
  const std::vector<FileStamp> stamps = stamps_of(layout, root, split);
  if (std::optional<SampleIndex> kept = load_index(file, stamps)) return *std::move(kept);
  SampleIndex index = layout.list(root, split, index_of);
  if (settled(stamps, begun_ns) && stamps_of(layout, root, split) == stamps) save_index(file, stamps, index);
  return index;
}

IndexedSource::IndexedSource(const Layout& layout, std::string root, SampleIndex index, int classes)
    : layout_(layout), root_(std::move(root)), index_(std::move(index)) {
  check_classes(classes);
  open_archives();
}

void IndexedSource::check_classes(int wanted) {
  const int got = classes();
  if (wanted == 0 || got == wanted) return;
  // Labels without names: the data shows only how many classes there are at least. The digest stays that of the data.
  if (layout_.kind == SourceKind::kWebDataset && index_.numbered && got < wanted) {
    for (int i = got; i < wanted; ++i) index_.classes.push_back(fmt::format("{}", i));
    return;
  }
  bad_data(root_, fmt::format("number of classes ({})", layout_.name), fmt::format("{}", got), fmt::format("{}", wanted),
           got < wanted ? "Complete the data (a partial download, an unfinished unpacking?), or correct model.classes."
                        : "Correct model.classes, or the data.");
}

void IndexedSource::open_archives() {
  std::size_t count = 0;
  for (const Container& container : index_.containers) count += container.archive;
  allow_open_files(count);
  archives_.resize(index_.containers.size());
  for (std::size_t i = 0; i < archives_.size(); ++i)
    if (index_.containers[i].archive) archives_[i] = std::make_unique<DiskFile>(join_path(root_, index_.containers[i].path));
  for (const IndexEntry& e : index_.entries) {
    const DiskFile* file = archives_[e.container].get();
    if (file != nullptr && (e.offset > file->size() || e.size > file->size() - e.offset))
      bad_data(file->name(), "archive", "an end before what its index names", "the file that was indexed",
               "The data must not change while it is in use.");
  }
}

const IndexEntry& IndexedSource::entry(std::int64_t index) const {
  LS_CHECK(index >= 0 && index < size(), fmt::format("sample {} of {}", index, size()));
  return index_.entries[static_cast<std::size_t>(index)];
}

void IndexedSource::write_name(std::int64_t index, std::string& name) const {
  const IndexEntry& e = entry(index);
  const Container& in = container(e);
  name.assign(root_).append("/").append(in.path).append("/");
  if (in.archive) {
    name.back() = ':';
    name.append(" ").append(index_.classes[static_cast<std::size_t>(e.label)]).append("/");
  }
  name.append(index_.base_name(static_cast<std::size_t>(index)));
}

std::span<const std::uint8_t> IndexedSource::fetch(std::int64_t index, ReadScratch& scratch) const {
  write_name(index, scratch.path);
  const IndexEntry& e = entry(index);
  const DiskFile* archive = archives_[e.container].get();
  if (archive == nullptr) {
    const std::size_t size = read_file(scratch.path, kMaxImageFileBytes, scratch.file);
    if (size != e.size)
      bad_data(scratch.path, "file size", fmt::format("{} bytes", size), fmt::format("{}, as when it was indexed", e.size),
               "The data changed: `touch` the folder, so that it is indexed again.");
    return {scratch.file.data(), size};
  }
  if (e.size > kMaxImageFileBytes)
    bad_data(scratch.path, "image too large", fmt::format("{} bytes", e.size), fmt::format("at most {}", kMaxImageFileBytes), "Replace the image.");
  grow(scratch.file, e.size);
  archive->read(e.offset, scratch.file.data(), e.size);
  return {scratch.file.data(), e.size};
}

Image IndexedSource::read(std::int64_t index, ReadScratch& scratch) const {
  const std::span<const std::uint8_t> bytes = fetch(index, scratch);
  const TraceScope trace(SpanKind::kLoader, "decode", index);
  return decode_image(bytes, scratch.path, scratch);
}

void IndexedSource::will_read(std::span<const std::int64_t> indices) const {
  for (const std::int64_t index : indices) {
    if (index < 0 || index >= size()) continue;
    const IndexEntry& e = entry(index);
    if (const DiskFile* archive = archives_[e.container].get(); archive != nullptr)
      archive->will_read(e.offset, e.size);
    else
      will_read_file(root_, container(e).path, index_.base_name(static_cast<std::size_t>(index)));
  }
}

std::string IndexedSource::name(std::int64_t index) const {
  std::string text;
  write_name(index, text);
  return text;
}

std::string IndexedSource::describe() const {
  const Container& first = index_.containers.front();
  const bool several = index_.containers.size() > 1;
  const std::string place = first.archive ? (several ? fmt::format("{} tars in {}", index_.containers.size(), root_) : join_path(root_, first.path))
                                          : join_path(root_, several ? folder_of(first.path) : std::string_view(first.path));
  const std::string ignored = index_.ignored == 0 ? "" : fmt::format(", {} other files ignored", index_.ignored);
  const char* order = index_.numbered ? " in the order of their numbers" : "";
  return fmt::format("{}: {} images, {} classes{}{} ({})", layout_.name, size(), classes(), order, ignored, place);
}

}  // namespace lockstep
