// SPDX-License-Identifier: Apache-2.0
#include "train/checkpoint/file_io.h"

#include <algorithm>
#include <utility>

namespace lockstep {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 18;
constexpr std::size_t kHashPieceBytes = std::size_t{1} << 20;

std::string without_trailing_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

}  // namespace

OutputFile::OutputFile(Fs& fs, std::string path, std::uint64_t nbytes)
    : fs_(fs), path_(std::move(path)), nbytes_(nbytes), file_(fs.open_new(path_)) {
  try {
    fs_.allocate(file_, nbytes_);
  } catch (...) {
    fs_.close(std::exchange(file_, -1));
    throw;
  }
  buffer_.reserve(kBufferBytes);
}

OutputFile::~OutputFile() {
  if (file_ < 0) return;
  try {
    fs_.close(file_);
  } catch (const FsError&) {
    // The file was given up already: its owner is handling the error that led here.
  }
}

void OutputFile::append(const void* data, std::size_t nbytes) {
  hasher_.update(data, nbytes);
  appended_ += nbytes;
  if (buffer_.size() + nbytes > kBufferBytes) flush();
  if (nbytes >= kBufferBytes) return write_through(data, nbytes);
  const auto* bytes = static_cast<const char*>(data);
  buffer_.insert(buffer_.end(), bytes, bytes + nbytes);
}

void OutputFile::write_through(const void* data, std::size_t nbytes) {
  const auto* bytes = static_cast<const char*>(data);
  while (nbytes > 0) {
    const std::size_t done = fs_.write(file_, bytes, nbytes);
    bytes += done;
    nbytes -= done;
  }
}

void OutputFile::flush() {
  write_through(buffer_.data(), buffer_.size());
  buffer_.clear();
}

Hash128 OutputFile::finish() {
  LS_CHECK(appended_ == nbytes_, path_ + ": wrote " + std::to_string(appended_) + " bytes, promised " + std::to_string(nbytes_));
  flush();
  fs_.sync(file_);
  fs_.close(std::exchange(file_, -1));
  return hasher_.value();
}

InputFile::InputFile(Fs& fs, std::string path) : fs_(&fs), path_(std::move(path)), file_(-1) {
  const auto status = fs.status(path_);
  if (!status) throw UserError(path_ + ": no such file", ExitCode::kNoInput);
  if (status->kind != FileKind::kFile) throw UserError(path_ + ": got a folder, link or device, want a plain file", ExitCode::kData);
  nbytes_ = status->nbytes;
  file_ = fs.open_read(path_);
}

InputFile::InputFile(InputFile&& other) noexcept
    : fs_(other.fs_), path_(std::move(other.path_)), file_(std::exchange(other.file_, -1)), nbytes_(other.nbytes_) {}

InputFile::~InputFile() {
  if (file_ < 0) return;
  try {
    fs_->close(file_);
  } catch (const FsError&) {
    // Nothing was written: what was read is complete.
  }
}

void InputFile::read(void* data, std::size_t nbytes, std::uint64_t offset) const {
  auto* bytes = static_cast<char*>(data);
  while (nbytes > 0) {
    const std::size_t done = fs_->read_at(file_, bytes, nbytes, offset);
    if (done == 0)
      throw UserError(path_ + ": ends at byte " + std::to_string(offset) + ", want " + std::to_string(nbytes) + " more",
                      ExitCode::kData);
    bytes += done;
    offset += done;
    nbytes -= done;
  }
}

Hash128 InputFile::hash(std::uint64_t offset, std::uint64_t nbytes) const {
  std::vector<char> piece(static_cast<std::size_t>(std::min<std::uint64_t>(kHashPieceBytes, nbytes)));
  Hasher hasher;
  while (nbytes > 0) {
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), nbytes));
    read(piece.data(), want, offset);
    hasher.update(piece.data(), want);
    offset += want;
    nbytes -= want;
  }
  return hasher.value();
}

void replace_small_file(Fs& fs, const std::string& path, std::string_view text, const std::string& suffix) {
  const std::string temporary = path + ".tmp." + suffix;
  if (fs.status(temporary)) fs.unlink(temporary);  // an earlier attempt of this run that could not even clean up
  try {
    OutputFile file(fs, temporary, text.size());
    file.append(text.data(), text.size());
    file.finish();
    fs.rename(temporary, path);
  } catch (const FsError&) {
    try {
      if (fs.status(temporary)) fs.unlink(temporary);
    } catch (const FsError&) {
      // Left for the next start's cleaning; the first error is the one to report.
    }
    throw;
  }
  fs.sync_directory(parent_path(path));
}

std::string read_small_file(Fs& fs, const std::string& path, std::uint64_t limit) {
  const InputFile file(fs, path);
  if (file.nbytes() > limit)
    throw UserError(path + ": got " + std::to_string(file.nbytes()) + " bytes, want at most " + std::to_string(limit),
                    ExitCode::kData);
  std::string text(static_cast<std::size_t>(file.nbytes()), '\0');
  file.read(text.data(), text.size(), 0);
  return text;
}

void remove_flat_directory(Fs& fs, const std::string& path) {
  for (const DirectoryEntry& entry : fs.list(path)) fs.unlink(join_path(path, entry.name));
  fs.remove_directory(path);
}

std::string join_path(const std::string& directory, const std::string& name) {
  return without_trailing_slashes(directory) == "/" ? "/" + name : without_trailing_slashes(directory) + "/" + name;
}

std::string parent_path(const std::string& path) {
  const std::string plain = without_trailing_slashes(path);
  const std::size_t slash = plain.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : plain.substr(0, slash);
}

std::string file_name(const std::string& path) {
  const std::string plain = without_trailing_slashes(path);
  const std::size_t slash = plain.rfind('/');
  return slash == std::string::npos ? plain : plain.substr(slash + 1);
}

}  // namespace lockstep
