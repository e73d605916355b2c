// SPDX-License-Identifier: Apache-2.0
#include "data/scan.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <tuple>

#include "core/error.h"
#include "data/decode.h"
#include "data/image_facts.h"
#include "data/limits.h"
#include "data/work_crew.h"

namespace lockstep {
namespace {

constexpr std::int64_t kPiece = 32;  // images that a thread takes at a time

struct ContentHash {
  std::uint64_t low = 0, high = 0;
  auto operator<=>(const ContentHash&) const = default;
};

ContentHash hash_of(const void* data, std::size_t size) {
  const XXH128_hash_t hash = XXH3_128bits(data, size);
  return {hash.low64, hash.high64};
}

// What one thread has found, and its buffers.
struct Worker {
  ReadScratch scratch;
  std::vector<ScanFinding> findings;
  std::vector<std::int64_t> coming;
  std::int64_t bytes = 0;
};

// The reason in an error's message "NAME: [bad image: ]REASON.\nFIX".
std::string reason_of(const std::string& message, const std::string& name) {
  std::string reason = message.substr(0, message.find('\n'));
  for (const std::string& prefix : {name + ": ", std::string("bad image: ")})
    if (reason.starts_with(prefix)) reason.erase(0, prefix.size());
  if (reason.ends_with('.')) reason.pop_back();
  return reason;
}

ScanKind why_unreadable(std::span<const std::uint8_t> bytes, const ImageFacts& facts) {
  if (bytes.empty()) return ScanKind::kEmpty;
  if (facts.format == ImageFormat::kUnknown) return ScanKind::kNotAnImage;
  if (facts.height > kMaxImageSide || facts.width > kMaxImageSide || std::int64_t{facts.height} * facts.width > kMaxImagePixels)
    return ScanKind::kTooLarge;
  if (!facts.usual) return ScanKind::kUnsupported;
  return facts.ends ? ScanKind::kCorrupt : ScanKind::kTruncated;
}

bool ends_with_any(std::string name, std::initializer_list<std::string_view> endings) {
  for (char& c : name) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return std::any_of(endings.begin(), endings.end(), [&](std::string_view ending) { return name.ends_with(ending); });
}

bool is_disguised(ImageFormat format, const std::string& name) {
  return format == ImageFormat::kPng ? ends_with_any(name, {".jpg", ".jpeg"}) : ends_with_any(name, {".png"});
}

class Scan {
 public:
  Scan(std::span<const Source* const> splits, const ScanOptions& options)
      : splits_(splits), options_(options), threads_(crew_size(options.threads)), workers_(static_cast<std::size_t>(threads_)) {
    for (const Source* source : splits) begins_.push_back(total_ += source->size());
    hashes_.resize(static_cast<std::size_t>(total_));
  }

  ScanReport run() {
    for_each_piece(
        total_, kPiece, threads_,
        [this](int worker, std::int64_t begin, std::int64_t end) { read(workers_[static_cast<std::size_t>(worker)], begin, end); },
        [this](std::int64_t done) {
          if (options_.progress) options_.progress(done, total_);
        });
    ScanReport report;
    report.images = total_;
    for (Worker& worker : workers_) {
      report.bytes += worker.bytes;
      std::move(worker.findings.begin(), worker.findings.end(), std::back_inserter(report.findings));
    }
    find_duplicates(report.findings);
    std::sort(report.findings.begin(), report.findings.end(), [](const ScanFinding& a, const ScanFinding& b) {
      return std::tie(a.split, a.index, a.kind) < std::tie(b.split, b.index, b.kind);
    });
    for (const ScanFinding& finding : report.findings) ++report.counts[static_cast<std::size_t>(finding.kind)];
    return report;
  }

 private:
  // Images are numbered through all splits.
  int split_of(std::int64_t image) const { return static_cast<int>(std::upper_bound(begins_.begin(), begins_.end(), image) - begins_.begin()); }
  std::int64_t index_in(int split, std::int64_t image) const { return split == 0 ? image : image - begins_[static_cast<std::size_t>(split) - 1]; }

  void read(Worker& worker, std::int64_t begin, std::int64_t end) {
    const int split = split_of(begin);  // a piece may reach into the next split: only the hint is then left out
    worker.coming.resize(static_cast<std::size_t>(end - begin));
    for (std::size_t i = 0; i < worker.coming.size(); ++i) {
      const std::int64_t index = index_in(split, begin + static_cast<std::int64_t>(i));
      worker.coming[i] = index < splits_[static_cast<std::size_t>(split)]->size() ? index : -1;
    }
    splits_[static_cast<std::size_t>(split)]->will_read(worker.coming);
    for (std::int64_t image = begin; image < end; ++image) read_one(worker, image);
  }

  void read_one(Worker& worker, std::int64_t image) {
    const int split = split_of(image);
    const Source& source = *splits_[static_cast<std::size_t>(split)];
    const std::int64_t index = index_in(split, image);
    const auto add = [&](ScanKind kind, std::string reason) {
      worker.findings.push_back({.kind = kind, .split = split, .index = index, .reason = std::move(reason)});
    };
    try {
      source.encoded() ? decode(worker, source, split, index, image) : hash_pixels(worker, source, index, image);
    } catch (const Error& error) {  // the bytes themselves could not be had
      if (dynamic_cast<const InternalError*>(&error) != nullptr || error.code() == ExitCode::kUsage) throw;
      const bool too_large = std::string_view(error.what()).find("too large: got") != std::string_view::npos;
      add(too_large ? ScanKind::kTooLarge : ScanKind::kUnavailable, reason_of(error.what(), source.name(index)));
    }
  }

  void hash_pixels(Worker& worker, const Source& source, std::int64_t index, std::int64_t image) {
    const Image pixels = source.read(index, worker.scratch);
    const std::size_t size = std::size_t{1} * pixels.height * pixels.width * pixels.channels;
    hashes_[static_cast<std::size_t>(image)] = hash_of(pixels.pixels, size);
    worker.bytes += static_cast<std::int64_t>(size);
  }

  void decode(Worker& worker, const Source& source, int split, std::int64_t index, std::int64_t image) {
    const std::span<const std::uint8_t> bytes = source.fetch(index, worker.scratch);
    hashes_[static_cast<std::size_t>(image)] = hash_of(bytes.data(), bytes.size());
    worker.bytes += static_cast<std::int64_t>(bytes.size());
    const ImageFacts facts = image_facts(bytes);
    const std::string name = source.name(index);
    ScanFinding finding{.split = split, .index = index};
    const auto add = [&](ScanKind kind) {
      finding.kind = kind;
      worker.findings.push_back(finding);
    };
    try {
      const Image decoded = decode_image(bytes, name, worker.scratch);
      finding.height = decoded.height;
      finding.width = decoded.width;
    } catch (const UserError& error) {
      finding.reason = reason_of(error.what(), name);
      if (const std::string_view guess = guess_content(bytes); facts.format == ImageFormat::kUnknown && !guess.empty())
        finding.reason = fmt::format("{}; it looks like {}", finding.reason, guess);
      add(why_unreadable(bytes, facts));
      return;
    }
    if (is_disguised(facts.format, name)) add(ScanKind::kDisguised);
    if (facts.channels == 4) add(ScanKind::kCmyk);
    if (facts.channels == 1) add(ScanKind::kGrey);
    if (std::min(finding.height, finding.width) < kTinySide) add(ScanKind::kTiny);
    if (std::int64_t{finding.height} * finding.width > kHugePixels) add(ScanKind::kHuge);
  }

  // Of images with the same bytes the first is the original. An image whose bytes could not be had has no hash. Empty ones are
  // listed as such, not as duplicates.
  void find_duplicates(std::vector<ScanFinding>& findings) const {
    std::vector<std::uint32_t> order(hashes_.size());
    std::iota(order.begin(), order.end(), 0u);
    std::sort(order.begin(), order.end(),
              [this](std::uint32_t a, std::uint32_t b) { return std::tie(hashes_[a], a) < std::tie(hashes_[b], b); });
    const ContentHash none{}, empty = hash_of("", 0);
    for (std::size_t first = 0, i = 1; i < order.size(); ++i) {
      const ContentHash& hash = hashes_[order[i]];
      if (hash != hashes_[order[first]]) first = i;
      if (first == i || hash == none || hash == empty) continue;
      const int split = split_of(order[i]), other = split_of(order[first]);
      findings.push_back({.kind = split == other ? ScanKind::kDuplicate : ScanKind::kLeak,
                          .split = split,
                          .index = index_in(split, order[i]),
                          .other_index = index_in(other, order[first]),
                          .other_split = other});
    }
  }

  std::span<const Source* const> splits_;
  const ScanOptions& options_;
  const int threads_;
  std::int64_t total_ = 0;
  std::vector<std::int64_t> begins_;  // of each split's successor
  std::vector<ContentHash> hashes_;
  std::vector<Worker> workers_;
};

}  // namespace

std::string_view scan_kind_name(ScanKind kind) {
  constexpr std::array<std::string_view, kScanKinds> kNames = {"empty",   "not an image", "truncated", "too large", "unsupported",
                                                               "corrupt", "unavailable",  "disguised", "CMYK",      "grey",
                                                               "tiny",    "huge",         "duplicate", "leak"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::int64_t ScanReport::unreadable() const {
  std::int64_t sum = 0;
  for (int kind = 0; kind < kScanKinds; ++kind)
    if (is_unreadable(static_cast<ScanKind>(kind))) sum += counts[static_cast<std::size_t>(kind)];
  return sum;
}

ScanReport scan(std::span<const Source* const> splits, const ScanOptions& options) {
  std::int64_t images = 0;
  for (const Source* source : splits) images += source->size();
  if (images > std::int64_t{UINT32_MAX})
    throw UserError(fmt::format("data scan: got {} images, want at most {}", images, UINT32_MAX), ExitCode::kData);
  return Scan(splits, options).run();
}

std::string describe(const ScanFinding& finding, std::span<const Source* const> splits) {
  switch (finding.kind) {
    case ScanKind::kDisguised: return "the content is of another format than the name says; it is read by content";
    case ScanKind::kCmyk: return "stored as inks; converted to RGB";
    case ScanKind::kGrey: return "one channel; converted to RGB";
    case ScanKind::kTiny:
    case ScanKind::kHuge: return fmt::format("{}x{} pixels", finding.width, finding.height);
    case ScanKind::kDuplicate:
    case ScanKind::kLeak: return "the same bytes as " + splits[static_cast<std::size_t>(finding.other_split)]->name(finding.other_index);
    default: return finding.reason;
  }
}

}  // namespace lockstep
