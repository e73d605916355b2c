// SPDX-License-Identifier: Apache-2.0
#include "train/dry_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "core/error.h"
#include "core/memory.h"
#include "cuda/cuda_backend.h"
#include "distributed/gradient_reducer.h"
#include "proto/config.pb.h"
#include "train/config/reflect.h"
#include "train/network.h"
#include "train/schedule.h"
#include "train/weight_average.h"

namespace lockstep {
namespace {

constexpr int kCurvePoints = 64;

std::int64_t known(std::int64_t given, std::int64_t by_format, const char* field, const char* what) {
  if (given > 0) return given;
  if (by_format > 0) return by_format;
  throw UserError(fmt::format("{}: not given, and --dry-run does not open the data\n  Set it to {}, e.g. --set {}=...", field, what, field));
}

ReduceOrder reduce_order(const proto::Config& config) {
  return config.distributed().reduction() == proto::Distributed::EXACT ? ReduceOrder::kFixedTree : ReduceOrder::kFast;
}

bool ranks_can_share(std::int64_t shards, int ranks, ReduceOrder order) {
  try {
    check_world_size(shards, ranks, order);
    return true;
  } catch (const UserError&) {
    return false;
  }
}

std::vector<int> allowed_ranks(const proto::Config& config, int shards) {
  std::vector<int> allowed;
  for (int ranks = 1; ranks <= std::min(shards, 65536); ++ranks)
    if (shards % ranks == 0 && ranks_can_share(shards, ranks, reduce_order(config))) allowed.push_back(ranks);
  return allowed;
}

// The epochs at which a reader looks: where the rate bends, image sizes change, and every tenth of the run.
std::map<double, std::string> interesting_epochs(const proto::Config& config, const std::vector<SizePhases::Phase>& sizes) {
  std::map<double, std::string> epochs;
  const proto::Schedule& schedule = config.schedule();
  for (int tenth = 1; tenth < 10; ++tenth) epochs[std::round(config.epochs() * tenth / 10)];
  const auto mark = [&](double epoch, const std::string& why) {
    std::string& text = epochs[epoch];
    text += (text.empty() ? "" : ", ") + why;
  };
  mark(0, "first step");
  if (schedule.warmup_epochs() > 0) mark(schedule.warmup_epochs(), "warm-up ends");
  if (schedule.kind() == proto::Schedule::STEP)
    for (double epoch = schedule.step_epochs(); epoch < config.epochs() && epochs.size() < 30; epoch += schedule.step_epochs()) mark(epoch, "falls");
  if (schedule.kind() == proto::Schedule::MULTISTEP)
    for (const double epoch : schedule.milestones_epochs()) mark(epoch, "falls");
  if (schedule.kind() == proto::Schedule::ONE_CYCLE) mark(schedule.one_cycle().peak_fraction() * config.epochs(), "peak");
  for (const SizePhases::Phase& phase : sizes)
    if (phase.first_step > 0) mark(phase.from_epoch, fmt::format("images {} x {}", phase.image.height, phase.image.width));
  return epochs;
}

void add_rates(const proto::Config& config, DryRun& run) {
  const Schedule schedule(config, run.plan.steps_per_epoch);
  const std::int64_t last = std::max<std::int64_t>(run.plan.total_steps - 1, 0);
  run.peak_lr = schedule.peak();
  for (const auto& [epoch, why] : interesting_epochs(config, run.sizes)) {
    const std::int64_t step = std::llround(epoch * static_cast<double>(run.plan.steps_per_epoch));
    if (step >= last || (!run.rates.empty() && run.rates.back().step >= step)) continue;
    run.rates.push_back({step, run.plan.epoch_of(step), schedule.lr(step), why});
  }
  run.rates.push_back({last, run.plan.epoch_of(last), schedule.lr(last), "last step"});
  for (int i = 0; i < kCurvePoints; ++i) run.curve.push_back(schedule.lr(last * i / (kCurvePoints - 1)));
}

void add_groups(const Model& model, const std::vector<ParameterRule>& rules, DryRun& run) {
  for (const Parameter* parameter : model.parameters()) {
    const ParameterRule& rule = rules[static_cast<std::size_t>(parameter->id)];
    auto found = std::find_if(run.groups.begin(), run.groups.end(), [&](const RuleGroup& group) {
      return group.rule.weight_decay == rule.weight_decay && group.rule.lr_multiplier == rule.lr_multiplier;
    });
    if (found == run.groups.end()) found = run.groups.insert(found, {rule});
    found->tensors += 1;
    found->elements += parameter->value.shape().numel();
  }
}

// Weights, momentum and statistics, and their averages, in the statistics' precision.
void add_checkpoints(const proto::Config& config, const Model& model, DryRun& run) {
  std::int64_t weights = 0, buffers = 0;
  for (const Parameter* parameter : model.parameters()) weights += static_cast<std::int64_t>(parameter->value.nbytes());
  for (const Buffer* buffer : model.buffers()) buffers += static_cast<std::int64_t>(buffer->value.nbytes());
  run.checkpoint_bytes = 2 * weights + buffers + (config.average().decay() > 0 ? weights + buffers : 0);
  run.checkpoints = config.checkpoint().keep_last() + (config.checkpoint().keep_best() && run.plan.eval_samples > 0 ? 1 : 0);
  const auto before_end = [&](std::int64_t every) { return every > 0 ? std::max<std::int64_t>(run.plan.total_steps - 1, 0) / every : 0; };
  const std::int64_t by_epochs = run.plan.period(config.checkpoint().every_epochs()), by_steps = config.checkpoint().every_steps();
  run.saves = before_end(by_epochs) + before_end(by_steps) + 1;  // the last one is at the end
  const std::int64_t apart = by_epochs > 0 && by_steps > 0 ? by_steps / std::gcd(by_epochs, by_steps) : 0;
  if (apart > 0 && apart <= run.plan.total_steps / by_epochs) run.saves -= before_end(by_epochs * apart);  // both at once: one save
  run.evaluations = run.plan.eval_samples > 0 ? before_end(run.plan.period(config.evaluation().every_epochs())) + 1 : 0;
}

std::string describe_augmentation(const proto::Augment& augment) {
  std::vector<std::string> parts;
  if (augment.crop() == proto::Augment::NONE) parts.push_back("whole image");
  if (augment.crop() == proto::Augment::PAD_CROP) parts.push_back(fmt::format("random crop after {} pixels of padding", augment.pad()));
  if (augment.crop() == proto::Augment::RANDOM_RESIZED_CROP)
    parts.push_back(fmt::format("random resized crop of {:g} to {:g} of the area", augment.scale_min(), augment.scale_max()));
  if (augment.flip()) parts.push_back("flip");
  const proto::ColourJitter& jitter = augment.colour_jitter();
  if (augment.has_colour_jitter())
    parts.push_back(fmt::format("colour jitter {:g}/{:g}/{:g}/{:g}", jitter.brightness(), jitter.contrast(), jitter.saturation(), jitter.hue()));
  if (augment.rand_augment().ops() > 0)
    parts.push_back(fmt::format("RandAugment {} x {}", augment.rand_augment().ops(), augment.rand_augment().magnitude()));
  if (augment.random_erasing().probability() > 0) parts.push_back(fmt::format("erasing {:g}", augment.random_erasing().probability()));
  if (augment.mix().mixup_alpha() > 0) parts.push_back(fmt::format("mixup {:g}", augment.mix().mixup_alpha()));
  if (augment.mix().cutmix_alpha() > 0) parts.push_back(fmt::format("CutMix {:g}", augment.mix().cutmix_alpha()));
  return fmt::format("{}", fmt::join(parts, ", "));
}

// Fields that a resume may change; a group all of whose fields may is named once.
std::vector<std::string> changeable(const proto::Config& config) {
  std::vector<std::string> paths;
  std::map<std::string, bool> whole;  // top-level group -> all may change
  const auto group_of = [](const std::string& path) { return path.substr(0, path.find('.')); };
  config_detail::for_each_leaf(config, "", [&](const config_detail::Leaf& leaf) {
    const bool may = may_change_on_resume(leaf.path);
    whole.emplace(group_of(leaf.path), true).first->second &= may;
    if (may) paths.push_back(leaf.path);
  });
  std::vector<std::string> result;
  for (const std::string& path : paths) {
    const std::string name = whole[group_of(path)] ? group_of(path) : path;
    if (std::find(result.begin(), result.end(), name) == result.end()) result.push_back(name);
  }
  return result;
}

// The config with a backend that this machine has: enough to make the network and count.
proto::Config on_this_machine(proto::Config config) {
  config.set_backend(proto::Config::FAST);
  config.set_precision(proto::Config::FP32);
  return config;
}

void check_sizes(const Network& network, const DryRun& run) {
  for (const SizePhases::Phase& phase : run.sizes)
    network.model->check_input({run.plan.shard_batch, phase.image.channels, phase.image.height, phase.image.width},
                               run.plan.norm_shards * run.plan.shard_batch);
}

// The loader's ring on the host, which the rehearsal does not see.
std::size_t ring_bytes(const proto::Config& config, const RunPlan& plan, const ImageSize& image) {
  const int depth = std::max(config.data().ring_slots(), plan.norm_shards > 1 ? plan.shards_per_rank + 1 : 2);
  return static_cast<std::size_t>(depth * plan.shard_batch * image.channels) * static_cast<std::size_t>(image.height * image.width);
}

void add_memory(const proto::Config& config, Network& network, SgdOptimizer& optimizer, WeightAverage* average, const ImageSize& largest,
                DryRun& run) {
  const bool gpu = config.backend() == proto::Config::CUDA;
  if (gpu) {
    network.to_device();
    optimizer.to_device(network.kernels->device());
    if (average != nullptr) average->to_device(network.kernels->device());
  }
  // The run may be meant for another machine: what does not fit here is a note.
  try {
    run.memory = plan_memory(network, run.plan, largest);
    if (!gpu) run.memory->held_bytes += ring_bytes(config, run.plan, largest);
    check_fits(*run.memory, run.plan);
  } catch (const Error& error) {
    run.memory_note = std::string("does not fit on this machine: ") + error.what();
  }
}

}  // namespace

KnownData known_data(const proto::Config& config) {
  const proto::Data& data = config.data();
  const int side = default_side(config);
  switch (data.source()) {
    case proto::Data::SYNTHETIC: return {data.synthetic().size(), data.synthetic().eval_size(), data.synthetic().classes(), side};
    case proto::Data::CIFAR10: return {50000, 10000, 10, 32, 3, ""};
    case proto::Data::IDX: return {60000, 10000, 10, 28, 1, "where the config does not say: IDX data of MNIST's sizes"};
    default: return {.side = side};
  }
}

namespace {

void add_data_notes(const proto::Config& config, const KnownData& format, DryRun& run) {
  const proto::Data& data = config.data();
  const bool all_given = data.train_images() > 0 && config.model().classes() > 0 && data.height() > 0;
  if (!format.assumed.empty() && !all_given) run.notes.push_back(format.assumed);
  if (data.source() == proto::Data::AUTO && data.height() == 0)
    run.notes.push_back(fmt::format("data.source: AUTO and no data.height: images of {} x {} are assumed", run.image.height, run.image.width));
  if (run.plan.eval_samples == 0 && data.source() != proto::Data::SYNTHETIC)
    run.notes.push_back("data.eval_images is not given: how much is evaluated is not known");
}

// Without `rehearse` only its shapes are there to be counted: random weights take half a second.
Network network_of(const proto::Config& config, const DryRun& run, bool rehearse) {
  if (rehearse) return make_network(config, run.image, run.classes);
  Network network;
  network.model = make_model(model_options(config, run.image, run.classes));
  return network;
}

}  // namespace

DryRun plan_dry_run(const LoadedConfig& loaded, int ranks, bool rehearse) {
  const proto::Config& config = loaded.config();
  const proto::Data& data = config.data();
  const KnownData format = known_data(config);
  const std::int64_t train_images = known(data.train_images(), format.train, "data.train_images", "the number of training images");
  const std::int64_t eval_images = data.eval_images() > 0 ? data.eval_images() : format.eval;
  DryRun run{.loaded = loaded};
  run.classes = static_cast<int>(known(config.model().classes(), format.classes, "model.classes", "the number of classes"));
  check_world_size(config.batch().global_batch() / config.batch().shard_batch(), ranks, reduce_order(config));
  run.plan = make_plan(config, train_images, eval_images, ranks);
  const auto side = [&](int given) { return given > 0 ? given : format.side; };
  run.image = {side(data.height()), side(data.width()), data.channels() > 0 ? data.channels() : format.channels};
  const SizePhases sizes(config, run.image, run.plan);
  run.sizes = sizes.phases();
  run.ranks_allowed = allowed_ranks(config, run.plan.shards);
  add_data_notes(config, format, run);
  add_rates(config, run);

  const bool gpu = config.backend() == proto::Config::CUDA;
  const bool gpu_is_missing = gpu && cuda_report().gpus.empty();
  Network network = network_of(gpu_is_missing ? on_this_machine(config) : config, run, rehearse);
  check_sizes(network, run);
  SgdOptimizer optimizer(config.optimizer(), network.model->parameters());
  std::optional<WeightAverage> average;
  if (config.average().decay() > 0) average.emplace(config.average(), *network.model);
  run.model = network.model->name();
  run.parameters = network.model->parameter_count();
  run.optimizer = describe_rules(optimizer.rules(), optimizer.lars());
  add_groups(*network.model, optimizer.rules(), run);
  add_checkpoints(config, *network.model, run);
  run.has_norms = !network.model->buffers().empty();
  if (gpu_is_missing)
    run.memory_note = "not known: this machine has no GPU that lockstep can use; a run plans it before its first step";
  else if (rehearse)
    add_memory(config, network, optimizer, average ? &*average : nullptr, sizes.largest(), run);
  run.augmentation = describe_augmentation(data.augment());
  run.may_change = changeable(config);
  return run;
}

}  // namespace lockstep
