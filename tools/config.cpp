// `lockstep config`: checks a config and prints every value with its origin. `lockstep help`: the config's manual.
// SPDX-License-Identifier: Apache-2.0
#include "train/config/config.h"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>

#include "core/error.h"
#include "tools/commands.h"
#include "tools/options.h"

namespace lockstep {

void add_config(CLI::App& app, Run& run) {
  auto options = std::make_shared<ConfigOptions>();
  auto digest = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("config", "Check a config; print every value and where it comes from");
  add_config_options(*command, *options);
  command->add_flag("--digest", *digest, "Print only the digest of the values that determine the training");
  command->callback([=, &run] {
    run = [=] {
      const LoadedConfig loaded = load_and_validate(*options);
      std::fputs((*digest ? config_digest(loaded.config()) + "\n" : effective_config_text(loaded)).c_str(), stdout);
      return 0;
    };
  });
}

void add_help(CLI::App& app, Run& run) {
  auto topic = std::make_shared<std::string>();
  auto path = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("help", "Help on a topic: `help config [path.to.field]`");
  command->add_option("topic", *topic, "config, or markdown for the whole reference");
  command->add_option("path", *path, "A group or field of the config: schedule, optimizer.momentum");
  command->callback([=, &app, &run] {
    run = [=, &app] {
      if (topic->empty()) {
        std::fputs(app.help().c_str(), stdout);
      } else if (*topic == "config") {
        std::fputs(help_text(*path).c_str(), stdout);
      } else if (*topic == "markdown") {
        std::fputs(markdown_reference().c_str(), stdout);
      } else {
        throw UserError("help: got topic '" + *topic + "', want: config [path.to.field]");
      }
      return 0;
    };
  });
}

}  // namespace lockstep
