// The comments come from an embedded descriptor set (proto/CMakeLists.txt); generated classes have none.
// SPDX-License-Identifier: Apache-2.0
#include "train/config/comments.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <map>
#include <sstream>

#include "core/error.h"

namespace lockstep::proto {
extern const unsigned char kConfigDescriptor[];  // a FileDescriptorSet of config.proto and what it imports
extern const size_t kConfigDescriptorSize;
}  // namespace lockstep::proto

namespace lockstep::config_detail {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FileDescriptor;

using Comments = std::map<std::string, std::string>;

std::string paragraph(const std::string& comment) {
  std::istringstream words(comment);
  std::string text, word;
  while (words >> word) text += (text.empty() ? "" : " ") + word;
  return text;
}

template <typename T>
void add(const T& descriptor, Comments* comments) {
  google::protobuf::SourceLocation location;
  if (descriptor.GetSourceLocation(&location)) {
    (*comments)[descriptor.full_name()] = paragraph(location.leading_comments);
  }
}

void add_enum(const EnumDescriptor& type, Comments* comments) {
  add(type, comments);
  for (int i = 0; i < type.value_count(); ++i) add(*type.value(i), comments);
}

void add_message(const Descriptor& type, Comments* comments) {
  add(type, comments);
  for (int i = 0; i < type.field_count(); ++i) add(*type.field(i), comments);
  for (int i = 0; i < type.enum_type_count(); ++i) add_enum(*type.enum_type(i), comments);
  for (int i = 0; i < type.nested_type_count(); ++i) add_message(*type.nested_type(i), comments);
}

Comments read_comments() {
  google::protobuf::FileDescriptorSet set;
  LS_CHECK(set.ParseFromArray(proto::kConfigDescriptor, static_cast<int>(proto::kConfigDescriptorSize)),
           "the embedded descriptors of the config's files do not parse");
  google::protobuf::DescriptorPool pool;
  Comments comments;
  for (const auto& file : set.file()) {  // imported files come before those that import them
    const FileDescriptor* built = pool.BuildFile(file);
    LS_CHECK(built != nullptr, "the embedded descriptor of " + file.name() + " does not build");
    for (int i = 0; i < built->message_type_count(); ++i) add_message(*built->message_type(i), &comments);
    for (int i = 0; i < built->enum_type_count(); ++i) add_enum(*built->enum_type(i), &comments);
  }
  return comments;
}

}  // namespace

const std::string& comment_of(const std::string& full_name) {
  static const Comments comments = read_comments();
  static const std::string none;
  const auto found = comments.find(full_name);
  return found == comments.end() ? none : found->second;
}

std::string first_sentence(const std::string& comment) {
  for (size_t i = 0; i + 1 < comment.size(); ++i) {
    if (comment[i] == '.' && comment[i + 1] == ' ') return comment.substr(0, i + 1);
  }
  return comment;
}

std::string wrapped(const std::string& text, size_t indent, size_t width) {
  std::istringstream words(text);
  std::string result, word;
  std::string line(indent, ' ');
  while (words >> word) {
    if (line.size() > indent && line.size() + 1 + word.size() > width) {
      result += line + "\n";
      line.assign(indent, ' ');
    }
    line += (line.size() > indent ? " " : "") + word;
  }
  return result + line + "\n";
}

}  // namespace lockstep::config_detail
