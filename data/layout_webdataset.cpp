// WebDataset: shards train-*.tar and val-*.tar (any name with the split's word in it), or any tars in train/ and val/. A sample is the
// members that share a key, side by side: KEY.jpg (.jpeg, .png) and KEY.cls, the label in decimal, or KEY.json with "label". The key
// is the path up to the first dot of its last part. Names of classes, one a line, may lie beside the shards in classes.txt.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/error.h"
#include "data/files.h"
#include "data/layouts.h"
#include "data/tar.h"

namespace lockstep {
namespace {

constexpr std::size_t kMaxLabelBytes = 64u << 10;
constexpr std::size_t kMaxNamesBytes = 16u << 20;
constexpr int kMaxClasses = 1 << 20;
constexpr std::string_view kFix = "Write the shards again, with the parts of a sample side by side (`lockstep data pack` does).";

// "imagenet-train-0001.tar" has the word "train" in it, "trainer.tar" has not.
bool has_word(std::string_view name, std::string_view word) {
  for (std::size_t at = name.find(word); at != std::string_view::npos; at = name.find(word, at + 1)) {
    const auto edge = [&](std::size_t i) { return i >= name.size() || name[i] == '-' || name[i] == '_' || name[i] == '.'; };
    if ((at == 0 || edge(at - 1)) && edge(at + word.size())) return true;
  }
  return false;
}

std::vector<std::string> tars_in(const std::string& root, const std::string& folder) {
  std::vector<std::string> tars;
  if (!is_folder(join_path(root, folder))) return tars;
  for (const std::string& name : list_files(join_path(root, folder)))
    if (name.ends_with(".tar")) tars.push_back(folder.empty() ? name : join_path(folder, name));
  return tars;
}

// Below root, in byte order. `numbered_only`: without train.tar itself, which is a tar of classes unless the config says otherwise.
std::vector<std::string> find_shards(const std::string& root, Split split, bool numbered_only = false) {
  const std::vector<std::string> here = tars_in(root, "");
  for (const std::string_view word : split_words(split)) {
    std::vector<std::string> shards;
    for (const std::string& name : here)
      if (has_word(name, word) && !name.starts_with("ILSVRC2012_img_") && !(numbered_only && name == fmt::format("{}.tar", word)))
        shards.push_back(name);
    if (!shards.empty()) return shards;
  }
  const std::string folder = find_split_folder(root, "", split);
  return folder.empty() ? std::vector<std::string>() : tars_in(root, folder);
}

bool found(const std::string& root) {
  try {
    return !find_shards(root, Split::kTrain, true).empty() || !find_shards(root, Split::kEval, true).empty();
  } catch (const UserError&) {
    return false;  // a folder that may not be listed
  }
}

std::vector<std::string> require_shards(const std::string& root, Split split) {
  std::vector<std::string> shards = find_shards(root, split);
  if (shards.empty())
    throw UserError(fmt::format("{}: no shards here. Looked for {}-*.tar and tars in {}/.", root, fmt::join(split_words(split), "-*.tar, "),
                                fmt::join(split_words(split), "/, ")),
                    ExitCode::kNoInput);
  return shards;
}

// classes.txt below root, "" for none.
std::string names_file(const std::string& root, const std::string& shard) {
  for (const std::string& folder : {std::string(folder_of(shard)), std::string()})
    if (const std::string path = folder.empty() ? "classes.txt" : join_path(folder, "classes.txt"); is_file(join_path(root, path))) return path;
  return {};
}

std::vector<std::string> read_names(const std::string& path) {
  std::vector<std::uint8_t> bytes;
  const std::size_t size = read_file(path, kMaxNamesBytes, bytes);
  std::vector<std::string> names(1);
  for (std::size_t i = 0; i < size; ++i) {
    if (bytes[i] == '\n')
      names.emplace_back();
    else if (bytes[i] != '\r')
      names.back() += static_cast<char>(bytes[i]);
  }
  while (!names.empty() && names.back().empty()) names.pop_back();
  std::vector<std::string> sorted = names;
  std::sort(sorted.begin(), sorted.end());
  if (names.empty() || sorted.front().empty()) bad_data(path, "names of classes", "an empty one", "a name a line", "Correct the file.");
  if (const auto twice = std::adjacent_find(sorted.begin(), sorted.end()); twice != sorted.end())
    bad_data(path, "names of classes", fmt::format("{} twice", *twice), "each once", "Correct the file.");
  return names;
}

std::vector<std::string> inputs(const std::string& root, Split split) {
  std::vector<std::string> paths = require_shards(root, split);
  if (std::string names = names_file(root, paths[0]); !names.empty()) paths.push_back(std::move(names));
  return paths;
}

using KeyHashes = std::vector<std::size_t>;  // of a shard's samples, in its order

// Walks one shard and puts the parts of samples together.
class ShardReader {
 public:
  ShardReader(const std::string& path, std::size_t container, const std::vector<std::string>& names, IndexBuilder& out, KeyHashes& keys)
      : path_(path), container_(container), names_(names), out_(out), keys_(keys), tar_(ByteRange(std::make_shared<DiskFile>(path)), path) {}

  void read() {
    for (TarMember member; tar_.next(member);) {
      const std::size_t dot = member.name.find('.', member.name.rfind('/') + 1);  // npos + 1 = 0
      const std::string_view key = std::string_view(member.name).substr(0, dot);
      if (base_of(member.name).front() == '.' || dot == std::string::npos) continue;  // hidden, or no part of a sample
      if (key != key_) {
        finish_sample();
        key_ = key;
      }
      take(member, std::string_view(member.name).substr(dot + 1));
    }
    finish_sample();
    out_.ignore(tar_.others());
  }

 private:
  [[noreturn]] void bad_sample(const std::string& got) { bad_data(path_, fmt::format("sample {}", key_), got, "one image and one label", kFix); }

  void take(const TarMember& member, std::string_view extension) {
    if (is_image_name(fmt::format("x.{}", extension)) && extension.find('.') == std::string_view::npos) {
      if (image_) bad_sample(fmt::format("two images, {} and {}", image_->name, member.name));
      image_ = member;
    } else if (extension == "cls" || (extension == "json" && member.size <= kMaxLabelBytes)) {
      const std::optional<int> label = extension == "cls" ? decimal(content(member)) : json_label(content(member));
      if (extension == "cls" && !label) bad_sample(fmt::format("\"{}\" in {}", content(member).substr(0, 20), member.name));
      if (label && label_ && *label != *label_) bad_sample(fmt::format("two labels, {} and {}", *label_, *label));
      if (label) label_ = label;
    }
  }

  std::string content(const TarMember& member) {
    if (member.size > kMaxLabelBytes) bad_sample(fmt::format("{} bytes in {}", member.size, member.name));
    std::string text(member.size, '\0');
    tar_.read(member, text.data(), text.size());
    return text;
  }

  static std::optional<int> decimal(std::string_view text) {
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) text.remove_suffix(1);
    int value = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failure != std::errc() || end != text.data() + text.size() || value < 0 || value >= kMaxClasses) return std::nullopt;
    return value;
  }

  static std::optional<int> json_label(const std::string& text) {
    const nlohmann::json value = nlohmann::json::parse(text, nullptr, false);
    if (!value.is_object()) return std::nullopt;
    const auto label = value.find("label");
    if (label == value.end() || !label->is_number_integer()) return std::nullopt;
    const auto number = label->get<std::int64_t>();
    if (number < 0 || number >= kMaxClasses) return std::nullopt;
    return static_cast<int>(number);
  }

  void finish_sample() {
    if (image_ && !label_) bad_sample("an image without a label (KEY.cls is missing, or is not beside it)");
    if (!image_ && label_) bad_sample("a label without an image (.jpg, .jpeg, .png), or they are not side by side");
    if (image_) {
      if (!names_.empty() && static_cast<std::size_t>(*label_) >= names_.size())
        bad_sample(fmt::format("label {}, where classes.txt has {} classes", *label_, names_.size()));
      const std::string name = names_.empty() ? fmt::format("{}", *label_) : names_[static_cast<std::size_t>(*label_)];
      out_.add(out_.class_id(name), container_, image_->offset, image_->size, base_of(image_->name));
      keys_.push_back(std::hash<std::string>()(key_));
    }
    image_.reset();
    label_.reset();
  }

  std::string path_;
  std::size_t container_;
  const std::vector<std::string>& names_;
  IndexBuilder& out_;
  KeyHashes& keys_;
  TarReader tar_;
  std::string key_;
  std::optional<TarMember> image_;
  std::optional<int> label_;
};

// `keys`: of all samples, in the builder's order. Two equal ones are one sample in two pieces, or two samples that a reader mixes up.
void refuse_duplicates(const KeyHashes& keys, const IndexBuilder& builder, const std::string& where) {
  std::vector<std::uint32_t> order(keys.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::uint32_t>(i);
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return keys[a] < keys[b]; });
  for (std::size_t i = 1; i < order.size(); ++i) {
    const std::string_view a = builder.base_name(order[i - 1]), b = builder.base_name(order[i]);
    if (keys[order[i - 1]] == keys[order[i]] && a.substr(0, a.find('.')) == b.substr(0, b.find('.')))
      bad_data(where, "samples", fmt::format("two with the key of {}", a), "each key once", kFix);
  }
}

// "0" .. the largest number among the names.
std::vector<std::string> numbers_up_to(const std::vector<std::string>& names) {
  int largest = 0;
  for (const std::string& name : names) largest = std::max(largest, std::stoi(name));
  std::vector<std::string> numbers;
  for (int i = 0; i <= largest; ++i) numbers.push_back(fmt::format("{}", i));
  return numbers;
}

SampleIndex list(const std::string& root, Split split, const IndexOf&) {
  const std::vector<std::string> shards = require_shards(root, split);
  const std::string names_path = names_file(root, shards[0]);
  std::vector<std::string> names = names_path.empty() ? std::vector<std::string>() : read_names(join_path(root, names_path));
  std::vector<KeyHashes> shard_keys(shards.size());
  IndexBuilder builder = build_in_parallel(shards.size(), [&](std::size_t i, IndexBuilder& part) {
    ShardReader(join_path(root, shards[i]), i, names, part, shard_keys[i]).read();
  });
  const std::string where = fmt::format("{} ({} shards)", join_path(root, shards[0]), shards.size());
  if (builder.empty()) bad_data(where, "samples", "none", "KEY.jpg and KEY.cls", "For members <class>/<image>, set data.source: TAR.");
  KeyHashes keys;
  for (const KeyHashes& part : shard_keys) keys.insert(keys.end(), part.begin(), part.end());
  refuse_duplicates(keys, builder, where);
  std::vector<Container> containers;
  for (const std::string& shard : shards) containers.push_back({.path = shard, .archive = true});
  const bool numbered = names.empty();
  if (numbered) names = numbers_up_to(builder.class_names());
  return builder.finish(std::move(names), numbered, std::move(containers), where, "classes.txt");
}

}  // namespace

constinit const Layout kWebDatasetLayout{SourceKind::kWebDataset, "WebDataset", "train-*.tar (WebDataset)", found, inputs, list};

}  // namespace lockstep
