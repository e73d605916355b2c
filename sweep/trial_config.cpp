// The configs of trials, and the text that tells sweeps apart.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>

#include "core/error.h"
#include "proto/config.pb.h"
#include "sweep/sweep_plan.h"

namespace lockstep {
namespace {

constexpr std::string_view kConfigBegins = "config:\n";

std::string text_of(const proto::Config& config) {
  std::string text;
  LS_CHECK(google::protobuf::TextFormat::PrintToString(config, &text), "a config can't be printed");
  return text;
}

// Moving averages look back over as many samples at every batch size (Busbridge et al. 2023, arXiv 2307.13813). The ten steps that
// running statistics remember are 1,280 images at a batch of 128, but more than an epoch of a small data set at 8,192.
void scale_moving_averages(proto::Config& config, double ratio) {
  if (ratio == 1) return;
  proto::BatchNorm& norm = *config.mutable_model()->mutable_batch_norm();
  norm.set_momentum(1 - std::pow(1 - norm.momentum(), ratio));
  if (config.average().decay() > 0) config.mutable_average()->set_decay(std::pow(config.average().decay(), ratio));
}

proto::Config scaled(const SweepPlan& plan, std::int64_t batch, double lr) {
  const BatchPlan& sizes = plan.of(batch);
  proto::Config config = plan.base.config();
  config.mutable_batch()->set_global_batch(batch);
  config.mutable_batch()->set_shard_batch(sizes.shard_batch);
  config.mutable_schedule()->set_lr(lr);  // replaces lr_per_256
  if (sizes.warmup_epochs != config.schedule().warmup_epochs()) config.mutable_schedule()->set_warmup_epochs(sizes.warmup_epochs);
  scale_moving_averages(config, static_cast<double>(batch) / static_cast<double>(plan.base_batch));
  if (config.has_evaluation()) config.mutable_evaluation()->clear_expected();  // of the recipe at its own batch
  return config;
}

std::string joined(const std::vector<double>& values) {
  std::string text;
  for (const double value : values) text += fmt::format("{}{}", text.empty() ? "" : " ", value);
  return text;
}

struct Identity {
  std::map<std::string, std::string> settings;
  std::string config;
};

Identity split_identity(const std::string& text) {
  Identity identity;
  const std::size_t config = text.find(kConfigBegins);
  std::istringstream lines(text.substr(0, config));
  for (std::string line; std::getline(lines, line);) {
    const std::size_t colon = line.find(": ");
    if (colon != std::string::npos) identity.settings[line.substr(0, colon)] = line.substr(colon + 2);
  }
  if (config != std::string::npos) identity.config = text.substr(config + kConfigBegins.size());
  return identity;
}

}  // namespace

std::string trial_config_text(const SweepPlan& plan, const TrialKey& key) {
  proto::Config config = scaled(plan, key.batch, key.lr);
  config.set_name(plan.base.config().name() + "-" + key.name());
  config.set_seed(key.seed);
  config.set_run_dir(plan.folder_of(key));
  if (config.evaluation().every_epochs() <= 0) config.mutable_evaluation()->set_every_epochs(1);
  // A line for each epoch at least, for images/s and the noise scale; the sweep reads metrics.jsonl.
  const std::int64_t every = std::min<std::int64_t>(config.logging().every_steps(), plan.of(key.batch).steps_per_epoch);
  config.mutable_logging()->set_every_steps(every);
  config.mutable_logging()->set_jsonl(true);
  return fmt::format("# Trial {} of the sweep {}.\n{}", key.name(), plan.folder, text_of(config));
}

std::string recipe_text(const SweepPlan& plan, std::int64_t batch, double lr, const std::string& comment) {
  proto::Config config = scaled(plan, batch, lr);
  config.set_name(fmt::format("{}-{}", plan.base.config().name(), batch));
  config.clear_run_dir();
  return comment + text_of(config);
}

std::string sweep_identity(const SweepPlan& plan) {
  const SweepOptions& options = plan.options;
  std::string text = "lockstep sweep: 2\n";
  const auto line = [&](const std::string& name, const std::string& value) { text += fmt::format("{}: {}\n", name, value); };
  line("training samples", std::to_string(plan.data.train));
  line("evaluation samples", std::to_string(plan.data.eval));
  for (const BatchPlan& batch : plan.batches) line(fmt::format("learning rates at batch {}", batch.batch), joined(batch.lrs));
  line("rungs", joined(options.rungs));
  line("kept at least", std::to_string(options.keep));
  line("seeds", std::to_string(options.seeds));
  if (options.select == Select::kTarget) line("selected by target", fmt::format("{}", options.target.value_or(0)));
  if (options.stop_at_target) line("trials", "stop at the target");
  proto::Config config = plan.base.config();
  for (const char* free : {"name", "run_dir", "checkpoint", "logging"})
    config.GetReflection()->ClearField(&config, config.GetDescriptor()->FindFieldByName(free));
  if (config.evaluation().every_epochs() <= 0) config.mutable_evaluation()->set_every_epochs(1);
  config.mutable_evaluation()->clear_expected();
  return text + std::string(kConfigBegins) + text_of(config);
}

std::vector<std::string> identity_differences(const std::string& theirs, const std::string& ours) {
  std::vector<std::string> differences;
  if (theirs == ours) return differences;
  const Identity left = split_identity(theirs), right = split_identity(ours);
  const auto value = [](const Identity& of, const std::string& name) {
    const auto found = of.settings.find(name);
    return found == of.settings.end() ? std::string("(none)") : found->second;
  };
  std::map<std::string, std::string> names = left.settings;
  names.insert(right.settings.begin(), right.settings.end());
  for (const auto& [name, unused] : names)
    if (value(left, name) != value(right, name))
      differences.push_back(fmt::format("{}: there {}, here {}", name, value(left, name), value(right, name)));
  const LoadedConfig there = parse_config(left.config, "the folder's config"), here = parse_config(right.config, "the config");
  ConfigDiff diff = config_diff(there.config(), here.config());
  for (const ConfigChange& change : diff.must_not_change)
    differences.push_back(fmt::format("{}: there {}, here {}", change.path, change.from, change.to));
  for (const ConfigChange& change : diff.may_change)
    if (change.path.starts_with("evaluation.")) differences.push_back(fmt::format("{}: there {}, here {}", change.path, change.from, change.to));
  return differences;
}

}  // namespace lockstep
