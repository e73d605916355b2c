// Command-line options that several sub-commands share.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "train/config/config.h"

namespace CLI {
class App;
}

namespace lockstep {

struct ConfigOptions {
  std::string file;
  std::string data, run_dir;
  std::int64_t max_steps = -1;
  std::int64_t seed = -1;
  std::vector<std::string> set;
  const char* built_in = nullptr;  // a config's text, for commands that can do without a file
};

// CONFIG, --data, --run-dir, --max-steps, --seed, --set.
void add_config_options(CLI::App& command, ConfigOptions& options);
LoadedConfig load_and_validate(const ConfigOptions& options, bool needs_data = true);  // validate

}  // namespace lockstep
