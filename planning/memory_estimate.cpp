// SPDX-License-Identifier: Apache-2.0
#include "planning/memory_estimate.h"

#include <algorithm>
#include <cmath>

#include "core/mix_row.h"
#include "proto/config.pb.h"
#include "train/memory_plan.h"
#include "train/network.h"
#include "train/size_phases.h"

namespace lockstep {
namespace {

// Passes that are rehearsed on any machine: of so many images, or up to so many bytes.
constexpr std::int64_t kSafeImages = 32;
constexpr double kSafeBytes = 2e9;

bool is_16_bit(const proto::Config& config) {
  return config.precision() == proto::Config::BF16 || config.precision() == proto::Config::FP16;
}

DType dtype_of(const proto::Config& config) {
  if (is_16_bit(config)) return DType::kBF16;  // which every machine has; FP16 is as wide
  return config.precision() == proto::Config::FP64 ? DType::kF64 : DType::kF32;
}

// The network with kernels that every machine has. Its weights have no values: nothing is computed.
Network rehearsal_network(const DryRun& run) {
  proto::Config config = run.loaded.config();
  config.set_backend(config.precision() == proto::Config::FP64 ? proto::Config::REFERENCE : proto::Config::FAST);
  if (is_16_bit(config)) config.set_precision(proto::Config::BF16);
  Network network;
  network.kernels = make_kernels(config);
  network.dtype = dtype_of(config);
  network.mean.assign(static_cast<std::size_t>(run.image.channels), 0.5f);
  network.std.assign(static_cast<std::size_t>(run.image.channels), 0.25f);
  network.model = make_model(model_options(config, run.image, run.classes));
  for (Parameter* parameter : network.model->parameters())
    if (is_16_bit(config) && parameter->kind == ParameterKind::kWeight) parameter->compute = Tensor::empty(parameter->value.shape(), network.dtype);
  return network;
}

ImageSize largest_image(const DryRun& run) {
  ImageSize largest = run.image;
  for (const SizePhases::Phase& phase : run.sizes)
    if (std::int64_t{1} * phase.image.height * phase.image.width > std::int64_t{1} * largest.height * largest.width) largest = phase.image;
  return largest;
}

MemoryPlan rehearse(Network& network, RunPlan plan, std::int64_t shard_batch, const ImageSize& image) {
  plan.shard_batch = shard_batch;
  return plan_memory(network, plan, image);
}

// Activations and scratch of all passes under way at once.
double all_passes(const MemoryPlan& memory) { return static_cast<double>(memory.pass_bytes) * memory.passes; }

double image_bytes(const RunPlan& plan, const ImageSize& image) {
  const double pixels = static_cast<double>(image.channels) * image.height * image.width;
  return pixels + sizeof(std::int32_t) + (plan.mixes ? sizeof(MixRow) : 0);
}

// Three copies of a rank's batches on a device (train/memory_plan.cpp); on a host the loader's ring.
double waiting_images(const proto::Config& config, const RunPlan& plan, bool gpu) {
  if (gpu) return 3.0 * plan.shards_per_rank * static_cast<double>(plan.shard_batch);
  return std::max(config.data().ring_slots(), plan.norm_shards > 1 ? plan.shards_per_rank + 1 : 2) * static_cast<double>(plan.shard_batch);
}

}  // namespace

std::int64_t MemoryEstimate::largest_shard(double bytes) const {
  const double fixed = total() - growing() * static_cast<double>(shard_batch);
  if (!(growing() > 0) || fixed >= bytes) return 0;
  return static_cast<std::int64_t>(std::min(std::floor((bytes - fixed) / growing()), 1e9));
}

MemoryEstimate estimate_memory(const DryRun& run, bool gpu) {
  const proto::Config& config = run.loaded.config();
  const ImageSize image = largest_image(run);
  Network network = rehearsal_network(run);
  MemoryEstimate result{.shard_batch = run.plan.shard_batch};
  for (const Parameter* parameter : network.model->parameters()) {
    result.weights += static_cast<double>(parameter->value.nbytes());
    if (is_16_bit(config) && parameter->kind == ParameterKind::kWeight) result.compute_copies += 2 * static_cast<double>(parameter->value.numel());
  }
  for (const Buffer* buffer : network.model->buffers()) result.statistics += static_cast<double>(buffer->value.nbytes());
  result.momentum = result.weights;
  if (config.average().decay() > 0) result.average = result.weights + result.statistics;
  result.input = waiting_images(run.loaded.config(), run.plan, gpu) * image_bytes(run.plan, image);

  // Two points of a line: a shard that is meant for a larger machine must not have to fit this one's memory. Batch norm may need two images.
  std::int64_t batch = std::min(run.plan.shard_batch, kSafeImages);
  MemoryPlan memory = rehearse(network, run.plan, batch, image);
  if (batch < run.plan.shard_batch && all_passes(memory) / static_cast<double>(batch) * static_cast<double>(run.plan.shard_batch) < kSafeBytes) {
    batch = run.plan.shard_batch;
    memory = rehearse(network, run.plan, batch, image);
  }
  const std::int64_t other = batch > 2 ? batch / 2 : batch + 2;
  result.gradients = static_cast<double>(memory.gradient_bytes);
  const double slope = (all_passes(rehearse(network, run.plan, other, image)) - all_passes(memory)) / static_cast<double>(other - batch);
  result.fixed_activations = std::max(0.0, all_passes(memory) - slope * static_cast<double>(batch));
  result.activations = all_passes(memory) + slope * static_cast<double>(run.plan.shard_batch - batch);
  return result;
}

}  // namespace lockstep
