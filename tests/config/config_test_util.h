// Shared by the config tests: a small valid config, and the text of an expected error.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/error.h"
#include "proto/config.pb.h"
#include "train/config/config.h"

namespace lockstep {

inline constexpr const char* kValid = R"(
epochs: 3
model { name: "resnet14" classes: 10 }
data { source: SYNTHETIC }
batch { global_batch: 128 shard_batch: 32 }
schedule { lr_per_256: 0.1 }
)";

inline std::vector<ConfigOverride> sets(const std::vector<std::string>& assignments) {
  std::vector<ConfigOverride> overrides;
  for (const std::string& assignment : assignments) overrides.push_back(parse_override(assignment));
  return overrides;
}

inline LoadedConfig with(const std::vector<std::string>& assignments, const std::string& text = kValid) {
  return parse_config(text, "test.pbtxt", sets(assignments));
}

// The message of the UserError that `action` throws, after checking its code.
template <typename Action>
std::string user_error(Action action, ExitCode code = ExitCode::kUsage) {
  try {
    action();
  } catch (const UserError& error) {
    EXPECT_EQ(static_cast<int>(error.code()), static_cast<int>(code));
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

inline std::string parse_error(const std::string& text) {
  return user_error([&] { parse_config(text, "test.pbtxt"); });
}

inline std::string set_error(const std::string& assignment) {
  return user_error([&] { with({assignment}); });
}

}  // namespace lockstep
