// What the user reads when a run starts: derived values, given values, defaults; at most about one screen.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "train/config/comments.h"
#include "train/config/reflect.h"

namespace lockstep {
namespace {

using config_detail::Leaf;

constexpr size_t kWidth = 110;

// Collects "field=value" by top-level group, in the proto's order.
class Grouped {
 public:
  void add(const std::string& path, const std::string& value) {
    const size_t dot = path.find('.');
    const std::string group = dot == std::string::npos ? "run" : path.substr(0, dot);
    if (lines_.empty() || lines_.back().first != group) lines_.emplace_back(group, "");
    const std::string item = (dot == std::string::npos ? path : path.substr(dot + 1)) + "=" + value;
    lines_.back().second += (lines_.back().second.empty() ? "" : " ") + item;
  }

  // One line a group: "  model        name=resnet14 classes=10".
  std::string by_group() const {
    std::string text;
    for (const auto& [group, items] : lines_) {
      const std::string body = config_detail::wrapped(items, 15, kWidth);
      text += fmt::format("  {:<13}{}", group, body.substr(15));
    }
    return text;
  }

  // Run together, to save lines: "model.classes=0 .variant=V1_5 data..."
  std::string dense() const {
    std::string text;
    for (const auto& [group, items] : lines_) {
      text += fmt::format("{}{}{{ {} }}", text.empty() ? "" : "  ", group, items);
    }
    return text.empty() ? text : config_detail::wrapped(text, 2, kWidth);
  }

 private:
  std::vector<std::pair<std::string, std::string>> lines_;
};

std::string unquoted(const std::string& value) {
  const bool plain = value.size() > 2 && value.front() == '"' && value.find_first_of(" \\", 1) == std::string::npos;
  return plain ? value.substr(1, value.size() - 2) : value;
}

}  // namespace

GivenAndDefault describe_given_default(const LoadedConfig& loaded) {
  Grouped given, defaults;
  const std::string in_file = loaded.file() + ":";
  config_detail::for_each_leaf(loaded.config(), "", [&](const Leaf& leaf) {
    const std::string value = unquoted(leaf.value());
    if (value.empty()) return;
    const std::string origin = loaded.origin(leaf.path);
    const bool from_user = origin.starts_with(in_file) || origin.starts_with("-");
    if (!from_user) {
      defaults.add(leaf.path, value);
    } else {
      given.add(leaf.path, origin.starts_with("-") ? fmt::format("{} ({})", value, origin) : value);
    }
  });
  return {given.by_group(), defaults.dense()};
}

std::string banner(const LoadedConfig& loaded, const std::vector<std::pair<std::string, std::string>>& derived) {
  const GivenAndDefault values = describe_given_default(loaded);
  std::string text;
  size_t longest = 13;
  for (const auto& [key, value] : derived) longest = std::max(longest, key.size() + 1);
  for (const auto& [key, value] : derived) text += fmt::format("  {:<{}}{}\n", key, longest, value);
  text += fmt::format("given in {}{}\n{}", loaded.file(),
                      values.given.find(" (-") == std::string::npos ? "" : " and by flags", values.given);
  return text + "defaults\n" + values.defaults;
}

}  // namespace lockstep
