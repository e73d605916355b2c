// Loading a config: file, then overrides in order, then the two fields that follow from the file's name.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "train/config/override.h"
#include "train/config/reflect.h"
#include "train/config/text_parser.h"

namespace lockstep {
namespace {

using config_detail::FieldDescriptor;
using config_detail::Message;
using google::protobuf::TextFormat;
namespace fs = std::filesystem;

constexpr size_t kMaxFileBytes = size_t{1} << 20;

std::string read_config_file(const std::string& path) {
  std::error_code code;
  const fs::file_status status = fs::status(path, code);
  if (!fs::exists(status)) {
    throw UserError(
        fmt::format("config file {} does not exist\n  give the path of a text config, such as those in configs/", path),
        ExitCode::kNoInput);
  }
  if (!fs::is_regular_file(status))
    throw UserError(fmt::format("{} is not a file\n  give the path of a text config", path));
  std::ifstream file(path, std::ios::binary);
  if (!file) throw_errno("open", path, errno, ExitCode::kNoInput);
  std::string text(kMaxFileBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (file.bad()) throw_errno("read", path, errno);
  if (text.size() > kMaxFileBytes) throw UserError(fmt::format("{} is larger than 1 MiB: it is no config", path));
  return text;
}

// Origins "FILE:LINE" of everything that the file gives.
void record_lines(const Message& message, TextFormat::ParseInfoTree& tree, const std::string& prefix,
                  LoadedConfig::State* state) {
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const std::string path = prefix.empty() ? field->name() : prefix + "." + field->name();
    const int count = field->is_repeated() ? message.GetReflection()->FieldSize(message, field) : 1;
    for (int i = 0; i < count; ++i) {
      const int index = field->is_repeated() ? i : -1;
      if (!config_detail::is_message(*field)) {
        state->origins.emplace(path, fmt::format("{}:{}", state->file, tree.GetLocation(field, index).line + 1));
        continue;
      }
      const Message& child = index < 0 ? message.GetReflection()->GetMessage(message, field)
                                       : message.GetReflection()->GetRepeatedMessage(message, field, i);
      TextFormat::ParseInfoTree* subtree = tree.GetTreeForNested(field, index);
      if (subtree != nullptr) record_lines(child, *subtree, index < 0 ? path : fmt::format("{}[{}]", path, i), state);
    }
  }
}

void fill_names(LoadedConfig::State* state) {
  if (!state->config.has_name()) {
    const std::string stem = fs::path(state->file).stem().string();
    state->config.set_name(stem.empty() ? "run" : stem);
    state->origins["name"] = "the file's name";
  }
  if (!state->config.has_run_dir()) {
    state->config.set_run_dir("runs/" + state->config.name());
    state->origins["run_dir"] = "from name";
  }
}

}  // namespace

const proto::Config& LoadedConfig::config() const { return state_->config; }
const std::string& LoadedConfig::file() const { return state_->file; }

std::string LoadedConfig::origin(const std::string& path) const {
  const auto found = state_->origins.find(path);
  return found == state_->origins.end() ? "default" : found->second;
}

LoadedConfig parse_config(std::string_view text, const std::string& file,
                          const std::vector<ConfigOverride>& overrides) {
  auto state = std::make_shared<LoadedConfig::State>();
  state->file = file;
  TextFormat::ParseInfoTree locations;
  config_detail::parse_text(text, file, true, "", &state->config, &locations);
  record_lines(state->config, locations, "", state.get());
  for (const ConfigOverride& change : overrides) config_detail::apply_override(change, state.get());
  fill_names(state.get());
  return LoadedConfig(std::move(state));
}

LoadedConfig load_config(const std::string& path, const std::vector<ConfigOverride>& overrides) {
  return parse_config(read_config_file(path), path, overrides);
}

}  // namespace lockstep
