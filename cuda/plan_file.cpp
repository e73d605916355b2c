// SPDX-License-Identifier: Apache-2.0
#include "cuda/plan_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

namespace lockstep::cuda {
namespace {

constexpr std::string_view kFirstLine = "lockstep convolution plans 1";
constexpr std::string_view kTimed = "timed ", kProposed = "proposed ", kOf = " | ";

// FNV-1a with a final mix: finds damage, not malice.
std::string checksum(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  hash = (hash ^ (hash >> 31)) * 0x94d049bb133111ebu;
  std::array<char, 17> digits{};
  std::snprintf(digits.data(), digits.size(), "%016llx", static_cast<unsigned long long>(hash ^ (hash >> 30)));
  return digits.data();
}

std::string without_breaks(std::string text) {
  std::replace_if(text.begin(), text.end(), [](char c) { return c == '\t' || c == '\n' || c == '\r'; }, ' ');
  return text;
}

// Reads "checksum TAB key TAB value" into `plans`; returns why not.
std::string parse_line(std::string_view line, std::map<std::string, std::string>& plans) {
  const std::size_t first = line.find('\t');
  if (first == std::string_view::npos) return "it has no checksum";
  const std::string_view rest = line.substr(first + 1);
  if (checksum(rest) != line.substr(0, first)) return "checksum does not match";
  const std::size_t second = rest.find('\t');
  if (second == std::string_view::npos) return "it has no value";
  plans[std::string(rest.substr(0, second))] = rest.substr(second + 1);
  return {};
}

std::string failure(const std::string& call, const std::string& path) { return call + " " + path + ": " + std::strerror(errno); }

bool write_all(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(file, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

// Makes the rename itself durable. A file system that can't sync folders has done what it can.
void sync_folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  ::fsync(descriptor);
  ::close(descriptor);
}

}  // namespace

PlanFile parse_plan_file(std::string_view text) {
  PlanFile result;
  for (int number = 1; !text.empty(); ++number) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    const bool complete = end != std::string_view::npos;
    text.remove_prefix(complete ? end + 1 : text.size());
    std::string reason;
    if (number == 1) {
      if (line != kFirstLine || !complete) {
        result.foreign = true;
        result.ignored.emplace_back("line 1: not \"" + std::string(kFirstLine) + "\": the file is left alone");
        return result;
      }
    } else if (reason = complete ? parse_line(line, result.plans) : "cut off"; !reason.empty()) {
      result.ignored.emplace_back("line " + std::to_string(number) + ": " + reason);
    }
  }
  return result;
}

std::string format_plan_file(const std::map<std::string, std::string>& plans) {
  std::string text = std::string(kFirstLine) + "\n";
  for (const auto& [key, value] : plans) {
    const std::string line = without_breaks(key) + "\t" + without_breaks(value);
    text += checksum(line) + "\t" + line + "\n";
  }
  return text;
}

PlanFile read_plan_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    PlanFile nothing;
    if (errno != ENOENT) nothing.ignored.push_back(failure("open", path));
    return nothing;
  }
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  return parse_plan_file(text);
}

std::string write_plan_file(const std::string& path, const std::map<std::string, std::string>& plans) {
  const std::string temporary = path + ".new." + std::to_string(::getpid());
  const int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) return failure("open", temporary);
  std::string reason;
  if (!write_all(file, format_plan_file(plans))) reason = failure("write", temporary);
  if (reason.empty() && ::fsync(file) != 0) reason = failure("fsync", temporary);
  if (::close(file) != 0 && reason.empty()) reason = failure("close", temporary);
  if (reason.empty() && std::rename(temporary.c_str(), path.c_str()) != 0) reason = failure("rename", path);
  if (reason.empty())
    sync_folder_of(path);
  else
    ::unlink(temporary.c_str());
  return reason;
}

PlanCache::PlanCache(std::string path, std::string machine) : path_(std::move(path)), machine_(without_breaks(std::move(machine))) {
  if (path_.empty()) return;
  const PlanFile file = read_plan_file(path_);
  for (const std::string& reason : file.ignored) notes_.push_back(path_ + ", " + reason);
  for (const auto& [key, value] : file.plans) {
    const std::size_t of = key.find(kOf);
    if (of == std::string::npos || key.substr(of + kOf.size()) != machine_) continue;  // another machine's
    const bool timed = value.starts_with(kTimed);
    if (!timed && !value.starts_with(kProposed)) continue;
    choices_[key.substr(0, of)] = {value.substr(timed ? kTimed.size() : kProposed.size()), timed};
  }
}

const PlanChoice* PlanCache::find(const std::string& problem) const {
  const auto found = choices_.find(problem);
  return found == choices_.end() ? nullptr : &found->second;
}

void PlanCache::remember(const std::string& problem, const PlanChoice& choice) {
  choices_[problem] = choice;
  unsaved_[problem + std::string(kOf) + machine_] = std::string(choice.timed ? kTimed : kProposed) + choice.engine;
}

void PlanCache::save() {
  if (path_.empty() || unsaved_.empty()) return;
  PlanFile file = read_plan_file(path_);
  if (file.foreign) {
    notes_.push_back(path_ + " is not a plan file: choices are not saved");
  } else {
    for (const auto& [key, value] : unsaved_) file.plans[key] = value;
    if (const std::string reason = write_plan_file(path_, file.plans); !reason.empty()) notes_.push_back("choices are not saved: " + reason);
  }
  unsaved_.clear();
}

}  // namespace lockstep::cuda
