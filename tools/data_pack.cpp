// `lockstep data pack`: a data set as WebDataset shards.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "data/pack.h"
#include "tools/data.h"

namespace lockstep {
namespace {

struct Flags {
  DataFlags data;
  PackOptions options;
  std::int64_t shard_mb = 256;
  bool json = false;
};

int run_pack(const Flags& flags) {
  const std::vector<OpenedSplit> splits = open_splits(flags.data);
  PackOptions options = flags.options;
  options.shard_bytes = flags.shard_mb << 20;
  for (const OpenedSplit& split : splits) check_packable(*split.source);
  make_pack_folder(options.output);
  write_class_names(*splits.front().source, options.output);
  nlohmann::ordered_json object{{"output", options.output}, {"splits", nlohmann::ordered_json::array()}};
  for (const OpenedSplit& split : splits) {
    const double begin = seconds_now();
    const PackedSplit packed = [&] {
      ProgressLine line("pack " + split.name);
      options.split_name = split.name;
      options.progress = [&](std::int64_t done, std::int64_t images) { line.show(done, images); };
      return pack(*split.source, options);
    }();
    const double seconds = seconds_now() - begin;
    options.max_skipped -= static_cast<std::int64_t>(packed.skipped.size());  // the budget is for all splits together
    for (const std::string& line : packed.skipped) std::fputs(("left out: " + line + "\n").c_str(), stderr);
    object["splits"].push_back({{"split", split.name},
                                {"images", packed.images},
                                {"resized", packed.resized},
                                {"skipped", packed.skipped.size()},
                                {"bytes", packed.bytes},
                                {"shards", packed.shards.size()},
                                {"seconds", seconds}});
    if (!flags.json)
      std::puts(fmt::format("{:<6} {} images ({} resized, {} left out) in {} shards, {:.1f} MB, {:.1f} s", split.name, packed.images, packed.resized,
                            packed.skipped.size(), packed.shards.size(), static_cast<double>(packed.bytes) * 1e-6, seconds)
                    .c_str());
  }
  if (flags.json)
    std::puts(object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  else
    std::puts(fmt::format("train from it with --data {}", options.output).c_str());
  return 0;
}

}  // namespace

void add_data_pack(CLI::App& data, Run& run) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = data.add_subcommand("pack", "Write the set as WebDataset shards (tar): original bytes, or resized");
  add_data_options(*command, flags->data);
  PackOptions& options = flags->options;
  command->add_option("--output", options.output, "Folder for the shards: new or empty")->required();
  CLI::Option* resize = command->add_option("--resize", options.resize_short, "Shrink larger images to this short side")->check(CLI::Range(8, 16384));
  command->add_option("--quality", options.quality, "Of the JPEGs that --resize writes")
      ->check(CLI::Range(1, 100))
      ->needs(resize)
      ->capture_default_str();
  command->add_option("--shard-mb", flags->shard_mb, "Largest size of a shard in MiB")->check(CLI::Range(1, 1 << 20))->capture_default_str();
  command->add_option("--skip-bad", options.max_skipped, "Leave out up to so many unreadable images")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--threads", options.threads, "Threads; 0: one per processor")->check(CLI::Range(0, 1024))->capture_default_str();
  command->add_flag("--json", flags->json, "As one JSON object");
  command->callback([=, &run] {
    run = [=] { return run_pack(*flags); };
  });
}

}  // namespace lockstep
