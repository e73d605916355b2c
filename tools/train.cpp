// `lockstep train`: trains, and says at the end where everything is and how to go on.
// SPDX-License-Identifier: Apache-2.0
#include "train/trainer.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>

#include "core/error.h"
#include "proto/config.pb.h"
#include "tools/commands.h"
#include "tools/job.h"
#include "tools/options.h"
#include "train/dry_run.h"
#include "train/stop_request.h"

namespace lockstep {
namespace {

struct TrainOptions {
  ConfigOptions config;
  std::string resume;
  bool allow_changes = false;
  bool json = false;
  bool dry_run = false;
  int ranks = 1;  // of the dry run
  std::optional<ProfileOptions> profile;
};

nlohmann::ordered_json summary(const TrainOutcome& outcome, int ranks) {
  nlohmann::ordered_json object{{"run_dir", outcome.run_dir}, {"step", outcome.step}, {"total_steps", outcome.total_steps},
                                {"stopped", outcome.stopped}, {"reached", outcome.reached}, {"ranks", ranks}, {"digest", outcome.digest},
                                {"train_seconds", outcome.train_seconds}, {"images_per_second", outcome.images_per_second}};
  if (outcome.last_eval) {
    object["top1"] = outcome.last_eval->top1_percent();
    object["top5"] = outcome.last_eval->top5_percent();
    object["eval_loss"] = outcome.last_eval->loss;
    object["eval_images"] = outcome.last_eval->count;
  }
  if (outcome.best_top1 >= 0) object["best_top1"] = outcome.best_top1;
  if (outcome.noise) {
    const double scale = outcome.noise->critical_batch();
    if (!std::isnan(scale)) object[kNoiseScaleKey] = scale;
    object[kGradientNorm2Key] = outcome.noise->norm2;
    object[kGradientVarianceKey] = outcome.noise->variance;
  }
  object["noise_scale_text"] = outcome.noise_text;
  if (outcome.energy.joules) object["energy_joules"] = *outcome.energy.joules;
  object["energy_source"] = outcome.energy.source;
  if (outcome.expected && outcome.last_eval) {
    object["expected_min"] = outcome.expected->min;
    object["expected_max"] = outcome.expected->max;
    object["band"] = band_verdict(*outcome.expected, outcome.last_eval->top1_percent());
  }
  return object;
}

std::string shell_word(const std::string& word) {
  if (!word.empty() && word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=:,+@%") == std::string::npos) return word;
  std::string text = "'";
  for (const char c : word) c == '\'' ? text += "'\\''" : text += c;
  return text + "'";
}

// The command that goes on with this run: this one, as it was typed, with its run folder and --resume auto.
std::string resume_command(int ranks, const std::string& run_dir) {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::vector<std::string> words;
  for (std::string word; std::getline(file, word, '\0');) words.push_back(word);
  std::string text;
  if (ranks > 1) {
    const char* script = std::getenv("LOCKSTEP_LAUNCHER");  // tools/mpi.sh
    text = script != nullptr ? fmt::format("{} {} ", script, ranks) : fmt::format("mpirun -n {} ", ranks);
  }
  const auto is_ours = [](const std::string& word, const std::string& option) { return word == option || word.rfind(option + "=", 0) == 0; };
  for (std::size_t i = 0; i < words.size(); ++i) {
    const bool dropped = is_ours(words[i], "--run-dir") || is_ours(words[i], "--resume");
    if (dropped && words[i].find('=') == std::string::npos) ++i;  // and its value
    if (!dropped) text += shell_word(words[i]) + " ";
  }
  return text + fmt::format("--run-dir {} --resume auto", shell_word(run_dir));
}

void print_summary(const TrainOutcome& outcome, const std::string& binary, int ranks) {
  std::string text;
  const auto line = [&](const char* name, const std::string& value) { text += fmt::format("{:<12}{}\n", name, value); };
  if (outcome.stopped)
    line("stopped", fmt::format("by {} after step {} of {}; everything is saved", stop_reason()[0] != '\0' ? stop_reason() : "a signal on another rank",
                                outcome.step, outcome.total_steps));
  if (outcome.reached) line("reached", fmt::format("evaluation.stop_at_top1, at step {} of {}", outcome.step, outcome.total_steps));
  line("run folder", outcome.run_dir);
  if (outcome.last_eval)
    line("accuracy", fmt::format("{:.2f} % top-1, {:.2f} % top-5 on {} images (best {:.2f} %)", outcome.last_eval->top1_percent(),
                                 outcome.last_eval->top5_percent(), outcome.last_eval->count, outcome.best_top1));
  if (outcome.last_eval && outcome.expected)
    line("expected", fmt::format("{:.1f} to {:.1f} %: {}", outcome.expected->min, outcome.expected->max,
                                 band_verdict(*outcome.expected, outcome.last_eval->top1_percent())));
  line("speed", fmt::format("{:.0f} images/s, {:.0f} s of training", outcome.images_per_second, outcome.train_seconds));
  if (outcome.noise) line("noise scale", outcome.noise_text);
  if (outcome.energy.joules) line("energy", fmt::format("{:.0f} J, by {}", *outcome.energy.joules, outcome.energy.source));
  line("digest", outcome.digest);
  if (outcome.step >= outcome.total_steps || outcome.reached)
    line("evaluate it", fmt::format("{} eval {}", binary, outcome.run_dir));
  else
    line("go on with", resume_command(ranks, outcome.run_dir));
  std::fputs(text.c_str(), stdout);
}

int run_dry(const TrainOptions& options) {
  const DryRun run = plan_dry_run(load_and_validate(options.config, false), options.ranks);
  std::puts((options.json ? dry_run_json(run) : dry_run_text(run)).c_str());
  return 0;
}

int run_train(const TrainOptions& options, const std::string& binary) {
  const LoadedConfig loaded = load_and_validate(options.config);
  return run_job(job_options(loaded.config()), [&](Communicator& comm) {
    const TrainOutcome outcome = train({.loaded = loaded,
                                        .resume = parse_resume(options.resume),
                                        .allow_changes = options.allow_changes,
                                        .console = options.json ? stderr : stdout,
                                        .profile = options.profile},
                                       comm);
    if (comm.rank() == 0) {
      if (options.json)
        std::puts(summary(outcome, comm.size()).dump(2).c_str());
      else
        print_summary(outcome, binary, comm.size());
    }
    return static_cast<int>(outcome.stopped ? ExitCode::kTempFail : ExitCode::kOk);
  });
}

// --profile [FILE]: without a value the run folder's trace.json.
void add_profile_options(CLI::App& command, TrainOptions& options) {
  const auto profile = [&options]() -> ProfileOptions& { return options.profile ? *options.profile : options.profile.emplace(); };
  command
      .add_option_function<std::string>(
          "--profile", [profile](const std::string& file) { profile().file = file; },
          "Trace a few steps for ui.perfetto.dev: FILE, by default RUN_DIR/trace.json")
      ->expected(0, 1)
      ->type_name("[FILE]");
  command.add_option_function<int>("--profile-steps", [profile](int steps) { profile().steps = steps; }, "Steps to trace (5)")
      ->check(CLI::PositiveNumber);
  command.add_option_function<int>("--profile-skip", [profile](int steps) { profile().skip = steps; }, "Steps before them, not traced (3)")
      ->check(CLI::NonNegativeNumber);
}

}  // namespace

void add_train(CLI::App& app, Run& run) {
  auto options = std::make_shared<TrainOptions>();
  CLI::App* command = app.add_subcommand("train", "Train a network; under mpirun, on all ranks");
  add_config_options(*command, options->config);
  command->add_option("--resume", options->resume,
                      "auto (newest checkpoint, or a fresh start), latest (an error if there is none), best, or the path of a checkpoint");
  command->add_flag("--allow-changes", options->allow_changes, "Resume although the config differs where that makes it another run");
  command->add_flag("--json", options->json, "Print one JSON object at the end; everything else goes to stderr");
  CLI::Option* dry = command->add_flag("--dry-run", options->dry_run, "Print the whole plan (steps, learning rate, memory, ...); opens no data");
  command->add_option("--ranks", options->ranks, "--dry-run: plan for so many ranks (1)")->check(CLI::PositiveNumber)->needs(dry);
  add_profile_options(*command, *options);
  command->callback([=, &app, &run] {
    run = [=, &app] { return options->dry_run ? run_dry(*options) : run_train(*options, app.get_name()); };
  });
}

}  // namespace lockstep
