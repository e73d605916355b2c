// Walking a config by protobuf reflection: leaves with their paths, values as text, lists of legal names.
//
// Private to train/config: it includes protobuf.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "proto/config.pb.h"
#include "train/config/config.h"

namespace lockstep {

struct LoadedConfig::State {
  proto::Config config;
  std::string file;
  std::map<std::string, std::string> origins;  // leaf path -> origin; absent: default
};

namespace config_detail {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

bool is_message(const FieldDescriptor& field);

// A field that holds plain values; a repeated one is a single leaf.
struct Leaf {
  std::string path;
  const Message* parent;
  const FieldDescriptor* field;

  bool given() const;
  // In text format; lists as "[a, b]"; "" if absent and without default.
  std::string value() const;
};

// All leaves in the proto's order, whether given or not; repeated messages only as far as they have elements.
void for_each_leaf(const Message& message, const std::string& prefix, const std::function<void(const Leaf&)>& visit);

// The value of a field that is not given, in text format; "" if it has no default.
std::string default_value(const FieldDescriptor& field);

// "int32", "list of double", "one of CONSTANT, STEP", "group".
std::string type_name(const FieldDescriptor& field);

std::vector<std::string> field_names(const Descriptor& type);
std::vector<std::string> value_names(const EnumDescriptor& type);

// The type of the message at a path such as "data.augment" or "optimizer.group[0]"; nullptr if there is none.
const Descriptor* message_at(std::string_view path);

// The tail of an "unknown field" error: what was perhaps meant, and the fields that `type` (at `where`) has.
std::string field_suggestion(const Descriptor& type, const std::string& where, const std::string& name);

}  // namespace config_detail
}  // namespace lockstep
