// `lockstep bench`: the sub-commands, and what they share.
// SPDX-License-Identifier: Apache-2.0
#include "tools/bench.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace lockstep {

void add_bench(CLI::App& app, Run& run) {
  CLI::App* bench = app.add_subcommand("bench", "Measure: `bench step`, `bench ops`, `bench allreduce`, `bench loader`, `bench device`");
  bench->require_subcommand(1);
  add_bench_step(*bench, run);
  add_bench_ops(*bench, run);
  add_bench_allreduce(*bench, run);
  add_bench_loader(*bench, run);
  add_bench_device(*bench, run);
}

void add_bench_options(CLI::App& command, BenchFlags& flags) {
  BenchOptions& options = flags.options;
  CLI::Option* config = command.add_option("--config", flags.config.file, "Measure this config's job instead of made-up images");
  command.add_option("--set", flags.config.set, "Override one value of the config, also of the one that the options below make (repeatable)")
      ->allow_extra_args(false);
  command.add_option("--data", flags.config.data, "With --config: folder of the training data")->needs(config);
  const auto add = [&](const char* name, auto& value, const char* text) {
    return command.add_option(name, value, text)->capture_default_str()->excludes(config);
  };
  add("--model", options.model, "Network");
  add("--batch", options.batch, "Images per rank and step")->check(CLI::PositiveNumber);
  add("--accumulate", options.accumulate, "Shards per rank, one after the other")->check(CLI::PositiveNumber);
  add("--base-width", options.base_width, "Channels of the first stage; 0: the model's own");
  add("--size", options.size, "Height and width of the images")->check(CLI::PositiveNumber);
  add("--channels", options.channels, "Colour channels");
  add("--classes", options.classes, "Classes")->check(CLI::PositiveNumber);
  add("--dtype", options.dtype, "f32, bf16, f16 (with CUDA) or f64");
  add("--backend", options.backend, "AUTO, FAST, REFERENCE or CUDA");
  add("--reduction", options.reduction, "EXACT or FAST");
  add("--wire", options.wire, "FP32 or BF16");
  add("--norm-scope", options.norm_scope, "SHARD or GLOBAL");
  add("--threads", options.threads, "Threads per rank")->check(CLI::PositiveNumber);
  command.add_option("--warmup", options.warmup, "Steps before timing")->capture_default_str();
  CLI::Option* steps = command.add_option("--steps", options.steps, "Timed steps")->capture_default_str();
  command.add_option("--seconds", options.seconds, "Time steps for about so long, at least 3")->check(CLI::PositiveNumber)->excludes(steps);
  command.add_flag("--json", flags.json, "As one JSON object");
}

BenchOptions bench_options(const BenchFlags& flags) {
  BenchOptions options = flags.options;
  options.set = flags.config.set;
  if (!flags.config.file.empty()) options.config = load_and_validate(flags.config);
  return options;
}

std::string subject_text(const BenchSubject& s) {
  return fmt::format("{} {}x{} {}, {} rank{} x {} image{}", s.model, s.height, s.width, s.dtype, s.ranks, s.ranks > 1 ? "s" : "", s.rank_batch,
                     s.rank_batch > 1 ? "s" : "");
}

nlohmann::ordered_json subject_json(const BenchSubject& s) {
  return {{"model", s.model}, {"height", s.height},          {"width", s.width},     {"batch", s.rank_batch}, {"dtype", s.dtype},
          {"ranks", s.ranks}, {"threads_per_rank", s.threads}};
}

nlohmann::ordered_json spread_json(const Spread& s) {
  return {{"median", s.median}, {"min", s.min}, {"p10", s.p10}, {"p90", s.p90}, {"max", s.max}};
}

}  // namespace lockstep
