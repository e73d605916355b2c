// `lockstep eval`: the accuracy of a run, a checkpoint or a weights file on an evaluation set.
// SPDX-License-Identifier: Apache-2.0
#include "train/evaluate.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <limits>
#include <memory>

#include "core/error.h"
#include "proto/config.pb.h"
#include "tools/commands.h"
#include "tools/job.h"
#include "tools/trained_model.h"
#include "train/bad_sample_list.h"
#include "train/loading.h"

namespace lockstep {
namespace {

struct EvalOptions {
  ModelChoice model;
  bool json = false;
};

void print_result(const EvalOptions& options, const TrainedModel& trained, const EvalResult& result) {
  if (options.json) {
    nlohmann::ordered_json object;
    if (trained.checkpoint) {
      object["checkpoint"] = trained.checkpoint->path;
      object["step"] = trained.checkpoint->manifest.facts.step;
      object["averaged"] = trained.averaged();
    } else {
      object["weights"] = trained.weights;
    }
    object.update(nlohmann::ordered_json{{"top1", result.top1_percent()}, {"top5", result.top5_percent()}, {"loss", result.loss},
                                         {"images", result.count}, {"top1_count", result.top1}, {"top5_count", result.top5},
                                         {"seconds", result.seconds}});
    std::puts(object.dump(2).c_str());
    return;
  }
  std::fputs(fmt::format("{:<12}{}\naccuracy    {:.2f} % top-1, {:.2f} % top-5, loss {:.4f}\nimages      {}, each once, in {:.1f} s\n",
                         trained.checkpoint ? "checkpoint" : "weights", trained.describe(), result.top1_percent(), result.top5_percent(),
                         result.loss, result.count, result.seconds)
                 .c_str(),
             stdout);
}

// With evaluation.bad_images: MISS. Collective.
void tell_misses(const EvalLoader& loader, Communicator& comm) {
  BadSampleList missed(std::numeric_limits<std::int64_t>::max());
  for (const std::string& reason : missed.collect(loader.bad_samples(), comm))
    std::fprintf(stderr, "lockstep: warning: unreadable evaluation image, counted as a miss: %s\n", reason.c_str());
}

int run_eval(const EvalOptions& options) {
  const TrainedModel trained = find_model(options.model);
  const proto::Config& config = trained.config();
  return run_job({.deadline_s = config.distributed().deadline_s()}, [&](Communicator& comm) {
    const std::unique_ptr<Source> source = open_split(config, Split::kEval, trained.classes());
    const ImageSize image = image_size(config, *source);
    const int classes = trained.classes() > 0 ? trained.classes() : source->classes();
    Network network = make_trained_network(trained, image, classes, pick_gpu(config, comm));
    const EvalLoaderOptions loading = eval_loader_options(config, image, comm.rank(), comm.size(), network);
    EvalLoader loader(*source, loading);
    const EvalResult result = evaluate(network, loader, source->size(), loading.batch, comm);
    tell_misses(loader, comm);
    if (comm.rank() == 0) print_result(options, trained, result);
    return 0;
  });
}

}  // namespace

void add_eval(CLI::App& app, Run& run) {
  auto options = std::make_shared<EvalOptions>();
  options->model.needs_data = true;
  CLI::App* command = app.add_subcommand("eval", "Accuracy of a run, checkpoint or weights file on its evaluation set");
  command->add_option("path", options->model.run, "A run folder (its newest checkpoint) or a checkpoint");
  add_model_options(*command, options->model);
  command->add_option("--data", options->model.data, "Folder of the data (data.path)");
  command->add_flag("--json", options->json, "As one JSON object");
  command->callback([=, &run] { run = [=] { return run_eval(*options); }; });
}

}  // namespace lockstep
