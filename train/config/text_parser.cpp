// The text format parser with its errors turned into sentences for users.
// SPDX-License-Identifier: Apache-2.0
#include "train/config/text_parser.h"

#include <fmt/format.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <optional>

#include "core/error.h"
#include "core/suggest.h"

namespace lockstep::config_detail {
namespace {

using google::protobuf::TextFormat;
using google::protobuf::io::ArrayInputStream;
using google::protobuf::io::Tokenizer;

constexpr int kRecursionLimit = 32;  // the config is 4 deep

struct Place {
  int line = 0, column = 0;  // zero-based
};

class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, google::protobuf::io::ColumnNumber column, const std::string& message) override {
    if (!message_.empty()) return;
    place_ = {line, column};
    message_ = message;
  }
  const Place& place() const { return place_; }
  const std::string& message() const { return message_; }

 private:
  Place place_;
  std::string message_;
};

// Where in the nesting of groups a place lies.
struct Context {
  std::string path;  // of the enclosing groups
  std::string name;  // the last name before the place, and where it stands
  Place name_place;
};

Context scan_context(std::string_view text, const Place& end) {
  ArrayInputStream stream(text.data(), static_cast<int>(text.size()));
  FirstError ignored;
  Tokenizer tokenizer(&stream, &ignored);
  tokenizer.set_comment_style(Tokenizer::SH_COMMENT_STYLE);
  std::vector<std::string> open;
  Context context;
  while (tokenizer.Next()) {
    const Tokenizer::Token& token = tokenizer.current();
    if (token.line > end.line || (token.line == end.line && token.column >= end.column)) break;
    if (token.type == Tokenizer::TYPE_IDENTIFIER) {
      context.name = token.text;
      context.name_place = {token.line, token.column};
    } else if (token.text == "{" || token.text == "<") {
      open.push_back(context.name);
    } else if ((token.text == "}" || token.text == ">") && !open.empty()) {
      context.name = open.back();  // so that the next element of a list of groups is under the same name
      open.pop_back();
    }
  }
  context.path = fmt::format("{}", fmt::join(open, "."));
  return context;
}

// The text between `before` and `after`, if the message has this form.
std::optional<std::string> between(const std::string& message, std::string_view before, std::string_view after) {
  const size_t start = message.find(before);
  if (start == std::string::npos) return std::nullopt;
  const size_t end = message.find(after, start + before.size());
  if (end == std::string::npos) return std::nullopt;
  return message.substr(start + before.size(), end - start - before.size());
}

std::string at(const std::string& source, bool with_place, const Place& place) {
  return with_place ? fmt::format("{}:{}:{}", source, place.line + 1, place.column + 1) : source;
}

std::string enum_values(const std::string& path, const std::string& field_name, const std::string& got) {
  const Descriptor* type = message_at(path);
  const FieldDescriptor* field = type == nullptr ? nullptr : type->FindFieldByName(field_name);
  if (field == nullptr || field->cpp_type() != FieldDescriptor::CPPTYPE_ENUM) return "";
  const std::vector<std::string> names = value_names(*field->enum_type());
  const std::string near = nearest(got, names);
  return (near.empty() ? "" : fmt::format("\n  did you mean {}?", near)) +
         fmt::format("\n  values of {}: {}", field_name, fmt::join(names, ", "));
}

[[noreturn]] void explain(std::string_view text, const std::string& source, bool with_place, const std::string& where,
                          const FirstError& error) {
  const Context context = scan_context(text, error.place());
  const std::string path = where.empty() || context.path.empty() ? where + context.path : where + "." + context.path;
  const std::string in = path.empty() ? "" : fmt::format(" in {}", path);
  const std::string& message = error.message();
  if (const auto name = between(message, "has no field named \"", "\"")) {
    const Descriptor* type = message_at(path);
    throw UserError(fmt::format("{}: unknown field \"{}\"{}{}", at(source, with_place, context.name_place), *name, in,
                                type == nullptr ? "" : field_suggestion(*type, path, *name)));
  }
  if (const auto value = between(message, "Unknown enumeration value of \"", "\"")) {
    const std::string field = between(message, "for field \"", "\"").value_or("");
    throw UserError(fmt::format("{}: unknown value {} for {}{}{}", at(source, with_place, error.place()), *value, field,
                                in, enum_values(path, field, *value)));
  }
  if (const auto field = between(message, "Non-repeated field \"", "\" is specified multiple times")) {
    throw UserError(fmt::format("{}: {}{} is given twice\n  keep one of them",
                                at(source, with_place, context.name_place), *field, in));
  }
  const std::string subject = context.name.empty() ? "" : fmt::format(" (at {}{})", context.name, in);
  throw UserError(fmt::format("{}: {}{}", at(source, with_place, error.place()), message, subject));
}

}  // namespace

void parse_text(std::string_view text, const std::string& source, bool with_place, const std::string& where,
                Message* message, TextFormat::ParseInfoTree* locations) {
  TextFormat::Parser parser;
  FirstError error;
  parser.SetRecursionLimit(kRecursionLimit);
  parser.RecordErrorsTo(&error);
  if (locations != nullptr) parser.WriteLocationsTo(locations);
  ArrayInputStream stream(text.data(), static_cast<int>(text.size()));
  if (!parser.Parse(&stream, message)) explain(text, source, with_place, where, error);
}

}  // namespace lockstep::config_detail
