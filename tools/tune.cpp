// `lockstep tune`: a sweep of batch sizes and learning rates, judged (sweep/).
// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <sstream>

#include "charts/number_text.h"
#include "core/error.h"
#include "distributed/launch_environment.h"
#include "proto/config.pb.h"
#include "sweep/judge.h"
#include "sweep/process_runner.h"
#include "sweep/run_sweep.h"
#include "sweep/sweep_options.h"
#include "sweep/sweep_table.h"
#include "tools/commands.h"
#include "tools/options.h"
#include "train/network.h"
#include "train/stop_request.h"

namespace lockstep {
namespace {

constexpr const char* kBestConfig = "best.pbtxt";

struct TuneOptions {
  ConfigOptions config;
  std::string batches, lrs, factors, rule = "both", select = "accuracy", rungs, target, budget, shard, launcher;
  int seeds = 3, keep = 2, jobs = 1, ranks = 1;
  bool stop_at_target = false, json = false, dry_run = false;
};

SweepOptions sweep_options(const TuneOptions& options) {
  SweepOptions sweep{.batches = parse_batches(options.batches), .rule = parse_rule(options.rule), .seeds = options.seeds, .keep = options.keep,
                     .select = parse_select(options.select), .stop_at_target = options.stop_at_target};
  if (!options.lrs.empty()) sweep.lrs = parse_positive(options.lrs, "--lrs");
  if (!options.factors.empty()) sweep.factors = parse_positive(options.factors, "--factors");
  if (!options.rungs.empty()) sweep.rungs = parse_rungs(options.rungs);
  if (!options.target.empty()) sweep.target = parse_target(options.target);
  if (sweep.select == Select::kTarget && !sweep.target) throw UserError("--select target: needs --target");
  if (sweep.stop_at_target && sweep.select != Select::kTarget)
    throw UserError("--stop-at-target: rates can only be compared by --select target then");
  return sweep;
}

DataSizes data_sizes(const proto::Config& config) {
  const std::unique_ptr<Source> train = open_split(config, Split::kTrain);
  if (config.data().source() == proto::Data::SYNTHETIC && config.data().synthetic().eval_size() <= 0) return {train->size(), 0};
  return {train->size(), open_split(config, Split::kEval, train->classes())->size()};
}

// The sweep's folder: --run-dir or the config's run_dir; by default runs/<name>-sweep, beside where `train` would put a run.
std::string sweep_folder(const LoadedConfig& loaded) {
  const std::string& folder = loaded.config().run_dir();
  return loaded.origin("run_dir") == "from name" ? folder + "-sweep" : folder;
}

// Of the processes that share the sweep: as told, or as their launcher says.
ShardOf shard_of(const std::string& text) {
  if (!text.empty()) return parse_shard(text);
  const LaunchEnvironment launched = detect_launcher([](const char* name) { return std::getenv(name); });
  return {launched.rank.value_or(0), std::max(1, launched.size.value_or(1))};
}

ProcessRunnerOptions runner_options(const TuneOptions& options, const proto::Config& config) {
  ProcessRunnerOptions runner{
      .binary = std::filesystem::read_symlink("/proc/self/exe").string(), .ranks = options.ranks, .launcher = default_launcher()};
  if (!options.launcher.empty()) {
    std::istringstream words(options.launcher);
    runner.launcher.clear();
    for (std::string word; words >> word;) runner.launcher.push_back(word);
  }
  if (config.backend() == proto::Config::CUDA && options.jobs > 1) runner.gpus = visible_gpus();
  return runner;
}

std::string chosen_for(const SweepPlan& plan) {
  return plan.options.stop_at_target ? "the largest batch that reached the target" : "the largest batch without loss";
}

// Judges what there is and leaves it in the folder.
SweepResult save_result(const SweepPlan& plan, const TrialStore& store, const SweepProgress& progress) {
  SweepResult result = judge_sweep(plan, progress);
  if (const auto batch = result.verdict.largest_without_loss) {
    const auto summary = std::find_if(result.batches.begin(), result.batches.end(), [&](const BatchSummary& each) { return each.batch == *batch; });
    result.best_config = kBestConfig;
    const std::string reached =
        plan.options.stop_at_target ? "reached " + percent_text(*plan.options.target) : "top-1 " + percent_text(*summary->mean_top1);
    store.write(kBestConfig, recipe_text(plan, *batch, *summary->best_lr,
                                         fmt::format("# Of the sweep {}{} {}: {}.\n", plan.folder, result.complete ? "" : " (not complete)",
                                                     chosen_for(plan), reached)));
  }
  store.write("sweep.json", sweep_json(result));
  return result;
}

std::string epilogue(const SweepPlan& plan, const SweepResult& result, SweepEnd end) {
  std::string text = fmt::format("\nresult      {}/sweep.json\n", plan.folder);
  if (!result.best_config.empty()) text += fmt::format("config      {}/{} ({})\n", plan.folder, result.best_config, chosen_for(plan));
  if (end == SweepEnd::kStopped) text += fmt::format("stopped     {}; everything is saved: the same command goes on\n", stop_reason());
  if (end == SweepEnd::kBudget) text += "stopped     the budget does not reach further; the same command goes on, with --budget for another while\n";
  return text;
}

int run_tune(const TuneOptions& options) {
  const LoadedConfig loaded = load_and_validate(options.config);
  const ShardOf shard = shard_of(options.shard);
  const auto budget_s = options.budget.empty() ? std::nullopt : std::optional(parse_seconds(options.budget, "--budget"));
  const SweepPlan plan = plan_sweep(loaded, sweep_options(options), data_sizes(loaded.config()), sweep_folder(loaded), options.ranks);
  if (options.dry_run) {
    std::fputs((options.json ? plan_json(plan) + "\n" : plan_text(plan)).c_str(), stdout);
    return 0;
  }
  const bool reports = shard.index == 0;
  std::FILE* console = options.json ? stderr : stdout;
  const auto say = [&](const std::string& text) {
    std::fputs((text + "\n").c_str(), console);
    std::fflush(console);
  };
  install_stop_handlers();
  const TrialStore store(plan);
  if (reports) say(plan_text(plan));
  ProcessRunner runner(runner_options(options, loaded.config()));
  RunSweepOptions sweep{.jobs = options.jobs, .budget_s = budget_s, .stop_wanted = stop_requested, .say = say};
  if (reports) sweep.changed = [&](const SweepProgress& progress) { save_result(plan, store, progress); };
  const SweepEnd end = run_sweep(plan, store, runner, sweep);
  if (reports) {
    const SweepResult result = save_result(plan, store, store.load());
    say(result_text(result) + epilogue(plan, result, end));
    if (options.json) std::fputs(sweep_json(result).c_str(), stdout);
  }
  return static_cast<int>(end == SweepEnd::kComplete ? ExitCode::kOk : ExitCode::kTempFail);
}

void add_sweep_options(CLI::App& command, TuneOptions& options) {
  command.add_option("--batches", options.batches, "Global batches: 64..8192 (doubling), 64..4096x4 or 64,128,512")->required();
  CLI::Option* lrs = command.add_option("--lrs", options.lrs, "Peak learning rates to try at every batch: 0.1,0.2,0.4");
  command.add_option("--factors", options.factors, "Or: factors around what the scaling rules say (0.5,1,2)")->excludes(lrs);
  command.add_option("--rule", options.rule, "Scaling rules to try around: linear, sqrt or both (both)")->excludes(lrs);
  command.add_option("--seeds", options.seeds, "Seeds for each batch's best rate (3)")->check(CLI::Range(1, 1000));
  command.add_option("--rungs", options.rungs, "Shares of the schedule after which the worse rates are dropped (1/9,1/3,1)");
  command.add_option("--keep", options.keep, "Rates that a rung keeps at least; otherwise a third (2)")->check(CLI::Range(1, 1000));
  command.add_option("--select", options.select, "What makes a rate better: accuracy, or target: fewest samples to the target (accuracy)");
  command.add_option("--target", options.target, "Evaluation top-1 accuracy to reach: 0.93 or 93%");
  command.add_flag("--stop-at-target", options.stop_at_target, "Train no trial beyond the target: cheaper; final accuracy is not known then");
}

}  // namespace

void add_tune(CLI::App& app, Run& run) {
  auto options = std::make_shared<TuneOptions>();
  CLI::App* command = app.add_subcommand("tune", "Sweep batch sizes and learning rates: which batch loses nothing, which is fastest");
  add_config_options(*command, options->config);
  add_sweep_options(*command, *options);
  command->add_option("--budget", options->budget, "Wall time of this start: 90m, 2h; no trial begins that would not end in time");
  command->add_option("--jobs", options->jobs, "Trials beside each other (1)")->check(CLI::Range(1, 4096));
  command->add_option("--ranks", options->ranks, "Ranks of each trial, by mpirun on this machine (1)")->check(CLI::Range(1, 65536));
  command->add_option("--launcher", options->launcher, "What starts a trial's ranks; their number follows (mpirun ... -n)");
  command->add_option("--shard", options->shard, "I/N: this is one of N processes that share the folder; the first reports (by the launcher)");
  command->add_flag("--json", options->json, "Print the result as JSON; everything else goes to stderr");
  command->add_flag("--dry-run", options->dry_run, "Print which trials there would be; writes nothing");
  command->callback([=, &run] {
    run = [=] { return run_tune(*options); };
  });
}

}  // namespace lockstep
