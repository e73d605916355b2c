// `lockstep version`: what this binary is and what it was built with.
// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <memory>

#include "tools/commands.h"
#include "train/build_info.h"

namespace lockstep {

void add_version(CLI::App& app, Run& run) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("version", "Version, libraries, processor features");
  command->add_flag("--json", *json, "As one JSON object");
  command->callback([=, &run] {
    run = [=] {
      if (*json) {
        nlohmann::ordered_json object{{"lockstep", build_id()}};
        for (const auto& [name, version] : build_components()) object[name] = version;
        std::puts(object.dump(2).c_str());
      } else {
        std::printf("lockstep %s\n", build_id().c_str());
        for (const auto& [name, version] : build_components()) std::printf("  %-10s %s\n", name.c_str(), version.c_str());
      }
      return 0;
    };
  });
}

}  // namespace lockstep
