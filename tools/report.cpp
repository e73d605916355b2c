// `lockstep report`: one page about runs and sweeps.
// SPDX-License-Identifier: Apache-2.0
#include "report/report.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <spawn.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

#include "charts/chart.h"
#include "tools/commands.h"

extern char** environ;

namespace lockstep {
namespace {

// In the desktop's browser, which goes on by itself. A machine without one gets a warning: the page is written all the same.
void open_in_browser(const std::string& file) {
  std::string program = "xdg-open", path = std::filesystem::absolute(file).string();
  char* arguments[] = {program.data(), path.data(), nullptr};
  pid_t child = 0;
  const int failure = posix_spawnp(&child, program.c_str(), nullptr, nullptr, arguments, environ);
  if (failure != 0) std::fputs(fmt::format("warning: --open yes: xdg-open: {}\n", std::strerror(failure)).c_str(), stderr);
}

}  // namespace

void add_report(CLI::App& app, Run& run) {
  struct Options {
    std::vector<std::string> paths;
    std::string file = "report.html";
    std::string open = "no";
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("report", "Write one page about runs and sweeps: curves, differences, time, energy, incidents");
  command->add_option("run", options->paths, "Run folders (of train) and sweep folders (of tune)")->required()->type_name("RUN");
  command->add_option("-o,--output", options->file, "The page to write (report.html); it needs no network and no other file")->type_name("FILE");
  command->add_option("--open", options->open, "Show the page in the desktop's browser: yes or no (no)")->check(CLI::IsMember({"yes", "no"}));
  command->callback([=, &run] {
    run = [=] {
      const Report report = make_report(options->paths);
      write_page(options->file, report.html);
      for (const std::string& warning : report.warnings) std::fputs(fmt::format("warning: {}\n", warning).c_str(), stderr);
      std::puts(fmt::format("{}: {} run{}, {} sweep{}, {} kB", options->file, report.runs, report.runs == 1 ? "" : "s", report.sweeps,
                            report.sweeps == 1 ? "" : "s", (report.html.size() + 999) / 1000)
                    .c_str());
      if (options->open == "yes") open_in_browser(options->file);
      return 0;
    };
  });
}

}  // namespace lockstep
