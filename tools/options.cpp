// SPDX-License-Identifier: Apache-2.0
#include "tools/options.h"

#include <CLI/CLI.hpp>

namespace lockstep {

void add_config_options(CLI::App& command, ConfigOptions& options) {
  command.add_option("config", options.file, "Config file (text format; `lockstep help config`)")->required();
  command.add_option("--data", options.data, "Folder of the training data (data.path)");
  command.add_option("--run-dir", options.run_dir, "Folder of the run (run_dir; default runs/<name>)");
  command.add_option("--max-steps", options.max_steps, "Stop after this many steps (max_steps)")->check(CLI::NonNegativeNumber);
  command.add_option("--seed", options.seed, "Seed of everything random (seed)")->check(CLI::NonNegativeNumber);
  command.add_option("--set", options.set, "Override one value: path.to.field=value (repeatable)")->allow_extra_args(false);
}

LoadedConfig load_and_validate(const ConfigOptions& options, bool needs_data) {
  std::vector<ConfigOverride> overrides;
  for (const std::string& assignment : options.set) overrides.push_back(parse_override(assignment));
  if (!options.data.empty()) overrides.push_back(flag_override("data.path", options.data, "--data"));
  if (!options.run_dir.empty()) overrides.push_back(flag_override("run_dir", options.run_dir, "--run-dir"));
  if (options.max_steps >= 0)
    overrides.push_back(flag_override("max_steps", std::to_string(options.max_steps), "--max-steps"));
  if (options.seed >= 0) overrides.push_back(flag_override("seed", std::to_string(options.seed), "--seed"));
  const bool built_in = options.file.empty() && options.built_in != nullptr;
  LoadedConfig loaded = built_in ? parse_config(options.built_in, "built-in config", overrides) : load_config(options.file, overrides);
  validate(loaded, needs_data);
  return loaded;
}

}  // namespace lockstep
