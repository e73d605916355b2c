// `lockstep bench step`: times whole training steps and says where their time goes.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "tools/bench.h"
#include "tools/job.h"
#include "train/step_bench.h"

namespace lockstep {
namespace {

constexpr double kMiB = 1024 * 1024;

double arithmetic_share(const StepBenchResult& r) {
  return r.class_share(OpClass::kConvolution) + r.class_share(OpClass::kNormConvolution) + r.class_share(OpClass::kMatmul);
}

nlohmann::ordered_json shares_json(const StepBenchResult& r) {
  nlohmann::ordered_json shares;
  for (std::size_t c = 0; c < kOpClasses; ++c) shares[std::string(op_class_name(static_cast<OpClass>(c)))] = r.class_ms[c];
  shares["other"] = r.other_ms;
  return shares;
}

void print_json(const StepBench& bench) {
  const StepBenchResult& r = bench.result;
  nlohmann::ordered_json object = subject_json(bench.subject);
  object.update({{"steps", r.steps},
                 {"images_per_second", r.images_per_second},
                 {"step_ms", r.step_ms.median},
                 {"step_ms_min", r.step_ms.min},
                 {"step_ms_p10", r.step_ms.p10},
                 {"step_ms_p90", r.step_ms.p90},
                 {"step_ms_max", r.step_ms.max},
                 {"data_ms", r.data_ms},
                 {"forward_ms", r.forward_ms},
                 {"backward_ms", r.backward_ms},
                 {"reduce_ms", r.reduce_ms},
                 {"update_ms", r.update_ms},
                 {"device_ms", r.device_ms},
                 {"gradient_bytes", r.gradient_bytes},
                 {"peak_bytes", r.peak_bytes},
                 {"pool_peak_bytes", r.pool_peak_bytes},
                 {"planned_peak_bytes", r.planned_peak_bytes},
                 {"warm_system_allocations", r.warm_system_allocations},
                 {"traced_step_ms", r.traced_step_ms},
                 {"class_ms", shares_json(r)},
                 {"arithmetic_share", arithmetic_share(r)},
                 {"gflop_per_step", r.flops * 1e-9},
                 {"peak_gflops", r.peaks.gflops},
                 {"peak_gbytes_per_second", r.peaks.gbytes_per_second},
                 {"roofline_share", r.roofline_share()}});
  std::puts(object.dump(2).c_str());
}

std::string shares_text(const StepBenchResult& r) {
  std::string text;
  for (std::size_t c = 0; c < kOpClasses; ++c)
    if (r.class_ms[c] > 0)
      text += fmt::format("    {:<20} {:8.2f} ms {:5.1f} %\n", op_class_name(static_cast<OpClass>(c)), r.class_ms[c],
                          100 * r.class_share(static_cast<OpClass>(c)));
  return text + fmt::format("    {:<20} {:8.2f} ms {:5.1f} %  (between the kernels)", "other", r.other_ms, 100 * r.other_ms / r.traced_step_ms);
}

void print_text(const StepBench& bench) {
  const StepBenchResult& r = bench.result;
  std::puts(fmt::format("{}\n"
                        "  images/s   {:.2f} (all ranks together; median of {} steps)\n"
                        "  step       {:.1f} ms (min {:.1f}, p10 {:.1f}, p90 {:.1f}, max {:.1f})\n"
                        "  data       {:.1f} ms waiting\n"
                        "  forward    {:.1f} ms\n"
                        "  backward   {:.1f} ms\n"
                        "  reduce     {:.1f} ms exposed, {:.1f} MiB of gradients\n"
                        "  update     {:.1f} ms\n"
                        "  memory     {:.0f} MiB peak per rank, tensors {:.0f} MiB (planned: {:.0f}); {} allocations in warm steps",
                        subject_text(bench.subject), r.images_per_second, r.steps, r.step_ms.median, r.step_ms.min, r.step_ms.p10, r.step_ms.p90,
                        r.step_ms.max, r.data_ms, r.forward_ms, r.backward_ms, r.reduce_ms, static_cast<double>(r.gradient_bytes) / kMiB, r.update_ms,
                        static_cast<double>(r.peak_bytes) / kMiB, static_cast<double>(r.pool_peak_bytes) / kMiB,
                        static_cast<double>(r.planned_peak_bytes) / kMiB, r.warm_system_allocations)
                .c_str());
  if (r.device_ms > 0) std::puts(fmt::format("  gpu        {:.2f} ms a step by its own clock; the phases above are the host's", r.device_ms).c_str());
  std::puts(fmt::format("  roofline   {:.1f} % of {:.0f} GFLOP/s ({:.1f} GFLOP of convolutions and matrix products a step, counted as direct sums)\n"
                        "  where a traced step of {:.1f} ms goes: {:.1f} % in convolutions and matrix products\n{}",
                        100 * r.roofline_share(), r.peaks.gflops, r.flops * 1e-9, r.traced_step_ms, 100 * arithmetic_share(r), shares_text(r))
                .c_str());
}

}  // namespace

void add_bench_step(CLI::App& bench, Run& run) {
  auto flags = std::make_shared<BenchFlags>();
  CLI::App* step = bench.add_subcommand("step", "Time whole training steps (under mpirun: on all ranks)");
  add_bench_options(*step, *flags);
  step->callback([=, &run] {
    run = [=] {
      const BenchOptions options = bench_options(*flags);
      return run_job({}, [&](Communicator& comm) {
        const StepBench result = bench_step(options, comm);
        if (comm.rank() == 0) flags->json ? print_json(result) : print_text(result);
        return 0;
      });
    };
  });
}

}  // namespace lockstep
