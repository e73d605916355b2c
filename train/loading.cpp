// SPDX-License-Identifier: Apache-2.0
#include "train/loading.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/accelerator.h"
#include "core/error.h"
#include "proto/config.pb.h"

namespace lockstep {
namespace {

Crop train_crop(proto::Augment::Crop crop) {
  switch (crop) {
    case proto::Augment::NONE: return Crop::kNone;
    case proto::Augment::PAD_CROP: return Crop::kPadCrop;
    case proto::Augment::RANDOM_RESIZED_CROP: return Crop::kRandomResizedCrop;
  }
  return Crop::kNone;
}

ColourJitterOptions colour_jitter(const proto::ColourJitter& jitter) {
  return {.brightness = jitter.brightness(), .contrast = jitter.contrast(), .saturation = jitter.saturation(), .hue = jitter.hue()};
}

// `mean`: of each channel, pixels from 0 to 1.
RandomErasingOptions random_erasing(const proto::RandomErasing& erasing, const std::vector<float>& mean) {
  RandomErasingOptions options{.probability = erasing.probability(),
                               .area_min = erasing.area_min(),
                               .area_max = erasing.area_max(),
                               .ratio_min = erasing.ratio_min(),
                               .ratio_max = erasing.ratio_max(),
                               .noise = erasing.fill() == proto::RandomErasing::NOISE};
  for (std::size_t channel = 0; channel < std::min(mean.size(), options.mean.size()); ++channel)
    options.mean[channel] = static_cast<std::uint8_t>(std::clamp(std::lround(255 * mean[channel]), 0L, 255L));
  return options;
}

MixOptions mix_options(const proto::Mix& mix) {
  return {.mixup_alpha = mix.mixup_alpha(),
          .cutmix_alpha = mix.cutmix_alpha(),
          .probability = mix.probability(),
          .switch_probability = mix.switch_probability()};
}

AugmentOptions train_augment(const proto::Augment& augment, const ImageSize& image, const std::vector<float>& mean) {
  return {.crop = train_crop(augment.crop()),
          .flip = augment.flip(),
          .out_height = image.height,
          .out_width = image.width,
          .pad = augment.pad(),
          .scale_min = augment.scale_min(),
          .scale_max = augment.scale_max(),
          .ratio_min = augment.ratio_min(),
          .ratio_max = augment.ratio_max(),
          .colour_jitter = colour_jitter(augment.colour_jitter()),
          .rand_augment = {.ops = augment.rand_augment().ops(), .magnitude = augment.rand_augment().magnitude()},
          .random_erasing = random_erasing(augment.random_erasing(), mean)};
}

// A rank may meet this many unreadable samples by itself. The budget is counted over all ranks when they meet; a rank that is
// over it alone asks for an end at the next step boundary, so that what was trained is saved. Only when far more samples are
// bad than a rank reads until then (a disk that is gone) does its loader end the run.
std::int64_t bad_samples_of_a_rank(std::int64_t budget, const RunPlan& plan, int ring_slots) {
  constexpr std::int64_t kStepsUntilTheEnd = 3;
  const std::int64_t read_meanwhile = plan.shard_batch * (ring_slots + kStepsUntilTheEnd * plan.shards_per_rank);
  return budget > std::numeric_limits<std::int64_t>::max() - read_meanwhile ? budget : budget + read_meanwhile;
}

AugmentOptions eval_augment(const proto::EvalTransform& eval, const ImageSize& image) {
  const bool crop = eval.crop() == proto::EvalTransform::RESIZE_CENTRE_CROP;
  return {.crop = crop ? Crop::kResizeCentreCrop : Crop::kNone,
          .out_height = image.height,
          .out_width = image.width,
          .resize_short = eval.resize_short() > 0 ? eval.resize_short() : image.height * 256 / 224};
}

}  // namespace

MemoryPool* pinned_memory(const Network& network) {
  const Device device = network.kernels->device();
  return device == Device{} ? nullptr : &accelerator_of(device).pinned_pool();
}

SizePhases size_phases(const Session& session) {
  return SizePhases(session.config(), image_size(session.config(), *session.train_source), session.plan);
}

void check_training_sizes(const Session& session) {
  const SizePhases sizes = size_phases(session);
  const RunPlan& plan = session.plan;
  for (const SizePhases::Phase& phase : sizes.phases()) {
    const ImageSize& image = phase.image;
    session.network.model->check_input({plan.shard_batch, image.channels, image.height, image.width}, plan.norm_shards * plan.shard_batch);
    const AugmentOptions options = train_loader_options(session, 0, phase.first_step).augment;
    const Source& source = *session.train_source;
    checked_augment(options, source.height(), source.width());
    const std::string misfit = source.height() > 0 ? augment_misfit(options, source.height(), source.width()) : "";
    if (!misfit.empty()) throw UserError(fmt::format("data.size_phase: {}", misfit));
  }
}

LoaderOptions train_loader_options(const Session& session, int rank, std::int64_t start_step) {
  const proto::Data& data = session.config().data();
  const RunPlan& plan = session.plan;
  const int first = plan.first_shard(rank);
  // Batch norm over several shards keeps all of a rank's batches at once; one more lets the loader run ahead.
  // So does a step on a GPU, whose batches are given back when they have been copied.
  const bool all_at_once = plan.norm_shards > 1 || pinned_memory(session.network) != nullptr;
  const int needed = all_at_once ? plan.shards_per_rank + 1 : 2;
  const int ring_depth = std::max(data.ring_slots(), needed);
  return {.seed = session.config().seed(),
          .shard_batch = plan.shard_batch,
          .global_batch = plan.global_batch,
          .first_shard = first,
          .last_shard = first + plan.shards_per_rank,
          .start_step = start_step,
          .last_batch = data.last_batch() == proto::Data::WRAP ? LastBatch::kWrap : LastBatch::kDrop,
          .augment = train_augment(data.augment(), size_phases(session).at(start_step), session.network.mean),
          .mix = mix_options(data.augment().mix()),
          .threads = data.loader_threads(),
          .ring_depth = ring_depth,
          .max_bad_samples = bad_samples_of_a_rank(data.max_bad_samples(), plan, ring_depth),
          .memory = pinned_memory(session.network)};
}

EvalLoaderOptions eval_loader_options(const proto::Config& config, const ImageSize& image, int rank, int world, const Network& network) {
  return {.batch = config.evaluation().batch() > 0 ? config.evaluation().batch() : config.batch().shard_batch(),
          .rank = rank,
          .world = world,
          .augment = eval_augment(config.data().eval(), image),
          .threads = config.data().loader_threads(),
          .ring_depth = 2,
          .memory = pinned_memory(network),
          .bad_is_miss = config.evaluation().bad_images() == proto::Evaluation::MISS};
}

}  // namespace lockstep
