// SPDX-License-Identifier: Apache-2.0
#include "data/loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "data/batch_ring.h"

namespace lockstep {
namespace {

// Batch n of a rank: shard first_shard + n mod (its shards) of step start_step + n / (its shards).
class TrainPlan final : public BatchPlan {
 public:
  TrainPlan(const GlobalOrder& order, const LoaderOptions& options) : order_(order), options_(options) {}

  BatchTag tag(std::int64_t n) const override {
    const std::int64_t shards = options_.last_shard - options_.first_shard;
    const std::int64_t step = options_.start_step + n / shards;
    return {step, order_.epoch(step), options_.first_shard + static_cast<int>(n % shards)};
  }

  void ids(std::int64_t n, std::int64_t first, std::span<std::int64_t> ids) const override {
    const BatchTag where = tag(n);
    const EpochOrder order = order_.epoch_order(where.step);
    std::int64_t i = where.shard * options_.shard_batch + first;
    for (std::int64_t& id : ids) id = order[order_.position(where.step, i++)];
  }

  bool mixes() const override { return options_.mix.enabled(); }

  void mix(const BatchTag& tag, int height, int width, std::span<const std::int32_t> labels, std::span<MixRow> rows) const override {
    draw_mix(options_.mix, height, width, options_.seed, tag.step, tag.shard, labels, rows);
  }

 private:
  GlobalOrder order_;
  LoaderOptions options_;
};

// Batch n of a rank: of pass n / batches, global batch rank + world * (n mod batches).
class EvalPlan final : public BatchPlan {
 public:
  EvalPlan(std::int64_t size, std::int64_t batches, const EvalLoaderOptions& options)
      : size_(size), batches_(batches), options_(options) {}

  BatchTag tag(std::int64_t n) const override {
    return {options_.rank + std::int64_t{options_.world} * (n % batches_), n / batches_, 0};
  }

  void ids(std::int64_t n, std::int64_t first, std::span<std::int64_t> ids) const override {
    std::int64_t id = tag(n).step * options_.batch + first;
    for (std::int64_t& to : ids) {
      to = id < size_ ? id : -1;
      ++id;
    }
  }

 private:
  std::int64_t size_, batches_;
  EvalLoaderOptions options_;
};

void check_mix(const MixOptions& mix) {
  const auto check = [](bool good, const char* what, double got, const std::string& want) {
    if (!good) throw UserError(fmt::format("loader: mix: {}: got {}, want {}.", what, got, want));
  };
  const auto alpha = [](double x) { return x == 0 || (x >= kMinMixAlpha && x <= kMaxMixAlpha); };
  const auto share = [](double x) { return x >= 0 && x <= 1; };
  const std::string alphas = fmt::format("0 or {} to {}", kMinMixAlpha, kMaxMixAlpha);
  check(alpha(mix.mixup_alpha), "mixup_alpha", mix.mixup_alpha, alphas);
  check(alpha(mix.cutmix_alpha), "cutmix_alpha", mix.cutmix_alpha, alphas);
  check(share(mix.probability), "probability", mix.probability, "0 to 1");
  check(share(mix.switch_probability), "switch_probability", mix.switch_probability, "0 to 1");
}

const LoaderOptions& checked(const LoaderOptions& options) {
  const auto fail = [](const std::string& message) { throw UserError("loader: " + message); };
  if (options.shard_batch < 1) fail(fmt::format("shard_batch: got {}, want 1 or more.", options.shard_batch));
  if (options.global_batch < 1 || options.global_batch % options.shard_batch != 0)
    fail(fmt::format("global_batch: got {}, want a multiple of shard_batch ({}).", options.global_batch,
                     options.shard_batch));
  const std::int64_t shards = options.global_batch / options.shard_batch;
  if (options.first_shard < 0 || options.first_shard >= options.last_shard || options.last_shard > shards)
    fail(fmt::format("shards: got [{}, {}), want a part of [0, {}).", options.first_shard, options.last_shard, shards));
  if (options.start_step < 0) fail(fmt::format("start_step: got {}, want 0 or more.", options.start_step));
  check_mix(options.mix);
  return options;
}

// The number of this rank's batches in a pass.
std::int64_t eval_batches(std::int64_t size, const EvalLoaderOptions& options) {
  const auto fail = [](const std::string& message) { throw UserError("evaluation loader: " + message); };
  if (options.batch < 1) fail(fmt::format("batch: got {}, want 1 or more.", options.batch));
  if (options.world < 1 || options.rank < 0 || options.rank >= options.world)
    fail(fmt::format("rank: got {} of {}, want 0 to world - 1.", options.rank, options.world));
  const AugmentOptions& augment = options.augment;
  if (augment.flip || augment.crop == Crop::kPadCrop || augment.crop == Crop::kRandomResizedCrop || augment.colour_jitter.enabled() ||
      augment.rand_augment.enabled() || augment.random_erasing.enabled())
    fail("augmentation: got a random one, want none or a resize with a centre crop.");
  const std::int64_t all = (size + options.batch - 1) / options.batch;
  return (all - options.rank + options.world - 1) / options.world;
}

}  // namespace

Batch& Batch::operator=(Batch&& other) noexcept {
  if (this == &other) return *this;
  reset();
  ring_ = std::exchange(other.ring_, nullptr);
  slot_ = std::exchange(other.slot_, nullptr);
  return *this;
}

void Batch::reset() {
  if (slot_ != nullptr) ring_->release(*slot_);
  ring_ = nullptr;
  slot_ = nullptr;
}

const Tensor& Batch::images() const { return slot_->images; }
const Tensor& Batch::labels() const { return slot_->labels; }
const Tensor& Batch::mix() const { return slot_->mix; }
std::span<const std::int64_t> Batch::misses() const { return slot_->misses; }
std::span<const std::int64_t> Batch::ids() const { return slot_->ids; }
std::int64_t Batch::step() const { return slot_->tag.step; }
std::int64_t Batch::epoch() const { return slot_->tag.epoch; }
int Batch::shard() const { return slot_->tag.shard; }
std::int64_t Batch::samples() const {
  return static_cast<std::int64_t>(slot_->ids.size()) - std::count(slot_->ids.begin(), slot_->ids.end(), -1);
}

Loader::Loader(const Source& source, const LoaderOptions& options)
    : order_(source.size(), checked(options).global_batch, options.seed, options.last_batch),
      bad_(options.max_bad_samples) {
  const RingOptions ring = {
      .batch = options.shard_batch, .threads = options.threads, .depth = options.ring_depth, .memory = options.memory};
  ring_ = std::make_unique<BatchRing>(SampleReader(source, options.augment, options.seed, &bad_),
                                      std::make_unique<TrainPlan>(order_, options), ring);
}

Loader::~Loader() = default;
Batch Loader::next() { return {*ring_, ring_->acquire()}; }
std::int64_t Loader::steps_per_epoch() const { return order_.steps_per_epoch(); }
LoaderStats Loader::stats() const { return ring_->stats(); }

EvalLoader::EvalLoader(const Source& source, const EvalLoaderOptions& options)
    : batches_(eval_batches(source.size(), options)), bad_(std::numeric_limits<std::int64_t>::max()) {
  const SampleReader reader(source, options.augment, 0, nullptr);  // also checks sizes on ranks without a batch
  if (batches_ == 0) return;
  const RingOptions ring = {.batch = options.batch,
                            .threads = options.threads,
                            .depth = options.ring_depth,
                            .memory = options.memory,
                            .misses = options.bad_is_miss ? &bad_ : nullptr};
  ring_ = std::make_unique<BatchRing>(reader, std::make_unique<EvalPlan>(source.size(), batches_, options), ring);
}

EvalLoader::~EvalLoader() = default;

Batch EvalLoader::next() {
  if (given_ == batches_) {
    given_ = 0;
    return {};
  }
  BatchSlot& slot = ring_->acquire();
  ++given_;
  return {*ring_, slot};
}

LoaderStats EvalLoader::stats() const { return ring_ ? ring_->stats() : LoaderStats{}; }

}  // namespace lockstep
