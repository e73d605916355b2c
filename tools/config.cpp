// `lockstep config`: checks a config and prints every value with its origin. `lockstep help`: the config's manual.
// SPDX-License-Identifier: Apache-2.0
#include "train/config/config.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "core/error.h"
#include "core/rehearsal.h"
#include "models/zoo.h"
#include "tools/commands.h"
#include "tools/options.h"

namespace lockstep {
namespace {

std::string choices_text(const ZooEntry& entry) {
  std::string text;
  for (const ChoiceField& each : choice_fields())
    if ((entry.choices & each.choice) != 0) text += fmt::format("{}{}", text.empty() ? "" : " ", each.field);
  return text;
}

// One line a network. Small images are CIFAR's, which has 10 classes, others ImageNet's.
std::string networks_text() {
  constexpr int kSmall = 64;
  const Rehearsal no_memory_is_touched;
  std::string text = fmt::format("{:<18}{:>12}{:>9}  {:<55} {}\n", "model.name", "parameters", "images", "what it is", "choices in model { }");
  for (const ZooEntry& entry : zoo()) {
    const auto model = make_model(
        {.name = std::string(entry.name), .classes = entry.side < kSmall ? 10 : 1000, .height = entry.side, .width = entry.side});
    text += fmt::format("{:<18}{:>12}{:>9}  {:<55} {}\n", entry.name, model->parameter_count(), fmt::format("{}x{}", entry.side, entry.side),
                        entry.about, choices_text(entry));
  }
  return text + "\nParameters are those of 1000 classes, or of 10 for images of 32x32. Images are what a network was published with; most take\n"
                "others, too. docs/networks.md says where each comes from.\n";
}

}  // namespace

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
  CLI::App* command = app.add_subcommand("help", "Help on a topic: `help config [path.to.field]`, `help networks`");
  command->add_option("topic", *topic, "config, networks, or markdown for the whole reference of the config");
  command->add_option("path", *path, "A group or field of the config: schedule, optimizer.momentum");
  command->callback([=, &app, &run] {
    run = [=, &app] {
      if (topic->empty()) {
        std::fputs(app.help().c_str(), stdout);
      } else if (*topic == "config") {
        std::fputs(help_text(*path).c_str(), stdout);
      } else if (*topic == "networks") {
        std::fputs(networks_text().c_str(), stdout);
      } else if (*topic == "markdown") {
        std::fputs(markdown_reference().c_str(), stdout);
      } else {
        throw UserError("help: got topic '" + *topic + "', want: config [path.to.field] or networks");
      }
      return 0;
    };
  });
}

}  // namespace lockstep
