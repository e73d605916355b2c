// Leaves, values and names of a config, from its descriptors.
// SPDX-License-Identifier: Apache-2.0
#include "train/config/reflect.h"

#include <fmt/format.h>
#include <google/protobuf/text_format.h>

#include "core/suggest.h"

namespace lockstep::config_detail {
namespace {

using google::protobuf::MessageFactory;
using google::protobuf::Reflection;
using google::protobuf::TextFormat;

std::string joined(const std::string& prefix, const std::string& name) {
  return prefix.empty() ? name : prefix + "." + name;
}

// The words by which other programs call our fields.
struct Alias {
  const char* word;
  const char* path;
};
constexpr Alias kAliases[] = {
    {"batch_size", "batch.global_batch"},
    {"per_gpu_batch", "batch.shard_batch"},
    {"micro_batch", "batch.shard_batch"},
    {"learning_rate", "schedule.lr"},
    {"base_lr", "schedule.lr"},
    {"lr_policy", "schedule.kind"},
    {"num_epochs", "epochs"},
    {"max_epochs", "epochs"},
    {"max_iter", "max_steps"},
    {"workers", "data.loader_threads"},
    {"num_workers", "data.loader_threads"},
    {"random_seed", "seed"},
    {"output", "run_dir"},
    {"arch", "model.name"},
    {"num_classes", "model.classes"},
    {"clip_gradients", "optimizer.clip_norm"},
    {"dtype", "precision"},
    {"amp", "precision"},
    {"loss_scale", "loss_scaling.initial"},
    {"device", "backend"},
    {"gpu", "cuda.device"},
    {"sync_bn", "model.batch_norm.scope"},
    {"dataset", "data.source"},
    {"data_dir", "data.path"},
};

// Paths of all fields of that very name, anywhere in the config.
void find_named(const Descriptor& type, const std::string& prefix, const std::string& name,
                std::vector<std::string>* found) {
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const std::string path = joined(prefix, field.name());
    if (field.name() == name) found->push_back(path);
    if (is_message(field)) find_named(*field.message_type(), path, name, found);
  }
}

std::string elsewhere(const std::string& name) {
  std::vector<std::string> found;
  find_named(*proto::Config::descriptor(), "", name, &found);
  if (found.size() == 1 || found.size() == 2) return fmt::format("{}", fmt::join(found, " or "));
  for (const Alias& alias : kAliases) {
    if (name == alias.word) return alias.path;
  }
  return "";
}

}  // namespace

bool is_message(const FieldDescriptor& field) { return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE; }

bool Leaf::given() const {
  const Reflection& reflection = *parent->GetReflection();
  return field->is_repeated() ? reflection.FieldSize(*parent, field) > 0 : reflection.HasField(*parent, field);
}

std::string Leaf::value() const {
  std::string text;
  if (!field->is_repeated()) {
    if (!given() && !field->has_default_value()) return "";
    TextFormat::PrintFieldValueToString(*parent, field, -1, &text);
    return text;
  }
  const int size = parent->GetReflection()->FieldSize(*parent, field);
  if (size == 0) return "";
  std::vector<std::string> elements(static_cast<size_t>(size));
  for (int i = 0; i < size; ++i)
    TextFormat::PrintFieldValueToString(*parent, field, i, &elements[static_cast<size_t>(i)]);
  return fmt::format("[{}]", fmt::join(elements, ", "));
}

void for_each_leaf(const Message& message, const std::string& prefix, const std::function<void(const Leaf&)>& visit) {
  const Descriptor& type = *message.GetDescriptor();
  const Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* field = type.field(i);
    const std::string path = joined(prefix, field->name());
    if (!is_message(*field)) {
      visit({path, &message, field});
    } else if (!field->is_repeated()) {
      for_each_leaf(reflection.GetMessage(message, field), path, visit);
    } else {
      for (int k = 0; k < reflection.FieldSize(message, field); ++k) {
        for_each_leaf(reflection.GetRepeatedMessage(message, field, k), fmt::format("{}[{}]", path, k), visit);
      }
    }
  }
}

std::string default_value(const FieldDescriptor& field) {
  if (field.is_repeated() || is_message(field) || !field.has_default_value()) return "";
  const Message* empty = MessageFactory::generated_factory()->GetPrototype(field.containing_type());
  return Leaf{"", empty, &field}.value();
}

std::string type_name(const FieldDescriptor& field) {
  const std::string list = field.is_repeated() ? "list of " : "";
  if (is_message(field)) return list + "group";
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
    return fmt::format("{}{}", field.is_repeated() ? "list of " : "one of ",
                       fmt::join(value_names(*field.enum_type()), ", "));
  }
  return list + field.type_name();
}

std::vector<std::string> field_names(const Descriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
  return names;
}

std::vector<std::string> value_names(const EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) names.push_back(type.value(i)->name());
  return names;
}

const Descriptor* message_at(std::string_view path) {
  const Descriptor* type = proto::Config::descriptor();
  while (!path.empty()) {
    const size_t dot = path.find('.');
    const std::string_view step = path.substr(0, dot);
    const FieldDescriptor* field = type->FindFieldByName(std::string(step.substr(0, step.find('['))));
    if (field == nullptr || !is_message(*field)) return nullptr;
    type = field->message_type();
    path = dot == std::string_view::npos ? std::string_view() : path.substr(dot + 1);
  }
  return type;
}

std::string field_suggestion(const Descriptor& type, const std::string& where, const std::string& name) {
  const std::vector<std::string> names = field_names(type);
  std::string text;
  if (const std::string near = nearest(name, names); !near.empty()) {
    text = fmt::format("\n  did you mean \"{}\"?", near);
  } else if (const std::string other = elsewhere(name); !other.empty()) {
    text = fmt::format("\n  did you mean {}?", other);
  }
  return fmt::format("{}\n  fields of {}: {}", text, where.empty() ? "the config" : where, fmt::join(names, ", "));
}

}  // namespace lockstep::config_detail
