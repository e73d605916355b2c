// `lockstep eval`: the accuracy of a run or checkpoint on its evaluation set.
// SPDX-License-Identifier: Apache-2.0
#include "train/evaluate.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <memory>

#include "core/error.h"
#include "proto/config.pb.h"
#include "tools/commands.h"
#include "tools/job.h"
#include "train/loading.h"
#include "train/run_folder.h"
#include "train/session.h"

namespace lockstep {
namespace {

struct EvalOptions {
  std::string path;
  std::string data;
  std::vector<std::string> set;
  bool best = false;
  bool json = false;
};

LoadedConfig saved_config(const CheckpointInfo& info, const EvalOptions& options) {
  std::vector<ConfigOverride> overrides;
  for (const std::string& assignment : options.set) overrides.push_back(parse_override(assignment));
  if (!options.data.empty()) overrides.push_back(flag_override("data.path", options.data, "--data"));
  LoadedConfig loaded = parse_config(info.manifest.facts.contract.config_text, info.path, overrides);
  validate(loaded);
  return loaded;
}

void print_result(const EvalOptions& options, const CheckpointInfo& info, const EvalResult& result) {
  if (options.json) {
    const nlohmann::ordered_json object{{"checkpoint", info.path}, {"step", info.manifest.facts.step}, {"top1", result.top1_percent()},
                                        {"top5", result.top5_percent()}, {"loss", result.loss}, {"images", result.count},
                                        {"top1_count", result.top1}, {"top5_count", result.top5}, {"seconds", result.seconds}};
    std::puts(object.dump(2).c_str());
    return;
  }
  std::fputs(fmt::format("checkpoint  {} (step {})\naccuracy    {:.2f} % top-1, {:.2f} % top-5, loss {:.4f}\nimages      {}, each once, in {:.1f} s\n",
                         info.path, info.manifest.facts.step, result.top1_percent(), result.top5_percent(), result.loss, result.count,
                         result.seconds)
                 .c_str(),
             stdout);
}

int run_eval(const EvalOptions& options) {
  const CheckpointInfo info = find_checkpoint(options.path, options.best);
  const LoadedConfig loaded = saved_config(info, options);
  const proto::Config& config = loaded.config();
  return run_job({.deadline_s = config.distributed().deadline_s()}, [&](Communicator& comm) {
    const auto& counters = info.manifest.facts.counters;
    const int classes = counters.count("classes") > 0 ? static_cast<int>(counters.at("classes")) : 0;
    const std::unique_ptr<Source> source = open_split(config, Split::kEval, classes);
    const ImageSize image = image_size(config, *source);
    Network network = make_network(config, image, classes, pick_gpu(config, comm));
    TrainingState saved;
    load_checkpoint(posix_fs(), info.path, saved);
    restore_model(saved.model, *network.model);
    network.renew_compute_copies();
    network.to_device();
    const EvalLoaderOptions loading = eval_loader_options(config, image, comm.rank(), comm.size(), network);
    EvalLoader loader(*source, loading);
    const EvalResult result = evaluate(network, loader, source->size(), loading.batch, comm);
    if (comm.rank() == 0) print_result(options, info, result);
    return 0;
  });
}

}  // namespace

void add_eval(CLI::App& app, Run& run) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App* command = app.add_subcommand("eval", "Accuracy of a run or checkpoint on its evaluation set");
  command->add_option("path", options->path, "A run folder (its newest checkpoint) or a checkpoint")->required();
  command->add_option("--data", options->data, "Folder of the data (data.path)");
  command->add_option("--set", options->set, "Override one value of the saved config: path.to.field=value")->allow_extra_args(false);
  command->add_flag("--best", options->best, "The run's best checkpoint instead of its newest");
  command->add_flag("--json", options->json, "As one JSON object");
  command->callback([=, &run] { run = [=] { return run_eval(*options); }; });
}

}  // namespace lockstep
