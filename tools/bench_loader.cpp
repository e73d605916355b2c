// `lockstep bench loader`: how fast a config's data is read.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "tools/bench.h"
#include "tools/job.h"
#include "train/loader_bench.h"

namespace lockstep {
namespace {

// What is timed if no config is given: the usual training images of a folder or archive of photos.
constexpr const char* kImageNetLike = R"(
model { name: "resnet18" }
data {
  height: 224
  width: 224
  augment { crop: RANDOM_RESIZED_CROP flip: true }
}
batch { global_batch: 32 shard_batch: 32 }
schedule { lr: 0.1 }
)";

struct Flags {
  ConfigOptions config;
  LoaderBenchOptions options;
  bool json = false;
};

void print_text(const LoaderBench& bench) {
  std::puts(fmt::format("{}\n{} rank{}, batches of {}; stages in us of a thread per image\n"
                        "  threads   images/s   ms/batch (p10, p90)        stages",
                        bench.source, bench.ranks, bench.ranks > 1 ? "s" : "", bench.shard_batch)
                .c_str());
  for (const LoaderRow& row : bench.rows) {
    std::string stages;
    for (const LoaderStage& stage : row.stages) stages += fmt::format("{} {:.2f}  ", stage.name, stage.us_per_image);
    std::puts(fmt::format("  {:>7} {:>10.0f}   {:>8.3f} ({:.3f}, {:.3f})   {}", row.threads, row.images_per_second, row.batch_ms.median, row.batch_ms.p10,
                          row.batch_ms.p90, stages)
                  .c_str());
  }
}

void print_json(const LoaderBench& bench) {
  double fastest = 0;
  for (const LoaderRow& row : bench.rows) fastest = std::max(fastest, row.images_per_second);
  nlohmann::ordered_json object{{"source", bench.source},
                                {"ranks", bench.ranks},
                                {"batch", bench.shard_batch},
                                {"images_per_second", fastest},  // of the best row
                                {"rows", nlohmann::ordered_json::array()}};
  for (const LoaderRow& row : bench.rows) {
    nlohmann::ordered_json stages;
    for (const LoaderStage& stage : row.stages) stages[stage.name] = stage.us_per_image;
    object["rows"].push_back({{"threads", row.threads},
                              {"images_per_second", row.images_per_second},
                              {"images", row.images},
                              {"batch_ms", spread_json(row.batch_ms)},
                              {"stage_us_per_image", stages}});
  }
  std::puts(object.dump(2).c_str());
}

}  // namespace

void add_bench_loader(CLI::App& bench, Run& run) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = bench.add_subcommand("loader", "Time the reading of a config's data, by number of threads");
  add_config_options(*command, flags->config);
  flags->config.built_in = kImageNetLike;
  command->get_option("config")
      ->required(false)
      ->description("Config file; default: random resized crops of 224 pixels, mirrored, of the images in --data");
  command->add_option("--threads", flags->options.threads, "Threads per rank, several to compare: 0,1,2; default: the config's")->delimiter(',');
  command->add_option("--warmup", flags->options.warmup, "Batches before timing")->capture_default_str();
  CLI::Option* steps = command->add_option("--steps", flags->options.batches, "Timed batches")->capture_default_str();
  command->add_option("--seconds", flags->options.seconds, "Time batches for about so long")->check(CLI::PositiveNumber)->excludes(steps);
  command->add_flag("--json", flags->json, "As one JSON object");
  command->callback([=, &run] {
    run = [=] {
      const LoadedConfig config = load_and_validate(flags->config);
      return run_job({}, [&](Communicator& comm) {
        const LoaderBench result = bench_loader(config, flags->options, comm);
        if (comm.rank() == 0) flags->json ? print_json(result) : print_text(result);
        return 0;
      });
    };
  });
}

}  // namespace lockstep
