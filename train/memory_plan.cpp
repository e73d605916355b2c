// SPDX-License-Identifier: Apache-2.0
#include "train/memory_plan.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "core/memory.h"
#include "core/mix_row.h"
#include "core/rehearsal.h"
#include "cuda/cuda_backend.h"
#include "distributed/shard_tree.h"
#include "train/loading.h"
#include "train/shard_pass.h"
#include "train/step_entries.h"

namespace lockstep {
namespace {

// Takes the gradients and observations; the real ones lie in memory that exists already, so these are made before the
// pass begins and not counted.
class RehearsalSink final : public GradSink, public ObservationSink {
 public:
  explicit RehearsalSink(const Model& model) {
    for (const Parameter* parameter : model.parameters()) gradients_.push_back(like(parameter->value));
    for (const Buffer* buffer : model.buffers()) observations_.push_back(like(buffer->value));
  }
  Tensor gradient(const Parameter& parameter) override { return gradients_[static_cast<std::size_t>(parameter.id)]; }
  void mark_ready(const Parameter&) override {}
  Tensor observation(const Buffer& buffer) override { return observations_[static_cast<std::size_t>(buffer.id)]; }

 private:
  static Tensor like(const Tensor& tensor) { return Tensor::empty(tensor.shape(), tensor.dtype(), tensor.device()); }
  std::vector<Tensor> gradients_, observations_;
};

// Batch norm's group, without the other shards.
class RehearsalNormSync final : public NormSync {
 public:
  explicit RehearsalNormSync(int shards) : shards_(shards) {}
  double merge_moments(double count, Tensor&, Tensor&) override { return count * shards_; }
  void sum(Tensor&) override {}

 private:
  int shards_;
};

// How many copies of its gradients a rank holds while its shards are added along the tree (distributed/shard_tree.h): one
// sum per level of the binary tree and the shard under way; where shards run side by side, each has its own.
int gradient_copies(const RunPlan& plan) {
  if (plan.norm_shards > 1) return plan.shards_per_rank;
  const auto leaf = static_cast<int>(leaf_shards(plan.shards_per_rank));
  return std::bit_width(static_cast<unsigned>(plan.shards_per_rank / leaf)) + (leaf > 1 ? 1 : 0);
}

std::size_t rehearse_pass(Network& network, const RunPlan& plan, const ImageSize& image) {
  const Device device = network.kernels->device();
  const Rehearsal rehearsal(device);
  RehearsalSink sink(*network.model);
  RehearsalNormSync norm_sync(plan.norm_shards);
  ShardPass pass(network, 0, plan.norm_shards > 1 ? &norm_sync : nullptr);
  const ShardBatch batch{Tensor::empty({plan.shard_batch, image.channels, image.height, image.width}, DType::kU8, device),
                         Tensor::empty({plan.shard_batch}, DType::kI32, device),
                         plan.mixes ? Tensor::empty({plan.shard_batch, kMixRowWords}, DType::kI32, device) : Tensor()};
  const std::size_t before = rehearsal.peak_bytes();
  StepTimes times;
  pass.train(batch, 0, 0, 0, sink, sink, [](const Tensor&) {}, times);
  return rehearsal.peak_bytes() - before;
}

// On a device each of a rank's batches lies in memory three times: two that travel, one that is read (train/device_step.h).
constexpr std::size_t kInputCopies = 3;

std::size_t input_bytes(const RunPlan& plan, const ImageSize& image) {
  const auto pixels = static_cast<std::size_t>(image.channels) * static_cast<std::size_t>(image.height) * static_cast<std::size_t>(image.width);
  const std::size_t per_image = pixels + sizeof(std::int32_t) + (plan.mixes ? sizeof(MixRow) : 0);
  return static_cast<std::size_t>(plan.shards_per_rank) * static_cast<std::size_t>(plan.shard_batch) * per_image;
}

}  // namespace

MemoryPlan plan_memory(Network& network, const RunPlan& plan, const ImageSize& image) {
  MemoryPlan result;
  result.device = network.kernels->device();
  result.held_bytes = pool_of(result.device).stats().in_use_bytes;
  if (result.device != Device{}) result.held_bytes += kInputCopies * input_bytes(plan, image);
  result.gradient_bytes = gradient_bytes(*network.model) * static_cast<std::size_t>(gradient_copies(plan));
  result.passes = plan.norm_shards > 1 ? plan.shards_per_rank : 1;
  result.pass_bytes = rehearse_pass(network, plan, image);
  return result;
}

MemoryPlan plan_memory_of(Session& session, std::int64_t step) {
  const SizePhases sizes = size_phases(session);
  const ImageSize largest = sizes.largest();
  MemoryPlan plan = plan_memory(session.network, session.plan, largest);
  if (plan.device != Device{}) return plan;
  // The ring that is there now will be followed by a larger one.
  const auto pixels = [](const ImageSize& image) { return std::int64_t{1} * image.channels * image.height * image.width; };
  const LoaderOptions loading = train_loader_options(session, 0, step);
  plan.held_bytes += static_cast<std::size_t>(loading.ring_depth * loading.shard_batch * (pixels(largest) - pixels(sizes.at(step))));
  return plan;
}

void prefault(const MemoryPlan& plan) {
  if (plan.passes == 1 && plan.device == Device{}) prefault_memory(plan.pass_bytes);
}

void check_fits(const MemoryPlan& plan, const RunPlan& run) {
  if (plan.device == Device{}) return;
  const std::size_t there = cuda_report().gpus.at(static_cast<std::size_t>(plan.device.index)).memory_bytes;
  if (plan.peak_bytes() <= there) return;
  const std::size_t fixed = plan.held_bytes + plan.gradient_bytes;
  const double per_image = static_cast<double>(plan.pass_bytes) / static_cast<double>(run.shard_batch);
  const double fits = fixed < there ? static_cast<double>(there - fixed) / per_image : 0;
  throw UserError(fmt::format("batch.shard_batch: {} takes {}, and GPU {} has {:.0f} MB: {}", run.shard_batch, describe_memory(plan),
                              plan.device.index, static_cast<double>(there) * 1e-6,
                              fits >= 1 ? fmt::format("about {:.0f} fit; more shards keep the global batch", std::floor(fits))
                                        : "not even one image fits; take a smaller network or image, or precision FP16 or BF16"));
}

std::string describe_memory(const MemoryPlan& plan) {
  const auto megabytes = [](std::size_t nbytes) { return fmt::format("{:.{}f}", static_cast<double>(nbytes) * 1e-6, nbytes < 100'000'000 ? 1 : 0); };
  return fmt::format("{} MB of {} per rank at the peak: {} held, {} for gradients, {} for {}", megabytes(plan.peak_bytes()),
                     plan.device == Device{} ? "tensors" : "GPU memory",
                     megabytes(plan.held_bytes), megabytes(plan.gradient_bytes),
                     megabytes(plan.pass_bytes * static_cast<std::size_t>(plan.passes)),
                     plan.passes == 1 ? "a shard's pass" : fmt::format("{} shards' passes", plan.passes));
}

}  // namespace lockstep
