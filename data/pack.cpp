// SPDX-License-Identifier: Apache-2.0
#include "data/pack.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

#include "core/error.h"
#include "data/decode.h"
#include "data/image_writer.h"
#include "data/indexed_source.h"
#include "data/resize.h"
#include "data/tar_writer.h"
#include "data/work_crew.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kImagesPerThread = 4;  // that wait in memory to be written in order
constexpr std::size_t kListed = 20;           // bad images in an error's message

struct Worker {
  ReadScratch read;
  ResizeScratch resize;
  std::vector<std::uint8_t> pixels;
};

struct Item {
  std::string base_name;
  std::vector<std::uint8_t> bytes;
  bool resized = false;
  std::string fault;  // why the image can't be packed
};

std::string base_name_of(const Source& source, std::int64_t index) {
  if (const auto* indexed = dynamic_cast<const IndexedSource*>(&source))
    return std::string(indexed->index().base_name(static_cast<std::size_t>(index)));
  return std::string(base_of(source.name(index)));
}

std::string_view key_of(std::string_view base_name) { return base_name.substr(0, base_name.find('.')); }

// May classes' names be folders in a shard? If one may not, all classes go by number, so that no two meet.
bool all_plain(std::span<const std::string> names) {
  const auto plain_char = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-'; };
  const auto plain = [&](const std::string& name) { return !name.empty() && std::all_of(name.begin(), name.end(), plain_char); };
  return !names.empty() && std::all_of(names.begin(), names.end(), plain);
}

std::string first_line(std::string_view message) { return std::string(message.substr(0, message.find('\n'))); }

class Packer {
 public:
  Packer(const Source& source, const PackOptions& options)
      : source_(source), options_(options), threads_(crew_size(options.threads)), workers_(static_cast<std::size_t>(threads_)) {
    items_.resize(static_cast<std::size_t>(kImagesPerThread * threads_));
  }

  PackedSplit run() {
    const auto window = static_cast<std::int64_t>(items_.size());
    for (std::int64_t begin = 0; begin < source_.size(); begin += window) {
      const std::int64_t count = std::min(window, source_.size() - begin);
      for_each_piece(count, 1, threads_, [&](int worker, std::int64_t i, std::int64_t) {
        prepare(begin + i, workers_[static_cast<std::size_t>(worker)], items_[static_cast<std::size_t>(i)]);
      });
      check_bad(count);
      for (std::int64_t i = 0; i < count; ++i) write(begin + i, items_[static_cast<std::size_t>(i)]);
      if (options_.progress) options_.progress(begin + count, source_.size());
    }
    finish_shard();
    return std::move(result_);
  }

 private:
  void prepare(std::int64_t index, Worker& worker, Item& item) const {
    item.base_name = base_name_of(source_, index);
    item.fault.clear();
    item.resized = false;
    item.bytes.clear();
    try {
      const auto bytes = source_.fetch(index, worker.read);
      const Image image = decode_image(bytes, source_.name(index), worker.read);
      if (options_.resize_short > 0 && std::min(image.height, image.width) > options_.resize_short)
        shrink(image, worker, item);
      else
        item.bytes.assign(bytes.begin(), bytes.end());
    } catch (const UserError& error) {
      item.fault = first_line(error.what());
    }
  }

  // As torchvision's Resize(resize_short): the long side is rounded down.
  void shrink(const Image& image, Worker& worker, Item& item) const {
    const std::int64_t to = options_.resize_short, shorter = std::min(image.height, image.width);
    const int height = static_cast<int>(to * image.height / shorter), width = static_cast<int>(to * image.width / shorter);
    worker.pixels.resize(std::size_t{3} * height * width);
    resize({.pixels = image.pixels,
            .row_bytes = std::ptrdiff_t{image.width} * image.channels,
            .height = image.height,
            .width = image.width,
            .channels = image.channels,
            .to_height = height,
            .to_width = width,
            .out_height = height,
            .out_width = width},
           worker.resize, worker.pixels.data());
    encode_jpeg({worker.pixels.data(), height, width, image.channels}, options_.quality, item.bytes);
    item.base_name = item.base_name.substr(0, item.base_name.rfind('.')) + ".jpg";
    item.resized = true;
  }

  void check_bad(std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i)
      if (const Item& item = items_[static_cast<std::size_t>(i)]; !item.fault.empty()) result_.skipped.push_back(item.fault);
    if (static_cast<std::int64_t>(result_.skipped.size()) <= options_.max_skipped) return;
    std::string list;
    for (std::size_t i = 0; i < std::min(kListed, result_.skipped.size()); ++i) list += "\n  " + result_.skipped[i];
    throw UserError(
        fmt::format("data pack: got {} bad images so far, want at most {} (--skip-bad):{}\nReplace or remove them (`lockstep data scan` lists "
                    "all), or leave them out with --skip-bad N; empty {} before the next try.",
                    result_.skipped.size(), options_.max_skipped, list, options_.output),
        ExitCode::kData);
  }

  void write(std::int64_t index, const Item& item) {
    if (!item.fault.empty()) return;
    const int label = source_.label(index);
    const std::string folder = folder_of_class(label) + "/";
    const std::string name = folder + item.base_name, label_name = folder + std::string(key_of(item.base_name)) + ".cls",
                      label_text = std::to_string(label);
    const std::int64_t more =
        TarWriter::member_bytes(name, static_cast<std::int64_t>(item.bytes.size())) + TarWriter::member_bytes(label_name, std::ssize(label_text));
    if (shard_ != nullptr && shard_->nbytes() + more > options_.shard_bytes) finish_shard();
    if (shard_ == nullptr) {
      result_.shards.push_back(fmt::format("{}-{:06}.tar", options_.split_name, result_.shards.size()));
      shard_ = std::make_unique<TarWriter>((fs::path(options_.output) / result_.shards.back()).string());
    }
    shard_->add(name, item.bytes);
    shard_->add(label_name, {reinterpret_cast<const std::uint8_t*>(label_text.data()), label_text.size()});
    ++result_.images;
    result_.resized += item.resized ? 1 : 0;
  }

  void finish_shard() {
    if (shard_ == nullptr) return;
    shard_->finish();
    result_.bytes += shard_->nbytes();
    shard_.reset();
  }

  std::string folder_of_class(int label) const { return plain_names_ ? source_.class_names()[static_cast<std::size_t>(label)] : std::to_string(label); }

  const Source& source_;
  const PackOptions& options_;
  const bool plain_names_ = all_plain(source_.class_names());
  const int threads_;
  std::vector<Worker> workers_;
  std::vector<Item> items_;
  std::unique_ptr<TarWriter> shard_;
  PackedSplit result_;
};

// Names that share all up to the first dot stand beside each other in the order of the set.
void check_keys(const Source& source) {
  std::string before;
  int label_before = -1;
  for (std::int64_t i = 0; i < source.size(); ++i) {
    std::string name = base_name_of(source, i);
    if (name.find('.') != name.rfind('.'))
      throw UserError(fmt::format("data pack: {}: got a name with several dots, want one: a sample's key ends at the first dot. Rename it.", name),
                      ExitCode::kData);
    if (source.label(i) == label_before && key_of(name) == key_of(before))
      throw UserError(
          fmt::format("data pack: {} and {} would have one key in a shard, \"{}\": the names of a class's images must differ before the first "
                      "dot. Rename one.",
                      before, name, key_of(name)),
          ExitCode::kData);
    before = std::move(name);
    label_before = source.label(i);
  }
}

}  // namespace

void check_packable(const Source& source) {
  if (!source.encoded())
    throw UserError(
        fmt::format("data pack: {}: got a set whose images lie unpacked in a few files already, want JPEG or PNG files.", source.describe()));
  check_keys(source);
}

PackedSplit pack(const Source& source, const PackOptions& options) {
  check_packable(source);
  return Packer(source, options).run();
}

void make_pack_folder(const std::string& output) {
  std::error_code failure;
  fs::create_directories(output, failure);
  const bool empty = !failure && fs::is_empty(output, failure);
  if (failure)
    throw UserError(fmt::format("{}: can't be made or read: {}. Name another folder (--output).", output, failure.message()), ExitCode::kCantCreate);
  if (!empty)
    throw UserError(fmt::format("{}: got a folder that holds something, want a new or empty one (--output).", output), ExitCode::kCantCreate);
}

void write_class_names(const Source& source, const std::string& output) {
  if (source.class_names().empty()) return;
  const auto* indexed = dynamic_cast<const IndexedSource*>(&source);
  if (indexed != nullptr && indexed->layout().kind == SourceKind::kWebDataset && indexed->index().numbered) return;  // it had none
  std::string text;
  for (const std::string& name : source.class_names()) text += name + "\n";
  write_whole_file((fs::path(output) / "classes.txt").string(), {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

}  // namespace lockstep
