// lockstep: the command. Parses, runs one sub-command, and turns errors into messages and exit codes (core/error.h).
// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>

#include <algorithm>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/suggest.h"
#include "tools/commands.h"
#include "tools/job.h"
#include "tools/report_error.h"
#include "train/build_info.h"

namespace {

int fail(std::string_view kind, std::string_view message, lockstep::ExitCode code) {
  lockstep::report_error(lockstep::launched_rank(), kind, message);
  return static_cast<int>(code);
}

// What is wrong with the command line. A missing or unknown command gets the list of those that there are.
std::string explain(const CLI::App& app, const CLI::ParseError& error, std::string_view word) {
  std::vector<std::string> names;
  std::string list;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
    list += (list.empty() ? "" : ", ") + names.back();
  }
  const std::string commands = "\n  The commands: " + list + ". Try: lockstep --help";
  if (word.empty()) return "no command" + commands;
  if (word.starts_with('-') || std::find(names.begin(), names.end(), word) != names.end())
    return std::string(error.what()) + "\nTry: lockstep --help";
  const std::string near = lockstep::nearest(word, names);
  return "unknown command '" + std::string(word) + "'" + (near.empty() ? "" : "; did you mean '" + near + "'?") + commands;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Synchronous data-parallel training of convolutional networks");
  app.require_subcommand(1);
  app.set_version_flag("--version", "lockstep " + lockstep::build_id(), "Version and exit");
  lockstep::Run run;
  lockstep::add_train(app, run);
  lockstep::add_eval(app, run);
  lockstep::add_infer(app, run);
  lockstep::add_export(app, run);
  lockstep::add_bench(app, run);
  lockstep::add_analyze(app, run);
  lockstep::add_plan(app, run);
  lockstep::add_tune(app, run);
  lockstep::add_report(app, run);
  lockstep::add_inspect(app, run);
  lockstep::add_data(app, run);
  lockstep::add_config(app, run);
  lockstep::add_version(app, run);
  lockstep::add_help(app, run);
  try {
    app.parse(argc, argv);
    return run();
  } catch (const CLI::Success& success) {
    return app.exit(success);  // --help, --version
  } catch (const CLI::ParseError& error) {
    return fail("error", explain(app, error, argc > 1 ? argv[1] : ""), lockstep::ExitCode::kUsage);
  } catch (const lockstep::Error& error) {
    return fail(error.kind(), error.what(), error.code());
  } catch (const std::exception& error) {
    return fail("internal error", error.what(), lockstep::ExitCode::kInternal);
  }
}
