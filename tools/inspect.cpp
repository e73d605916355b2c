// `lockstep inspect`: what a run folder or a checkpoint holds; verifies it on the way.
// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "core/error.h"
#include "tools/commands.h"
#include "train/run_folder.h"

namespace lockstep {
namespace {

void print_text(const CheckpointInfo& info, bool tensors) {
  const Manifest& manifest = info.manifest;
  const TrainingState& facts = manifest.facts;
  std::string text = fmt::format("checkpoint  {}: whole, every hash agrees\nstep        {} (epoch {}, {} samples into it)\ndigest      {}\n", info.path,
                                 facts.step, facts.epoch, facts.samples_in_epoch, manifest.state_digest);
  text += fmt::format("seed        {}\nbatch       {} shards x {}, {} reduction, batch norm {}\n", facts.seed, facts.contract.shards,
                      facts.contract.shard_batch, facts.contract.reduction, facts.contract.bn_scope);
  if (facts.best_metric) text += fmt::format("best top-1  {:.2f} %{}\n", *facts.best_metric, manifest.is_best ? " (this checkpoint)" : "");
  text += fmt::format("saved by    lockstep {}, {} rank(s), {}\n", facts.provenance.build_id, facts.provenance.world_size, facts.provenance.host);
  for (const ManifestFile& file : manifest.files) {
    text += fmt::format("{:<24}{} tensors, {} bytes\n", file.name, file.tensors.size(), file.nbytes);
    if (!tensors) continue;
    for (const ManifestTensor& tensor : file.tensors)
      text += fmt::format("  {:<44}{:<5}{}\n", tensor.entry.name, dtype_name(tensor.entry.dtype), tensor.entry.shape.str());
  }
  for (const QuarantinedSample& bad : facts.bad_samples) text += fmt::format("bad sample  {}: {}\n", bad.sample, bad.reason);
  std::fputs(text.c_str(), stdout);
}

}  // namespace

void add_inspect(CLI::App& app, Run& run) {
  struct Options {
    std::string path;
    bool digest = false, tensors = false, json = false, best = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("inspect", "Verify a run or checkpoint and show what it holds");
  command->add_option("path", options->path, "A run folder (its newest checkpoint) or a checkpoint")->required();
  command->add_flag("--digest", options->digest, "Print nothing but the digest of the training state");
  command->add_flag("--tensors", options->tensors, "List all tensors");
  command->add_flag("--best", options->best, "The run's best checkpoint instead of its newest");
  command->add_flag("--json", options->json, "The whole manifest as JSON");
  command->callback([=, &run] {
    run = [=] {
      const CheckpointInfo info = find_checkpoint(options->path, options->best);
      if (options->digest)
        std::puts(info.manifest.state_digest.c_str());
      else if (options->json)
        std::puts(manifest_json(info.manifest).c_str());
      else
        print_text(info, options->tensors);
      return 0;
    };
  });
}

}  // namespace lockstep
