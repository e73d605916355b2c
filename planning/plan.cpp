// SPDX-License-Identifier: Apache-2.0
#include "planning/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "proto/config.pb.h"
#include "train/network.h"
#include "train/step_entries.h"

namespace lockstep {
namespace {

constexpr double kStartGpuS = 10, kStartHostS = 1;     // from launch to the first step
constexpr double kSnapshotRate = 5e9, kDiskRate = 5e8;  // bytes/s: into memory, where async goes on from; to disk
constexpr double kMuchExposed = 0.2;                    // of a step

// A device that isn't a host's cores is a GPU, whatever the config's backend: the plan is of a run with backend: CUDA.
bool on_gpu(const proto::Config& config, const PlanOptions& options) {
  return options.device ? !options.device->host : config.backend() == proto::Config::CUDA;
}

const char* dtype_of(const proto::Config& config) {
  switch (config.precision()) {
    case proto::Config::FP32: return "f32";
    case proto::Config::FP64: return "f64";
    case proto::Config::BF16: return "bf16";
    case proto::Config::FP16: return "f16";
  }
  return "f32";
}

NumberFormat format_of(const proto::Config& config, const DeviceDescription& device, bool gpu) {
  if (config.precision() == proto::Config::FP32 && gpu && config.cuda().tf32() && device.has(NumberFormat::kTf32)) return NumberFormat::kTf32;
  return format_from_name(dtype_of(config));
}

// What spreads a measured step over the layers when no device is named: any machine on which convolutions compute and the rest waits for memory.
DeviceDescription plain_device() {
  DeviceDescription device{.name = "a plain machine", .memory_bytes_per_second = 1e11};
  device.peaks.fill(1e12);
  return device;
}

// A description of a CPU is of all cores of a host: a rank has its threads of them, and its share of the memory's rate.
DeviceDescription of_one_rank(DeviceDescription device, const proto::Config& config, int ranks_per_host) {
  if (!device.host) return device;
  const double cores = std::max({1, device.cores, ranks_per_host * config.threads_per_rank()});
  for (double& peak : device.peaks) peak *= config.threads_per_rank() / cores;
  device.memory_bytes_per_second /= ranks_per_host;
  device.memory_bytes /= ranks_per_host;
  device.power_w /= ranks_per_host;
  device.idle_power_w /= ranks_per_host;
  return device;
}

class Planner {
 public:
  Planner(const DryRun& run, const Model& model, const PlanOptions& options)
      : run_(run), model_(model), options_(options), config_(run.loaded.config()) {
    if (options.ranks > 1 && options.cluster) cluster_ = with_shape(*options.cluster, options.ranks, options.hosts);
    if (cluster_ && options.straggler_share >= 0) cluster_->straggler_share = options.straggler_share;
    if (options.device) device_ = of_one_rank(*options.device, config_, std::min(options.ranks, cluster_ ? cluster_->ranks_per_host : 1));
  }

  bool can_predict() const { return device_ || options_.kernels; }
  const std::optional<DeviceDescription>& device() const { return device_; }
  const std::optional<ClusterDescription>& cluster() const { return cluster_; }

  ComputeTime compute(const ImageSize& image) const;
  StepPrediction step(const ComputeTime& compute) const;
  int hosts() const { return cluster_ ? cluster_->hosts(options_.ranks) : 1; }

 private:
  ComputeTime roofline(const ImageSize& image) const;

  const DryRun& run_;
  const Model& model_;
  const PlanOptions& options_;
  const proto::Config& config_;
  std::optional<ClusterDescription> cluster_;
  std::optional<DeviceDescription> device_;
};

std::shared_ptr<const Model> model_of(const DryRun& run) { return make_model(model_options(run.loaded.config(), run.image, run.classes)); }

ComputeTime Planner::roofline(const ImageSize& image) const {
  const std::vector<LayerInfo> layers = model_.layers({run_.plan.shard_batch, image.channels, image.height, image.width});
  const DeviceDescription& device = device_ ? *device_ : plain_device();
  const NumberFormat format = format_of(config_, device, on_gpu(config_, options_));
  if (!device.has(format))
    throw UserError(fmt::format("precision: {}, and {} has no such arithmetic\n  formats: {}", proto::Config::Precision_Name(config_.precision()),
                                device.name, device.formats()));
  return roofline_time(layers, device, format, model_.parameter_count());
}

ComputeTime Planner::compute(const ImageSize& image) const {
  ComputeTime shape = roofline(image);
  if (!options_.kernels) return shape;
  // What was measured is a step of full-size images; of others, in the roofline's proportion.
  const ComputeTime full = roofline(run_.image);
  const ComputeTime measured = measured_time(*options_.kernels,
                                             {.model = run_.model, .dtype = dtype_of(config_), .height = run_.image.height, .width = run_.image.width,
                                              .shard_batch = run_.plan.shard_batch},
                                             full);
  for (std::size_t i = 0; i < shape.layers.size(); ++i) {
    shape.layers[i].forward_s *= measured.forward_s() / full.forward_s();
    shape.layers[i].backward_s *= measured.backward_s() / full.backward_s();
  }
  shape.update_s = measured.update_s;
  shape.add_shard_s = measured.add_shard_s;
  shape.overhead_s = measured.overhead_s;
  shape.basis = measured.basis;
  return shape;
}

StepPrediction Planner::step(const ComputeTime& compute) const {
  const ReducerOptions reducer = reducer_options(config_.distributed(), run_.plan.shards, {});
  const int norm_ranks = std::max(1, std::min(options_.ranks, run_.plan.norm_shards / run_.plan.shards_per_rank));
  return predict_step(model_, compute,
                      {.ranks = options_.ranks,
                       .shards_per_rank = run_.plan.shards_per_rank,
                       .shard_batch = run_.plan.shard_batch,
                       .norm_ranks = norm_ranks,
                       .order = reducer.order,
                       .wire_share = reducer.wire == WireFormat::kBF16 ? 0.5 : 1,
                       .first_bucket_bytes = reducer.first_bucket_bytes,
                       .bucket_bytes = reducer.bucket_bytes},
                      cluster_);
}

double evaluation_seconds(const DryRun& run, const ComputeTime& compute) {
  const double per_image = compute.forward_s() / static_cast<double>(run.plan.shard_batch);
  const double images = std::ceil(static_cast<double>(run.plan.eval_samples) / run.plan.ranks);
  return static_cast<double>(run.evaluations) * images * per_image;
}

double checkpoint_seconds(const DryRun& run) {
  const double rate = run.loaded.config().checkpoint().async() ? kSnapshotRate : kDiskRate;
  return static_cast<double>(run.saves) * static_cast<double>(run.checkpoint_bytes) / rate;
}

// Devices at their limit while they compute, idle while they wait; a device whose idle power isn't known is not thought to rest.
double energy_joules(const DeviceDescription& device, const StepPrediction& step, double seconds, int ranks) {
  const double idle = device.idle_power_w > 0 ? device.idle_power_w : device.power_w;
  const double busy = step.simulation.efficiency();
  return (busy * device.power_w + (1 - busy) * idle) * seconds * ranks;
}

PlanTotals add_up(const TrainingPlan& plan, const Planner& planner) {
  PlanTotals totals;
  const RunPlan& run = plan.run.plan;
  for (std::size_t i = 0; i < plan.run.sizes.size(); ++i) {
    const std::int64_t end = i + 1 < plan.run.sizes.size() ? plan.run.sizes[i + 1].first_step : run.total_steps;
    totals.training_s += static_cast<double>(end - plan.run.sizes[i].first_step) * plan.phase_step_s[i];
  }
  totals.evaluation_s = evaluation_seconds(plan.run, *plan.compute);
  totals.checkpoint_s = checkpoint_seconds(plan.run);
  const bool gpu = on_gpu(plan.run.loaded.config(), plan.options);
  totals.start_s = gpu ? kStartGpuS : kStartHostS;
  if (planner.device() && planner.device()->power_w > 0)
    totals.joules = energy_joules(*planner.device(), *plan.step, totals.seconds(), plan.options.ranks);
  const int devices = gpu ? plan.options.ranks : planner.hosts();
  totals.cost = plan.options.price_per_hour * devices * totals.seconds() / 3600;
  return totals;
}

void add_machine_warnings(TrainingPlan& plan) {
  if (plan.device_bytes > 0 && plan.memory.total() > plan.device_bytes)
    plan.warnings.push_back(
        {"does-not-fit", fmt::format("a shard of {} images takes {:.1f} GB and {} has {:.1f} GB: {}", plan.run.plan.shard_batch,
                                     plan.memory.total() * 1e-9, plan.options.device->name, plan.device_bytes * 1e-9,
                                     plan.largest_shard > 0 ? fmt::format("at most {} fit; more shards keep the global batch", plan.largest_shard)
                                                            : "not one image fits")});
  if (!plan.step) return;
  const SimulationResult& simulation = plan.step->simulation;
  const double exposed = simulation.exposed_s / simulation.step_s;
  if (exposed > kMuchExposed)
    plan.warnings.push_back(
        {"network-bound", fmt::format("{:.0f} % of a step waits for the network. Fewer ranks with more shards each, a larger global batch, "
                                      "distributed.wire BF16, or a faster network",
                                      100 * exposed)});
}

}  // namespace

TrainingPlan plan_training(const LoadedConfig& loaded, const PlanOptions& options) {
  TrainingPlan plan{.options = options, .run = plan_dry_run(loaded, options.ranks, false), .model = {}};
  plan.model = model_of(plan.run);
  const Planner planner(plan.run, *plan.model, plan.options);
  plan.memory = estimate_memory(plan.run, on_gpu(loaded.config(), options));
  if (planner.device()) {
    plan.device_bytes = planner.device()->memory_bytes;
    plan.largest_shard = plan.memory.largest_shard(plan.device_bytes);
  }
  plan.warnings = plan_warnings(plan.run);
  if (options.device && !options.device->host && loaded.config().backend() != proto::Config::CUDA)
    plan.run.notes.push_back(fmt::format("{} is a GPU: the plan is of a run with --set backend=CUDA", options.device->name));
  if (planner.can_predict()) {
    plan.compute = planner.compute(plan.run.image);
    plan.step = planner.step(*plan.compute);
    for (const SizePhases::Phase& phase : plan.run.sizes) plan.phase_step_s.push_back(planner.step(planner.compute(phase.image)).step_s());
    plan.totals = add_up(plan, planner);
  }
  add_machine_warnings(plan);
  return plan;
}

double predict_step_seconds(const LoadedConfig& loaded, const PlanOptions& options) {
  const DryRun run = plan_dry_run(loaded, options.ranks, false);
  const std::shared_ptr<const Model> model = model_of(run);
  const Planner planner(run, *model, options);
  if (!planner.can_predict())
    throw UserError("a step's time: on which machine?\n  name a device (--device h100), or give measured kernels (--kernels FILE)");
  return planner.step(planner.compute(run.image)).step_s();
}

std::vector<ScalingPoint> plan_scaling(const TrainingPlan& plan) {
  std::vector<ScalingPoint> points;
  if (!plan.step) return points;
  for (const int ranks : plan.run.ranks_allowed) {
    const bool wanted = (ranks & (ranks - 1)) == 0 || ranks == plan.options.ranks;
    if (!wanted || ranks > plan.options.ranks) continue;
    PlanOptions options = plan.options;
    options.ranks = ranks;
    options.hosts = ranks == plan.options.ranks ? plan.options.hosts : 0;
    try {
      DryRun run = plan.run;
      run.plan.ranks = ranks;
      run.plan.shards_per_rank = run.plan.shards / ranks;
      const Planner planner(run, *plan.model, options);
      points.push_back({ranks, planner.step(planner.compute(run.image))});
    } catch (const UserError&) {
      continue;  // a number of ranks that this cluster can't seat evenly
    }
  }
  return points;
}

}  // namespace lockstep
