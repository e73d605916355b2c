// SPDX-License-Identifier: Apache-2.0
#include "data/devkit.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <memory>

#include "core/error.h"
#include "data/files.h"
#include "data/mat_file.h"
#include "data/tar.h"

namespace lockstep {
namespace {

constexpr const char* kMeta = "meta.mat";
constexpr const char* kTruth = "ILSVRC2012_validation_ground_truth.txt";
constexpr std::size_t kMaxFile = 64u << 20, kMaxArchive = 256u << 20;
constexpr std::string_view kAgain = "Fetch ILSVRC2012_devkit_t12.tar.gz again (md5 fa75699e90414af021442c21a62c3abf).";

using Bytes = std::vector<std::uint8_t>;

struct Kit {
  Bytes meta, truth;
};

Bytes whole_file(const std::string& path) {
  Bytes bytes;
  bytes.resize(read_file(path, kMaxFile, bytes));
  return bytes;
}

// The archive is small (2.5 MB): it is inflated into memory.
Kit read_archive(const std::string& path) {
  GzReader in(path);
  Bytes archive;
  for (std::size_t got = 1; got != 0;) {
    const std::size_t done = archive.size();
    archive.resize(done + (std::size_t{1} << 20));
    got = in.read(archive.data() + done, archive.size() - done);
    archive.resize(done + got);
    if (archive.size() > kMaxArchive) bad_data(path, "unpacked size", fmt::format("more than {} bytes", kMaxArchive), "a development kit", kAgain);
  }
  TarReader tar(ByteRange(std::make_shared<MemoryFile>(path, std::move(archive))), path);
  Kit kit;
  for (TarMember member; tar.next(member);)
    for (const auto& [name, bytes] : {std::pair{kMeta, &kit.meta}, std::pair{kTruth, &kit.truth}})
      if (base_of(member.name) == name && bytes->empty()) {
        bytes->resize(member.size);
        tar.read(member, bytes->data(), bytes->size());
      }
  if (kit.meta.empty() || kit.truth.empty())
    bad_data(path, "members", fmt::format("no {}", kit.meta.empty() ? kMeta : kTruth), fmt::format("data/{} and data/{}", kMeta, kTruth), kAgain);
  return kit;
}

// ILSVRC2012_ID -> wnid of the classes; inner nodes of the hierarchy have ids too, but no images.
std::map<std::int64_t, std::string> wnids(const Bytes& meta, const std::string& from) {
  std::map<std::int64_t, std::string> by_id;
  for (const MatRecord& record : read_mat_structs(meta, "synsets", from)) {
    const auto id = record.numbers.find("ILSVRC2012_ID");
    const auto wnid = record.texts.find("WNID");
    if (id == record.numbers.end() || wnid == record.texts.end() || wnid->second.empty())
      bad_data(from, "synsets in meta.mat", "one without ILSVRC2012_ID or WNID", "both", kAgain);
    const auto children = record.numbers.find("num_children");
    if (children != record.numbers.end() && children->second > 0) continue;
    if (!by_id.emplace(id->second, wnid->second).second)
      bad_data(from, "synsets in meta.mat", fmt::format("id {} twice", id->second), "each id once", kAgain);
  }
  if (by_id.empty()) bad_data(from, "synsets in meta.mat", "none", "a struct array of that name", kAgain);
  return by_id;
}

}  // namespace

std::vector<std::string> devkit_files(const std::string& root) {
  for (const char* archive : {"ILSVRC2012_devkit_t12.tar.gz", "ILSVRC2012_devkit_t12.tar"})
    if (is_file(join_path(root, archive))) return {archive};
  for (const char* folder : {"ILSVRC2012_devkit_t12/data", "data"})
    if (is_file(join_path(root, join_path(folder, kMeta))) && is_file(join_path(root, join_path(folder, kTruth))))
      return {join_path(folder, kMeta), join_path(folder, kTruth)};
  return {};
}

ImageLabels read_devkit(const std::string& root, const std::vector<std::string>& files) {
  const std::string path = join_path(root, files[0]);
  const Kit kit = files.size() == 1 ? read_archive(path) : Kit{whole_file(path), whole_file(join_path(root, files[1]))};
  const std::map<std::int64_t, std::string> by_id = wnids(kit.meta, path);
  ImageLabels labels{.from = files.size() == 1 ? path : join_path(root, files[1])};
  const char* at = reinterpret_cast<const char*>(kit.truth.data());
  const char* const end = at + kit.truth.size();
  for (std::int64_t image = 1;; ++image) {
    while (at != end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) ++at;
    if (at == end) break;
    std::int64_t id = 0;
    const auto [after, failure] = std::from_chars(at, end, id);
    const auto wnid = failure == std::errc() ? by_id.find(id) : by_id.end();
    if (wnid == by_id.end())
      bad_data(labels.from, fmt::format("ground truth of image {}", image), failure == std::errc() ? fmt::format("{}", id) : "no number",
               "the id of a class in meta.mat", kAgain);
    labels.class_of.emplace(fmt::format("ILSVRC2012_val_{:08}", image), wnid->second);
    at = after;
  }
  if (labels.class_of.empty()) bad_data(labels.from, "ground truth", "no images", "one number a line", kAgain);
  for (const auto& [id, wnid] : by_id) labels.classes.push_back(wnid);
  std::sort(labels.classes.begin(), labels.classes.end());
  if (std::adjacent_find(labels.classes.begin(), labels.classes.end()) != labels.classes.end())
    bad_data(path, "synsets in meta.mat", "a wnid twice", "each once", kAgain);
  return labels;
}

}  // namespace lockstep
