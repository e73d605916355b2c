// SPDX-License-Identifier: Apache-2.0
#include "data/index_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>

#include "core/error.h"
#include "data/files.h"
#include "data/manifest_hash.h"

namespace lockstep {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::string_view kMagic = "LSINDEX\n";
constexpr std::uint64_t kVersion = 1;
constexpr std::size_t kMaxFileBytes = std::size_t{1} << 34;
constexpr std::int64_t kTickNs = 2'000'000'000;

class Writer {
 public:
  Writer() { out_ = kMagic; }
  void number(std::uint64_t value) { bytes(&value, sizeof value); }
  void text(std::string_view value) {
    number(value.size());
    bytes(value.data(), value.size());
  }
  void bytes(const void* data, std::size_t size) { out_.append(static_cast<const char*>(data), size); }
  std::string take() {
    number(XXH3_64bits(out_.data(), out_.size()));
    return std::move(out_);
  }

 private:
  std::string out_;
};

// Reads what Writer wrote. The checksum was verified, so a length that does not fit is a version of which nobody knows: ok() turns
// false, and all further reads give nothing.
class Parser {
 public:
  explicit Parser(std::string_view in) : in_(in) {}
  bool ok() const { return ok_; }
  bool at_end() const { return ok_ && in_.empty(); }
  std::uint64_t number() {
    std::uint64_t value = 0;
    if (const std::string_view from = bytes(sizeof value); ok_) std::memcpy(&value, from.data(), sizeof value);
    return value;
  }
  std::string_view text() { return bytes(number()); }
  // A count of items of at least `item_bytes` each: never more than what is left can hold.
  std::size_t count(std::size_t item_bytes) {
    const std::uint64_t value = number();
    if (value > in_.size() / item_bytes) ok_ = false;
    return ok_ ? static_cast<std::size_t>(value) : 0;
  }
  std::string_view bytes(std::uint64_t size) {
    if (size > in_.size()) ok_ = false;
    if (!ok_) return {};
    const std::string_view out = in_.substr(0, static_cast<std::size_t>(size));
    in_.remove_prefix(static_cast<std::size_t>(size));
    return out;
  }

 private:
  std::string_view in_;
  bool ok_ = true;
};

std::string serialise(const std::vector<FileStamp>& stamps, const SampleIndex& index) {
  Writer out;
  out.number(kVersion);
  out.number(stamps.size());
  for (const FileStamp& stamp : stamps) {
    out.text(stamp.path);
    out.number(static_cast<std::uint64_t>(stamp.size));
    out.number(static_cast<std::uint64_t>(stamp.mtime_ns));
    out.number(stamp.inode);
  }
  out.number(index.classes.size());
  for (const std::string& name : index.classes) out.text(name);
  out.number(index.containers.size());
  for (const Container& container : index.containers) {
    out.text(container.path);
    out.number(container.archive ? 1 : 0);
  }
  out.number(static_cast<std::uint64_t>(index.ignored));
  out.number(index.numbered ? 1 : 0);
  out.text(index.digest);
  out.number(index.entries.size());
  out.bytes(index.entries.data(), index.entries.size() * sizeof(IndexEntry));
  out.text(index.names);
  return out.take();
}

std::optional<SampleIndex> parse(std::string_view file, const std::vector<FileStamp>& stamps) {
  Parser in(file);
  if (in.bytes(kMagic.size()) != kMagic || in.number() != kVersion) return std::nullopt;
  if (in.count(32) != stamps.size()) return std::nullopt;
  for (const FileStamp& want : stamps) {
    FileStamp got{.path = std::string(in.text())};
    got.size = static_cast<std::int64_t>(in.number());
    got.mtime_ns = static_cast<std::int64_t>(in.number());
    got.inode = in.number();
    if (!in.ok() || got != want) return std::nullopt;
  }
  SampleIndex index;
  index.classes.resize(in.count(8));
  for (std::string& name : index.classes) name = in.text();
  index.containers.resize(in.count(16));
  for (Container& container : index.containers) {
    container.path = in.text();
    container.archive = in.number() != 0;
  }
  index.ignored = static_cast<std::int64_t>(in.number());
  index.numbered = in.number() != 0;
  index.digest = in.text();
  index.entries.resize(in.count(sizeof(IndexEntry)));
  if (const std::string_view raw = in.bytes(index.entries.size() * sizeof(IndexEntry)); !raw.empty())
    std::memcpy(index.entries.data(), raw.data(), raw.size());
  index.names = in.text();
  if (!in.at_end() || !index_fault(index).empty()) return std::nullopt;
  return index;
}

bool write_whole(const std::string& path, std::string_view bytes) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return false;
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return ::close(fd) == 0 && bytes.empty();
}

}  // namespace

std::string default_index_cache() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0') return join_path(cache, "lockstep");
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') return join_path(home, ".cache/lockstep");
  return {};
}

std::string index_cache_file(const std::string& folder, const std::string& root, Split split, std::string_view layout) {
  std::error_code failure;
  const std::filesystem::path canonical = std::filesystem::canonical(root, failure);
  ManifestHash hash("index");
  hash.add(failure ? root : canonical.string());
  hash.add(split == Split::kTrain ? "train" : "eval");
  hash.add(layout);
  return join_path(folder, hash.hex() + ".index");
}

std::optional<SampleIndex> load_index(const std::string& file, const std::vector<FileStamp>& stamps) {
  std::vector<std::uint8_t> bytes;
  try {
    bytes.resize(read_file(file, kMaxFileBytes, bytes));
  } catch (const Error&) {
    return std::nullopt;
  }
  const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::uint64_t checksum = 0;
  if (all.size() < kMagic.size() + sizeof checksum) return std::nullopt;
  const std::string_view content = all.substr(0, all.size() - sizeof checksum);
  std::memcpy(&checksum, all.data() + content.size(), sizeof checksum);
  if (XXH3_64bits(content.data(), content.size()) != checksum) return std::nullopt;
  return parse(content, stamps);
}

bool save_index(const std::string& file, const std::vector<FileStamp>& stamps, const SampleIndex& index) noexcept {
  try {
    std::error_code failure;
    std::filesystem::create_directories(std::filesystem::path(file).parent_path(), failure);
    const std::string temporary = fmt::format("{}.{}.{:08x}", file, ::getpid(), std::random_device()());  // pids repeat between hosts
    if (write_whole(temporary, serialise(stamps, index)) && ::rename(temporary.c_str(), file.c_str()) == 0) return true;
    ::unlink(temporary.c_str());
  } catch (const std::exception&) {  // no memory for the copy: the index itself is well
  }
  return false;
}

bool settled(const std::vector<FileStamp>& stamps, std::int64_t now_ns) {
  return std::all_of(stamps.begin(), stamps.end(), [&](const FileStamp& stamp) { return stamp.mtime_ns < now_ns - kTickNs; });
}

}  // namespace lockstep
