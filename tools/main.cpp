// lockstep: the command. Parses, runs one sub-command, and turns errors into messages and exit codes (core/error.h).
// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>

#include <exception>
#include <string>
#include <string_view>

#include "core/error.h"
#include "tools/commands.h"
#include "tools/job.h"
#include "tools/report_error.h"

namespace {

int fail(std::string_view kind, std::string_view message, lockstep::ExitCode code) {
  lockstep::report_error(lockstep::launched_rank(), kind, message);
  return static_cast<int>(code);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Synchronous data-parallel training of convolutional networks");
  app.require_subcommand(1);
  lockstep::Run run;
  lockstep::add_train(app, run);
  lockstep::add_eval(app, run);
  lockstep::add_bench(app, run);
  lockstep::add_inspect(app, run);
  lockstep::add_config(app, run);
  lockstep::add_version(app, run);
  lockstep::add_help(app, run);
  try {
    app.parse(argc, argv);
    return run();
  } catch (const CLI::Success& success) {
    return app.exit(success);  // --help
  } catch (const CLI::ParseError& error) {
    return fail("error", std::string(error.what()) + "\nTry: lockstep --help", lockstep::ExitCode::kUsage);
  } catch (const lockstep::Error& error) {
    return fail(error.kind(), error.what(), error.code());
  } catch (const std::exception& error) {
    return fail("internal error", error.what(), lockstep::ExitCode::kInternal);
  }
}
