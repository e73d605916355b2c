// A dry run as one JSON object.
// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "proto/config.pb.h"
#include "train/dry_run.h"

namespace lockstep {
namespace {

using Json = nlohmann::ordered_json;

Json batch_json(const DryRun& run) {
  const RunPlan& plan = run.plan;
  return {{"global_batch", plan.global_batch},
          {"shard_batch", plan.shard_batch},
          {"shards", plan.shards},
          {"shards_per_rank", plan.shards_per_rank},
          {"batch_norm_images", plan.norm_shards * plan.shard_batch},
          {"ranks", plan.ranks},
          {"ranks_allowed", run.ranks_allowed}};
}

Json schedule_json(const DryRun& run) {
  Json rates = Json::array();
  for (const RatePoint& point : run.rates) rates.push_back({{"epoch", point.epoch}, {"step", point.step}, {"lr", point.lr}, {"why", point.why}});
  return {{"peak_lr", run.peak_lr}, {"points", rates}, {"curve", run.curve}};
}

Json sizes_json(const DryRun& run) {
  Json sizes = Json::array();
  for (const SizePhases::Phase& phase : run.sizes)
    sizes.push_back({{"from_epoch", phase.from_epoch},
                     {"first_step", phase.first_step},
                     {"height", phase.image.height},
                     {"width", phase.image.width}});
  return sizes;
}

Json model_json(const DryRun& run) {
  Json groups = Json::array();
  for (const RuleGroup& group : run.groups)
    groups.push_back({{"weight_decay", group.rule.weight_decay}, {"lr_multiplier", group.rule.lr_multiplier}, {"tensors", group.tensors},
                      {"parameters", group.elements}});
  return {{"name", run.model}, {"parameters", run.parameters}, {"classes", run.classes}, {"optimizer", run.optimizer}, {"groups", groups}};
}

Json memory_json(const DryRun& run) {
  Json memory{{"known", run.memory.has_value()}, {"note", run.memory_note}};
  if (!run.memory) return memory;
  memory["on"] = run.memory->device == Device{} ? "host" : "gpu";
  memory["peak_bytes"] = run.memory->peak_bytes();
  memory["held_bytes"] = run.memory->held_bytes;
  memory["gradient_bytes"] = run.memory->gradient_bytes;
  memory["pass_bytes"] = run.memory->pass_bytes;
  memory["passes"] = run.memory->passes;
  return memory;
}

Json expected_json(const DryRun& run) {
  Json bands = Json::array();
  for (const proto::Band& band : run.loaded.config().evaluation().expected())
    bands.push_back({{"epoch", band.epoch()}, {"top1_min", band.top1_min()}, {"top1_max", band.top1_max()}});
  return bands;
}

}  // namespace

std::string dry_run_json(const DryRun& run) {
  const RunPlan& plan = run.plan;
  const Json object{{"config", run.loaded.file()},
                    {"train_images", plan.train_samples},
                    {"eval_images", plan.eval_samples},
                    {"epochs", plan.epoch_of(plan.total_steps)},
                    {"steps_per_epoch", plan.steps_per_epoch},
                    {"total_steps", plan.total_steps},
                    {"batch", batch_json(run)},
                    {"schedule", schedule_json(run)},
                    {"image", {{"height", run.image.height}, {"width", run.image.width}, {"channels", run.image.channels}}},
                    {"training_sizes", sizes_json(run)},
                    {"augmentation", run.augmentation},
                    {"model", model_json(run)},
                    {"memory_per_rank", memory_json(run)},
                    {"checkpoint", {{"bytes", run.checkpoint_bytes}, {"kept", run.checkpoints}, {"saves", run.saves}}},
                    {"evaluations", run.evaluations},
                    {"expected_top1", expected_json(run)},
                    {"may_change_on_resume", run.may_change},
                    {"notes", run.notes}};
  return object.dump(2);
}

}  // namespace lockstep
