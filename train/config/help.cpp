// `lockstep help config [path]`, from the descriptors and comments of config.proto.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "core/error.h"
#include "train/config/comments.h"
#include "train/config/reflect.h"

namespace lockstep {
namespace {

using config_detail::comment_of;
using config_detail::Descriptor;
using config_detail::EnumDescriptor;
using config_detail::FieldDescriptor;
using config_detail::wrapped;

std::string default_words(const FieldDescriptor& field) {
  const std::string value = config_detail::default_value(field);
  if (!value.empty()) return "default " + value;
  return field.is_repeated() ? "default: empty" : "no default";
}

std::string enum_help(const EnumDescriptor& type) {
  std::string text;
  for (int i = 0; i < type.value_count(); ++i) {
    text += fmt::format("      {}\n{}", type.value(i)->name(), wrapped(comment_of(type.value(i)->full_name()), 10));
  }
  return text;
}

std::string field_help(const FieldDescriptor& field, const std::string& path) {
  const bool group = config_detail::is_message(field);
  const bool one_of = field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM;
  std::string head = fmt::format("  {}", path);
  if (group) {
    head += field.is_repeated() ? " { ... }  (any number)" : " { ... }";
  } else {
    head += fmt::format("  ({}{}, {}{})", field.is_repeated() ? "list of " : "", one_of ? "name" : field.type_name(),
                        default_words(field), may_change_on_resume(path) ? ", may change on resume" : "");
  }
  return head + "\n" + wrapped(comment_of(field.full_name()), 6) + (one_of ? enum_help(*field.enum_type()) : "");
}

std::string group_help(const Descriptor& type, const std::string& path) {
  std::string text = wrapped(comment_of(type.full_name()), 0) + "\n";
  for (int i = 0; i < type.field_count(); ++i) {
    const std::string name = path.empty() ? type.field(i)->name() : path + "." + type.field(i)->name();
    text += field_help(*type.field(i), name);
  }
  return text;
}

std::string overview() {
  const Descriptor& type = *proto::Config::descriptor();
  std::string text = "A config is a text file of these fields; `--set path.to.field=value` overrides one.\n\n";
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const bool group = config_detail::is_message(field);
    const std::string head = group ? field.name() + " { }" : field.name();
    const std::string fallback = config_detail::default_value(field);
    text += fmt::format("  {:<17} {}{}\n", head, config_detail::first_sentence(comment_of(field.full_name())),
                        fallback.empty() ? "" : fmt::format(" [{}]", fallback));
    if (!group) continue;
    text += wrapped(fmt::format("{}", fmt::join(config_detail::field_names(*field.message_type()), ", ")), 20);
  }
  return text + "\n`lockstep help config GROUP` or `GROUP.FIELD` explains; docs/config.md has it all.\n";
}

}  // namespace

std::string help_text(const std::string& path) {
  if (path.empty()) return overview();
  if (const Descriptor* group = config_detail::message_at(path); group != nullptr) return group_help(*group, path);
  const size_t dot = path.rfind('.');
  const std::string parent = dot == std::string::npos ? "" : path.substr(0, dot);
  const std::string name = dot == std::string::npos ? path : path.substr(dot + 1);
  const Descriptor* type = config_detail::message_at(parent);
  if (type == nullptr) return help_text(parent);  // reports the first unknown step of the path
  const FieldDescriptor* field = type->FindFieldByName(name.substr(0, name.find('[')));
  if (field != nullptr) return field_help(*field, path);
  throw UserError(fmt::format("help config {}: there is no field \"{}\"{}", path, name,
                              config_detail::field_suggestion(*type, parent, name)));
}

}  // namespace lockstep
