// SPDX-License-Identifier: Apache-2.0
#include "planning/text_message.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>

#include <optional>
#include <vector>

#include "core/error.h"
#include "core/suggest.h"

namespace lockstep {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::TextFormat;

constexpr int kDeepest = 8;

// Protobuf's first complaint; those that follow are mostly consequences of it.
class FirstComplaint : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, google::protobuf::io::ColumnNumber column, const std::string& message) override {
    if (!text.empty()) return;
    place = fmt::format("{}:{}", line + 1, column + 1);
    text = message;
  }
  std::string place, text;
};

std::optional<std::string> between(const std::string& text, std::string_view before, std::string_view after) {
  const std::size_t start = text.find(before);
  if (start == std::string::npos) return std::nullopt;
  const std::size_t begin = start + before.size(), end = text.find(after, begin);
  if (end == std::string::npos) return std::nullopt;
  return text.substr(begin, end - begin);
}

std::string choices(const std::string& got, const std::vector<std::string>& names, std::string_view what) {
  const std::string near = nearest(got, names);
  return (near.empty() ? "" : fmt::format("\n  did you mean \"{}\"?", near)) + fmt::format("\n  {}: {}", what, fmt::join(names, ", "));
}

std::string known_fields(const Message& message, const std::string& type_name, const std::string& got) {
  const Descriptor* type = message.GetDescriptor()->file()->pool()->FindMessageTypeByName(type_name);
  if (type == nullptr) return "";
  std::vector<std::string> names;
  for (int i = 0; i < type->field_count(); ++i) names.push_back(type->field(i)->name());
  return choices(got, names, "fields");
}

// The values of the field called `name`, wherever below `type` it is.
const EnumDescriptor* find_values(const Descriptor& type, const std::string& name, int depth = 0) {
  if (depth > kDeepest) return nullptr;
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (field.name() == name && field.enum_type() != nullptr) return field.enum_type();
    if (field.message_type() == nullptr) continue;
    if (const EnumDescriptor* found = find_values(*field.message_type(), name, depth + 1)) return found;
  }
  return nullptr;
}

std::string known_values(const Message& message, const std::string& field, const std::string& got) {
  const EnumDescriptor* values = find_values(*message.GetDescriptor(), field);
  if (values == nullptr) return "";
  std::vector<std::string> names;
  for (int i = 0; i < values->value_count(); ++i) names.push_back(values->value(i)->name());
  return choices(got, names, "values");
}

std::string explain(const Message& message, const std::string& complaint) {
  if (const auto field = between(complaint, "has no field named \"", "\""))
    return fmt::format("unknown field \"{}\"{}", *field, known_fields(message, between(complaint, "type \"", "\"").value_or(""), *field));
  if (const auto value = between(complaint, "Unknown enumeration value of \"", "\"")) {
    const std::string field = between(complaint, "for field \"", "\"").value_or("");
    return fmt::format("unknown value {} for {}{}", *value, field, known_values(message, field, *value));
  }
  return complaint;
}

}  // namespace

void parse_text_message(std::string_view text, const std::string& file, Message& message) {
  FirstComplaint complaint;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&complaint);
  parser.SetRecursionLimit(kDeepest);
  if (parser.ParseFromString(std::string(text), &message)) return;
  throw UserError(fmt::format("{}:{}: {}", file, complaint.place, explain(message, complaint.text)));
}

std::string print_text_message(const Message& message) {
  TextFormat::Printer printer;
  printer.SetUseShortRepeatedPrimitives(true);
  std::string text;
  LS_CHECK(printer.PrintToString(message, &text), "a message that can't be printed");
  return text;
}

}  // namespace lockstep
