// `--set path=value`: the path is walked by reflection, the value is parsed by the text format parser into an empty
// message of the field's parent, and that message is merged. So every type, list and group works as it does in a file.
// SPDX-License-Identifier: Apache-2.0
#include "train/config/override.h"

#include <fmt/format.h>

#include <charconv>
#include <memory>

#include "core/error.h"
#include "train/config/text_parser.h"

namespace lockstep {
namespace config_detail {
namespace {

using google::protobuf::Reflection;

// Where an override points: a field of a message of the config, perhaps one element of it.
struct Target {
  Message* parent = nullptr;
  std::string parent_path;
  const FieldDescriptor* field = nullptr;
  int index = -1;  // of the element; -1: the whole field

  std::string path() const {
    const std::string name = index < 0 ? field->name() : fmt::format("{}[{}]", field->name(), index);
    return parent_path.empty() ? name : parent_path + "." + name;
  }
};

// "name[3]" -> name and 3; -1 without brackets.
std::pair<std::string, int> split_index(std::string_view step, const ConfigOverride& change) {
  const size_t bracket = step.find('[');
  if (bracket == std::string_view::npos) return {std::string(step), -1};
  const std::string_view digits = step.substr(bracket + 1, step.size() - bracket - 2);
  int index = -1;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
  if (step.back() != ']' || error != std::errc() || end != digits.data() + digits.size() || index < 0) {
    throw UserError(fmt::format("{} {}: \"{}\" is no index\n  write name[0]=value, or name+=value to add an element",
                                change.origin, change.path, step));
  }
  return {std::string(step.substr(0, bracket)), index};
}

// Resolves one step of the path in target->parent.
void enter_field(std::string_view step, const ConfigOverride& change, Target* target) {
  const auto [name, index] = split_index(step, change);
  const Descriptor& type = *target->parent->GetDescriptor();
  target->field = type.FindFieldByName(name);
  target->index = index;
  if (target->field == nullptr) {
    throw UserError(fmt::format("{} {}: unknown field \"{}\"{}{}", change.origin, change.path, name,
                                target->parent_path.empty() ? "" : " in " + target->parent_path,
                                field_suggestion(type, target->parent_path, name)));
  }
  if (index < 0) return;
  const int size =
      target->field->is_repeated() ? target->parent->GetReflection()->FieldSize(*target->parent, target->field) : 0;
  if (!target->field->is_repeated()) {
    throw UserError(
        fmt::format("{} {}: {} is no list\n  write it without [{}]", change.origin, change.path, name, index));
  }
  if (index >= size) {
    throw UserError(fmt::format("{} {}: {} has {} elements\n  use {}+=value to add one", change.origin, change.path,
                                name, size, name));
  }
}

Target resolve(const ConfigOverride& change, Message* config) {
  Target target{.parent = config};
  std::string_view rest = change.path;
  while (true) {
    const size_t dot = rest.find('.');
    enter_field(rest.substr(0, dot), change, &target);
    if (dot == std::string_view::npos) return target;
    rest = rest.substr(dot + 1);
    if (!is_message(*target.field)) {
      throw UserError(fmt::format("{} {}: {} is no group: it has no field \"{}\"\n  {} is: {}", change.origin,
                                  change.path, target.path(), rest, target.path(), type_name(*target.field)));
    }
    if (target.field->is_repeated() && target.index < 0) {
      throw UserError(fmt::format("{} {}: {} is a list of groups\n  name one of them: {}[0].{}", change.origin,
                                  change.path, target.path(), target.path(), rest));
    }
    const Reflection& reflection = *target.parent->GetReflection();
    const std::string path = target.path();
    target.parent = target.index < 0 ? reflection.MutableMessage(target.parent, target.field)
                                     : reflection.MutableRepeatedMessage(target.parent, target.field, target.index);
    target.parent_path = path;
  }
}

bool starts_like_text(const std::string& value) {
  return !value.empty() && (value[0] == '"' || value[0] == '\'' || value[0] == '[');
}

// A message of the target's parent type with nothing but the new value in it.
std::unique_ptr<Message> parse_value(const ConfigOverride& change, const Target& target) {
  std::unique_ptr<Message> holder(target.parent->New());
  const FieldDescriptor& field = *target.field;
  const bool literal = change.kind == ConfigOverride::Kind::kLiteral || !starts_like_text(change.value);
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING && literal) {
    const Reflection& reflection = *holder->GetReflection();
    if (field.is_repeated()) reflection.AddString(holder.get(), &field, change.value);
    if (!field.is_repeated()) reflection.SetString(holder.get(), &field, change.value);
    return holder;
  }
  const char sign = change.kind == ConfigOverride::Kind::kAppend ? '+' : ' ';
  const std::string source = sign == '+' ? fmt::format("{} {}+={}", change.origin, change.path, change.value)
                                         : fmt::format("{} {}={}", change.origin, change.path, change.value);
  parse_text(fmt::format("{}: {}", field.name(), change.value), source, false, target.parent_path, holder.get(),
             nullptr);
  std::vector<const FieldDescriptor*> fields;
  holder->GetReflection()->ListFields(*holder, &fields);
  const bool others = fields.size() > 1 || (fields.size() == 1 && fields[0] != &field);
  const int size = field.is_repeated() ? holder->GetReflection()->FieldSize(*holder, &field) : 1;
  if (others || (target.index >= 0 && size != 1)) {
    throw UserError(fmt::format("{}: want one value\n  {} is: {}", source, change.path, type_name(field)));
  }
  return holder;
}

void erase_origins(const std::string& path, LoadedConfig::State* state) {
  std::erase_if(state->origins, [&](const auto& entry) {
    const std::string& key = entry.first;
    return key == path || (key.starts_with(path) && (key[path.size()] == '.' || key[path.size()] == '['));
  });
}

void set_origins(const Target& target, const std::string& origin, LoadedConfig::State* state) {
  const std::string field_path = Target{target.parent, target.parent_path, target.field, -1}.path();
  for_each_leaf(state->config, "", [&](const Leaf& leaf) {
    const bool inside = leaf.path == field_path || leaf.path.starts_with(target.path() + ".") ||
                        (target.index < 0 && leaf.path.starts_with(field_path + "["));
    if (inside && leaf.given() && !state->origins.contains(leaf.path)) state->origins[leaf.path] = origin;
  });
}

}  // namespace

void apply_override(const ConfigOverride& change, LoadedConfig::State* state) {
  const Target target = resolve(change, &state->config);
  const Reflection& reflection = *target.parent->GetReflection();
  const bool append = change.kind == ConfigOverride::Kind::kAppend;
  if (append && (!target.field->is_repeated() || target.index >= 0)) {
    throw UserError(fmt::format("{} {}+={}: {} is no list\n  write {}=value", change.origin, change.path, change.value,
                                target.path(), change.path));
  }
  const std::unique_ptr<Message> holder = parse_value(change, target);
  if (!append && target.index < 0) reflection.ClearField(target.parent, target.field);
  target.parent->MergeFrom(*holder);  // lists are appended
  if (target.index >= 0) {
    const int last = reflection.FieldSize(*target.parent, target.field) - 1;
    reflection.SwapElements(target.parent, target.field, target.index, last);
    reflection.RemoveLast(target.parent, target.field);
  }
  const bool plain_list = target.field->is_repeated() && !is_message(*target.field);
  const std::string field_path = Target{target.parent, target.parent_path, target.field, -1}.path();
  if (!append || plain_list) erase_origins(plain_list ? field_path : target.path(), state);
  set_origins(target, change.origin, state);
}

}  // namespace config_detail

ConfigOverride parse_override(std::string_view assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    throw UserError(
        fmt::format("--set {}: want path.to.field=value\n  for example --set schedule.lr_per_256=0.1", assignment));
  }
  const bool append = assignment[equals - 1] == '+';
  ConfigOverride change;
  change.path = std::string(assignment.substr(0, append ? equals - 1 : equals));
  change.value = std::string(assignment.substr(equals + 1));
  change.kind = append ? ConfigOverride::Kind::kAppend : ConfigOverride::Kind::kSet;
  return change;
}

ConfigOverride flag_override(std::string path, std::string value, std::string flag) {
  return {std::move(path), std::move(value), ConfigOverride::Kind::kLiteral, std::move(flag)};
}

}  // namespace lockstep
