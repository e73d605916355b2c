// The effective config: every field with its value, its origin as a comment. Saved with the run; parses back.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "train/config/reflect.h"

namespace lockstep {
namespace {

using config_detail::FieldDescriptor;
using config_detail::Leaf;
using config_detail::Message;

class Printer {
 public:
  explicit Printer(const LoadedConfig& loaded) : loaded_(loaded) {}

  std::string print() {
    text_ = "# The effective config of a run: every value, and where it comes from.\n";
    print_message(loaded_.config(), "", 0);
    return std::move(text_);
  }

 private:
  void print_message(const Message& message, const std::string& prefix, int depth) {
    const auto& reflection = *message.GetReflection();
    for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
      const FieldDescriptor& field = *message.GetDescriptor()->field(i);
      const std::string path = prefix.empty() ? field.name() : prefix + "." + field.name();
      if (!config_detail::is_message(field)) {
        print_leaf({path, &message, &field}, depth);
      } else if (!field.is_repeated()) {
        print_group(reflection.GetMessage(message, &field), field.name(), path, depth);
      } else {
        for (int k = 0; k < reflection.FieldSize(message, &field); ++k) {
          print_group(reflection.GetRepeatedMessage(message, &field, k), field.name(), fmt::format("{}[{}]", path, k),
                      depth);
        }
      }
    }
  }

  void print_group(const Message& group, const std::string& name, const std::string& path, int depth) {
    text_ += fmt::format("{:{}}{} {{\n", "", 2 * depth, name);
    print_message(group, path, depth + 1);
    text_ += fmt::format("{:{}}}}\n", "", 2 * depth);
  }

  void print_leaf(const Leaf& leaf, int depth) {
    const std::string value = leaf.value();
    const std::string line = value.empty() ? fmt::format("# {}: not given", leaf.field->name())
                                           : fmt::format("{}: {}", leaf.field->name(), value);
    const std::string indented = fmt::format("{:{}}{}", "", 2 * depth, line);
    text_ +=
        value.empty() ? indented + "\n" : fmt::format("{:<48}  # {}\n", indented, one_line(loaded_.origin(leaf.path)));
  }

  // A file name may hold any character; a line break would end the comment.
  static std::string one_line(std::string text) {
    for (char& c : text) {
      if (c == '\n' || c == '\r' || c == '\0') c = '?';
    }
    return text;
  }

  const LoadedConfig& loaded_;
  std::string text_;
};

}  // namespace

std::string effective_config_text(const LoadedConfig& loaded) { return Printer(loaded).print(); }

}  // namespace lockstep
