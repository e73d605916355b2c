// SPDX-License-Identifier: Apache-2.0
#include "train/loading.h"

#include <algorithm>

#include "core/accelerator.h"
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

AugmentOptions train_augment(const proto::Augment& augment, const ImageSize& image) {
  return {.crop = train_crop(augment.crop()),
          .flip = augment.flip(),
          .out_height = image.height,
          .out_width = image.width,
          .pad = augment.pad(),
          .scale_min = augment.scale_min(),
          .scale_max = augment.scale_max(),
          .ratio_min = augment.ratio_min(),
          .ratio_max = augment.ratio_max()};
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

LoaderOptions train_loader_options(const Session& session, int rank, std::int64_t start_step) {
  const proto::Data& data = session.config().data();
  const RunPlan& plan = session.plan;
  const int first = plan.first_shard(rank);
  // Batch norm over several shards keeps all of a rank's batches at once; one more lets the loader run ahead.
  // So does a step on a GPU, whose batches are given back when they have been copied.
  const bool all_at_once = plan.norm_shards > 1 || pinned_memory(session.network) != nullptr;
  const int needed = all_at_once ? plan.shards_per_rank + 1 : 2;
  return {.seed = session.config().seed(),
          .shard_batch = plan.shard_batch,
          .global_batch = plan.global_batch,
          .first_shard = first,
          .last_shard = first + plan.shards_per_rank,
          .start_step = start_step,
          .last_batch = data.last_batch() == proto::Data::WRAP ? LastBatch::kWrap : LastBatch::kDrop,
          .augment = train_augment(data.augment(), image_size(session.config(), *session.train_source)),
          .threads = data.loader_threads(),
          .ring_depth = std::max(data.ring_slots(), needed),
          .max_bad_samples = data.max_bad_samples(),
          .memory = pinned_memory(session.network)};
}

EvalLoaderOptions eval_loader_options(const proto::Config& config, const ImageSize& image, int rank, int world, const Network& network) {
  return {.batch = config.evaluation().batch() > 0 ? config.evaluation().batch() : config.batch().shard_batch(),
          .rank = rank,
          .world = world,
          .augment = eval_augment(config.data().eval(), image),
          .threads = config.data().loader_threads(),
          .ring_depth = 2,
          .memory = pinned_memory(network)};
}

}  // namespace lockstep
