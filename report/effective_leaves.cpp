// The effective config's lines back into leaves. Not by the config parser: a report also reads what other versions have written.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <map>

#include "report/run_data.h"

namespace lockstep {
namespace {

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

// The place of the comment that gives the origin: after the value, which may be a string with '#' in it.
std::size_t comment_of(std::string_view line) {
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (quoted && line[i] == '\\') ++i;
    else if (line[i] == '"') quoted = !quoted;
    else if (line[i] == '#' && !quoted) return i;
  }
  return std::string_view::npos;
}

bool is_name(std::string_view text) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
  return !text.empty() && text.find_first_not_of(kLetters) == std::string_view::npos;
}

class LeafReader {
 public:
  void read(std::string_view line) {
    const std::size_t comment = comment_of(line);
    const std::string_view code = trimmed(line.substr(0, comment));
    if (code == "}") {
      if (!groups_.empty()) groups_.pop_back();
    } else if (code.ends_with('{')) {
      open(trimmed(code.substr(0, code.size() - 1)));
    } else if (const std::size_t colon = code.find(':'); colon != std::string_view::npos && is_name(trimmed(code.substr(0, colon)))) {
      const std::string_view origin = comment == std::string_view::npos ? std::string_view{} : trimmed(line.substr(comment + 1));
      leaves_.push_back({prefix() + std::string(trimmed(code.substr(0, colon))), std::string(trimmed(code.substr(colon + 1))), std::string(origin)});
    }
  }
  std::vector<ConfigLeaf> take() { return std::move(leaves_); }

 private:
  std::string prefix() const { return groups_.empty() ? "" : groups_.back() + "."; }

  // The second group of a name in the same place is "[1]", and so on.
  void open(std::string_view name) {
    std::string path = prefix() + std::string(name);
    const int before = seen_[path]++;
    groups_.push_back(before == 0 ? path : fmt::format("{}[{}]", path, before));
  }

  std::vector<std::string> groups_;
  std::map<std::string, int> seen_;
  std::vector<ConfigLeaf> leaves_;
};

}  // namespace

std::vector<ConfigLeaf> parse_effective_config(std::string_view text) {
  LeafReader reader;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    reader.read(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  }
  return reader.take();
}

}  // namespace lockstep
