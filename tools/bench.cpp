// `lockstep bench step`: times training steps on made-up images.
// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <memory>

#include "tools/commands.h"
#include "tools/job.h"
#include "train/step_bench.h"

namespace lockstep {
namespace {

void print_json(const StepBenchOptions& options, const StepBenchResult& result) {
  const nlohmann::ordered_json object{{"model", options.model},
                                      {"batch", options.batch},
                                      {"dtype", options.dtype},
                                      {"ranks", result.ranks},
                                      {"threads_per_rank", options.threads},
                                      {"images_per_second", result.images_per_second},
                                      {"step_ms", result.step_ms},
                                      {"step_ms_min", result.step_ms_min},
                                      {"step_ms_max", result.step_ms_max},
                                      {"data_ms", result.data_ms},
                                      {"forward_ms", result.forward_ms},
                                      {"backward_ms", result.backward_ms},
                                      {"reduce_ms", result.reduce_ms},
                                      {"update_ms", result.update_ms},
                                      {"gradient_bytes", result.gradient_bytes},
                                      {"peak_bytes", result.peak_bytes},
                                      {"pool_peak_bytes", result.pool_peak_bytes},
                                      {"warm_system_allocations", result.warm_system_allocations}};
  std::puts(object.dump(2).c_str());
}

void print_text(const StepBenchOptions& options, const StepBenchResult& r) {
  constexpr double kMiB = 1024 * 1024;
  std::puts(fmt::format("{} {}x{} {}, {} rank{} x {} image{}\n"
                        "  images/s   {:.2f} (all ranks together; median of {} steps)\n"
                        "  step       {:.1f} ms (min {:.1f}, max {:.1f})\n"
                        "  data       {:.1f} ms waiting\n"
                        "  forward    {:.1f} ms\n"
                        "  backward   {:.1f} ms\n"
                        "  reduce     {:.1f} ms exposed, {:.1f} MiB of gradients\n"
                        "  update     {:.1f} ms\n"
                        "  memory     {:.0f} MiB peak per rank, tensors {:.0f} MiB; {} allocations in warm steps",
                        options.model, options.size, options.size, options.dtype, r.ranks, r.ranks > 1 ? "s" : "",
                        options.batch, options.batch > 1 ? "s" : "", r.images_per_second, options.steps, r.step_ms,
                        r.step_ms_min, r.step_ms_max, r.data_ms, r.forward_ms, r.backward_ms, r.reduce_ms,
                        static_cast<double>(r.gradient_bytes) / kMiB, r.update_ms, static_cast<double>(r.peak_bytes) / kMiB,
                        static_cast<double>(r.pool_peak_bytes) / kMiB, r.warm_system_allocations)
                .c_str());
}

}  // namespace

void add_bench(CLI::App& app, Run& run) {
  auto options = std::make_shared<StepBenchOptions>();
  auto json = std::make_shared<bool>(false);
  CLI::App* bench = app.add_subcommand("bench", "Measure: `bench step`");
  bench->require_subcommand(1);
  CLI::App* step = bench->add_subcommand("step", "Time whole training steps on made-up images (under mpirun: on all ranks)");
  step->add_option("--model", options->model, "Network")->capture_default_str();
  step->add_option("--batch", options->batch, "Images per rank and step")->capture_default_str()->check(CLI::PositiveNumber);
  step->add_option("--accumulate", options->accumulate, "Shards per rank, one after the other")->capture_default_str()->check(CLI::PositiveNumber);
  step->add_option("--base-width", options->base_width, "Channels of the first stage; 0: the model's own")->capture_default_str();
  step->add_option("--size", options->size, "Height and width of the images")->capture_default_str()->check(CLI::PositiveNumber);
  step->add_option("--channels", options->channels, "Colour channels")->capture_default_str();
  step->add_option("--classes", options->classes, "Classes")->capture_default_str()->check(CLI::PositiveNumber);
  step->add_option("--dtype", options->dtype, "f32 or f64")->capture_default_str();
  step->add_option("--backend", options->backend, "AUTO, FAST or REFERENCE")->capture_default_str();
  step->add_option("--reduction", options->reduction, "EXACT or FAST")->capture_default_str();
  step->add_option("--wire", options->wire, "FP32 or BF16")->capture_default_str();
  step->add_option("--norm-scope", options->norm_scope, "SHARD or GLOBAL")->capture_default_str();
  step->add_option("--threads", options->threads, "Threads per rank")->capture_default_str()->check(CLI::PositiveNumber);
  step->add_option("--warmup", options->warmup, "Steps before timing")->capture_default_str();
  step->add_option("--steps", options->steps, "Timed steps")->capture_default_str();
  step->add_flag("--json", *json, "As one JSON object");
  step->callback([=, &run] {
    run = [=] {
      return run_job({}, [&](Communicator& comm) {
        const StepBenchResult result = bench_step(*options, comm);
        if (comm.rank() == 0) *json ? print_json(*options, result) : print_text(*options, result);
        return 0;
      });
    };
  });
}

}  // namespace lockstep
