// Configs for tests: the shipped recipes, with fields overridden.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "train/config/config.h"

namespace lockstep {

using Sets = std::vector<std::string>;  // "path.to.field=value"

inline std::vector<ConfigOverride> overrides_of(const Sets& sets) {
  std::vector<ConfigOverride> overrides;
  for (const std::string& each : sets) overrides.push_back(parse_override(each));
  return overrides;
}

inline std::filesystem::path recipes() {
  const char* root = std::getenv("LOCKSTEP_SOURCE_DIR");
  return std::filesystem::path(root == nullptr ? "." : root) / "configs";
}

// configs/<name>.pbtxt, validated; its data need not exist.
inline LoadedConfig recipe(const std::string& name, const Sets& sets = {}) {
  LoadedConfig loaded = load_config((recipes() / (name + ".pbtxt")).string(), overrides_of(sets));
  validate(loaded, false);
  return loaded;
}

}  // namespace lockstep
