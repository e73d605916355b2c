// `lockstep bench allreduce`: the all-reduce of the job's ranks, by size, order and wire format.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>

#include "distributed/mpi_yardstick.h"
#include "tools/bench.h"
#include "tools/job.h"
#include "train/allreduce_bench.h"

namespace lockstep {
namespace {

struct Flags {
  AllReduceBenchOptions options;
  bool json = false;
};

void print_text(const std::vector<AllReduceRow>& rows, const Communicator& comm) {
  std::puts(fmt::format("all-reduce of f32 values, {} ranks, transport {}; GB/s as reduced and as every link carries it\n"
                        "     bytes  order          wire   median ms      min      p90   GB/s    bus",
                        comm.size(), comm.transport())
                .c_str());
  for (const AllReduceRow& row : rows)
    std::puts(fmt::format("{:>10}  {:<14} {:<4} {:>11.3f} {:>8.3f} {:>8.3f} {:>6.2f} {:>6.2f}", row.nbytes, row.order, row.wire, row.ms.median, row.ms.min,
                          row.ms.p90, row.algorithm_gbytes_per_second, row.bus_gbytes_per_second)
                  .c_str());
}

void print_json(const std::vector<AllReduceRow>& rows, const Communicator& comm) {
  nlohmann::ordered_json object{{"ranks", comm.size()}, {"transport", comm.transport()}, {"rows", nlohmann::ordered_json::array()}};
  for (const AllReduceRow& row : rows)
    object["rows"].push_back({{"bytes", row.nbytes},
                              {"order", row.order},
                              {"wire", row.wire},
                              {"ms", spread_json(row.ms)},
                              {"gbytes_per_second", row.algorithm_gbytes_per_second},
                              {"bus_gbytes_per_second", row.bus_gbytes_per_second}});
  std::puts(object.dump(2).c_str());
}

}  // namespace

void add_bench_allreduce(CLI::App& bench, Run& run) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = bench.add_subcommand("allreduce", "Time the all-reduce of the job's ranks, and MPI_Allreduce beside it");
  command->add_option("--bytes", flags->options.sizes, "Sizes of the buffers")->capture_default_str()->delimiter(',');
  command->add_option("--warmup", flags->options.warmup, "Repeats before timing")->capture_default_str();
  command->add_option("--steps", flags->options.repeats, "Timed repeats")->capture_default_str();
  command->add_flag("--json", flags->json, "As one JSON object");
  command->callback([=, &run] {
    run = [=] {
      const AllReduceBenchOptions& options = flags->options;
      check_options(options);
      const auto mpi_seconds = time_mpi_all_reduce(options.sizes, options.warmup, options.repeats);
      return run_job({}, [&](Communicator& comm) {
        const std::vector<AllReduceRow> rows = bench_all_reduce(options, mpi_seconds, comm);
        if (comm.rank() == 0) flags->json ? print_json(rows, comm) : print_text(rows, comm);
        return 0;
      });
    };
  });
}

}  // namespace lockstep
