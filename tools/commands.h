// The sub-commands of `lockstep`: one file each, parsing and wiring only.
//
// add_X registers a command; its callback stores what to run in `run`, which main calls after parsing. The returned int is
// the exit code; errors are thrown and turned into exit codes by main alone.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace lockstep {

using Run = std::function<int()>;

void add_train(CLI::App& app, Run& run);
void add_eval(CLI::App& app, Run& run);
void add_infer(CLI::App& app, Run& run);
void add_export(CLI::App& app, Run& run);
void add_data(CLI::App& app, Run& run);
void add_bench(CLI::App& app, Run& run);
void add_analyze(CLI::App& app, Run& run);
void add_plan(CLI::App& app, Run& run);
void add_tune(CLI::App& app, Run& run);
void add_report(CLI::App& app, Run& run);
void add_inspect(CLI::App& app, Run& run);
void add_config(CLI::App& app, Run& run);
void add_version(CLI::App& app, Run& run);
void add_help(CLI::App& app, Run& run);

}  // namespace lockstep
