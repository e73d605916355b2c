// docs/config.md from config.proto: a section per group, a table of its fields, a list of the values of each enum.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "train/config/comments.h"
#include "train/config/reflect.h"

namespace lockstep {
namespace {

using config_detail::comment_of;
using config_detail::Descriptor;
using config_detail::FieldDescriptor;

constexpr std::string_view kPreamble = R"(# The config

<!-- Generated from proto/config.proto by `lockstep help markdown`. Edit that file, not this one. -->

A run is described by one text file (protobuf text format); the recipes in [configs/](../configs/) are examples. A field
is `name: value`, a group is `name { ... }`, a list is `name: [a, b]`, `#` begins a comment. Unknown fields are errors.

`--set path.to.field=value` overrides one field from the command line: `--set schedule.lr_per_256=0.2`,
`--set data.mean=[0.5]`, `--set data.mean+=0.5`, `--set optimizer.group[0].weight_decay=0`. What a run used, defaults
included, and where each value came from stands in its `config.effective.pbtxt`.

The column "resume" says whether a resumed run may have another value.
)";

// Text for a table's cell.
std::string cell(const std::string& text) {
  std::string escaped;
  for (char c : text) {
    if (c == '|' || c == '*' || c == '<') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

std::string type_cell(const FieldDescriptor& field) {
  if (config_detail::is_message(field)) return field.is_repeated() ? "groups" : "group";
  const bool one_of = field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM;
  return (field.is_repeated() ? "list of " : "") + std::string(one_of ? "name" : field.type_name());
}

std::string field_row(const FieldDescriptor& field, const std::string& path) {
  const std::string fallback = config_detail::default_value(field);
  const bool group = config_detail::is_message(field);
  const bool free = may_change_on_resume(path);
  return fmt::format("| `{}` | {} | {} | {} | {} |\n", field.name(), type_cell(field),
                     fallback.empty() ? "" : "`" + fallback + "`", group ? "" : (free ? "may change" : "fixed"),
                     cell(comment_of(field.full_name())));
}

std::string enum_list(const FieldDescriptor& field) {
  std::string text = fmt::format("\nValues of `{}`:\n\n", field.name());
  for (int i = 0; i < field.enum_type()->value_count(); ++i) {
    const auto& value = *field.enum_type()->value(i);
    text += fmt::format("- `{}`: {}\n", value.name(), cell(comment_of(value.full_name())));
  }
  return text;
}

void append_group(const Descriptor& type, const std::string& path, std::string* text) {
  *text +=
      fmt::format("\n## {}\n\n{}\n\n| field | type | default | resume | meaning |\n| --- | --- | --- | --- | --- |\n",
                  path.empty() ? "The top level" : "`" + path + "`", cell(comment_of(type.full_name())));
  const auto path_of = [&](const FieldDescriptor& field) {
    return path.empty() ? field.name() : path + "." + field.name();
  };
  for (int i = 0; i < type.field_count(); ++i) *text += field_row(*type.field(i), path_of(*type.field(i)));
  for (int i = 0; i < type.field_count(); ++i) {
    if (type.field(i)->cpp_type() == FieldDescriptor::CPPTYPE_ENUM) *text += enum_list(*type.field(i));
  }
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (config_detail::is_message(field)) append_group(*field.message_type(), path_of(field), text);
  }
}

}  // namespace

std::string markdown_reference() {
  std::string text(kPreamble);
  append_group(*proto::Config::descriptor(), "", &text);
  return text;
}

}  // namespace lockstep
