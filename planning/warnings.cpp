// SPDX-License-Identifier: Apache-2.0
#include "planning/warnings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "planning/published.h"
#include "proto/config.pb.h"

namespace lockstep {
namespace {

// Times the linear rule. At twice it Goyal et al. lose 0.3 points, while NVIDIA's recipe with label smoothing and less weight decay trains
// well there; at half of it 0.5 points.
constexpr double kFarAbove = 2.5, kFarBelow = 1.9;
constexpr double kNormImages = 16;         // below, batch norm's statistics are noise (Wu and He 2018, arXiv 1803.08494, figure 1)
constexpr double kMuchLeftOut = 0.01;      // of an epoch's images
constexpr double kSgdEpochs = 41 / 36.0;   // SGD's epochs by LARS's: MLPerf v0.7 took 41 at 3,264, where the law of LARS has 36
constexpr double kTolerance = 0.9;         // the law is good to 10 %

class Advisor {
 public:
  explicit Advisor(const DryRun& run) : run_(run), config_(run.loaded.config()), plan_(run.plan), batch_(static_cast<double>(plan_.global_batch)) {}

  std::vector<PlanWarning> warnings() {
    if (is_imagenet()) {
      check_rate();
      check_batch();
    }
    check_warmup();
    if (is_imagenet()) check_epochs();
    check_norm();
    check_left_out();
    check_ranks();
    return std::move(warnings_);
  }

 private:
  template <class... Values>
  void warn(const char* id, fmt::format_string<Values...> text, Values&&... values) {
    warnings_.push_back({id, fmt::format(text, std::forward<Values>(values)...)});
  }
  bool is_imagenet() const { return run_.classes == 1000 && plan_.train_samples > 1'000'000; }
  bool lars() const { return config_.optimizer().type() == proto::Optimizer::LARS; }

  void check_rate();
  void check_batch();
  void check_warmup();
  void check_epochs();
  void check_norm();
  void check_left_out();
  void check_ranks();

  const DryRun& run_;
  const proto::Config& config_;
  const RunPlan& plan_;
  const double batch_;
  std::vector<PlanWarning> warnings_;
};

// lr / (1 - momentum) is what a gradient moves the weights by in the end, so rates of other momenta can be compared. A rate that
// must be read before it has warmed up (ONE_CYCLE) has another rule.
void Advisor::check_rate() {
  if (lars() || config_.schedule().kind() == proto::Schedule::ONE_CYCLE) return;
  const double published = kGoyalLrPer256 * batch_ / 256, ours = run_.peak_lr * 0.1 / (1 - config_.optimizer().momentum());
  if (ours > kFarAbove * published)
    warn("lr-above-linear",
         "learning rate {:.4g} at a batch of {} is {:.1f} times the linear rule's {:.4g} (0.1 per 256 images at momentum 0.9): at twice the rule and "
         "a "
         "batch of 8,192 Goyal et al. lose 0.3 points, further up training diverges",
         run_.peak_lr, plan_.global_batch, ours / published, published);
  if (ours * kFarBelow < published)
    warn("lr-below-linear",
         "learning rate {:.4g} at a batch of {} is {:.2f} of the linear rule's {:.4g} (0.1 per 256 images at momentum 0.9): at half the rule and a "
         "batch of "
         "8,192 Goyal et al. lose 0.5 points, with the rate of a batch of 256 18 points",
         run_.peak_lr, plan_.global_batch, ours / published, published);
}

void Advisor::check_batch() {
  if (lars()) {
    const double largest = mlperf_points().back().batch;
    if (batch_ > largest)
      warn("batch-beyond-published", "a batch of {} is larger than any published with LARS to 75.9 % ({:.0f})", plan_.global_batch, largest);
    return;
  }
  if (batch_ <= kGoyalLargestBatch) return;
  const std::optional<double> accuracy = goyal_accuracy(batch_);
  const double best = *goyal_accuracy(256);
  if (accuracy)
    warn("batch-beyond-published",
         "SGD at a batch of {}: Goyal et al. reach {:.1f} % top-1 in 90 epochs with ResNet-50, {:.1f} points below a batch of 256; up to 8,192 "
         "nothing is "
         "lost. Take a smaller batch, or optimizer.type LARS",
         plan_.global_batch, *accuracy, best - *accuracy);
  else
    warn("batch-beyond-published", "SGD at a batch of {}: beyond 65,536 it diverges for Goyal et al. Take a smaller batch, or optimizer.type LARS",
         plan_.global_batch);
}

void Advisor::check_warmup() {
  const proto::Schedule& schedule = config_.schedule();
  if (schedule.warmup_epochs() > 0 || schedule.kind() == proto::Schedule::ONE_CYCLE || batch_ <= kGoyalSmallestWarmup) return;
  warn("no-warmup", "no warm-up at a batch of {}: without one Goyal et al. lose 1.1 points at 8,192. Set schedule.warmup_epochs, {:.0f} is theirs",
       plan_.global_batch, kGoyalWarmupEpochs);
}

void Advisor::check_epochs() {
  const double needed = mlperf_law().samples(batch_) / kImagenetImages * (lars() ? 1 : kSgdEpochs);
  const double epochs = plan_.epoch_of(plan_.total_steps);
  if (epochs >= kTolerance * needed) return;
  warn("epochs-too-few",
       "{:.4g} epochs at a batch of {}: MLPerf's published runs of ResNet-50 take {:.0f} to 75.9 % top-1 {} (33.5 (1 + batch / 43,500))", epochs,
       plan_.global_batch, needed, lars() ? "with LARS" : "with SGD");
}

void Advisor::check_norm() {
  const double images = static_cast<double>(plan_.norm_shards) * static_cast<double>(plan_.shard_batch);
  if (!run_.has_norms || images >= kNormImages) return;
  const bool shard_too = plan_.shards > 1;
  warn("norm-too-small",
       "batch norm sees {:.0f} images: with fewer than {:.0f} its statistics are noise and accuracy falls. Set batch.shard_batch to {:.0f} or more{}",
       images, kNormImages, kNormImages,
       shard_too ? fmt::format(", or model.batch_norm {{ scope: GROUP group_shards: {:.0f} }}",
                               std::ceil(kNormImages / static_cast<double>(plan_.shard_batch)))
                 : "");
}

void Advisor::check_left_out() {
  const std::int64_t left = plan_.train_samples - plan_.steps_per_epoch * plan_.global_batch;
  const double share = static_cast<double>(std::abs(left)) / static_cast<double>(plan_.train_samples);
  if (share <= kMuchLeftOut) return;
  if (left > 0)
    warn("left-out",
         "each epoch leaves out {} of {} images ({:.1f} %, others each time), as they fill no batch. A batch of {} wastes less, or data.last_batch: "
         "WRAP",
         left, plan_.train_samples, 100 * share, plan_.train_samples / (plan_.steps_per_epoch + 1) / plan_.shard_batch * plan_.shard_batch);
  else
    warn("left-out", "each epoch takes {} of {} images twice ({:.1f} %), to fill its last batch", -left, plan_.train_samples, 100 * share);
}

void Advisor::check_ranks() {
  const int most = run_.ranks_allowed.empty() ? 1 : run_.ranks_allowed.back();
  if (most >= plan_.shards || plan_.shards == 1) return;
  warn("few-ranks",
       "{} shards can be shared by at most {} rank{} with distributed.reduction EXACT, whose tree needs powers of two. A global batch of {} x a "
       "power of "
       "two, or reduction FAST, can use more",
       plan_.shards, most, most == 1 ? "" : "s", plan_.shard_batch);
}

}  // namespace

std::vector<PlanWarning> plan_warnings(const DryRun& run) { return Advisor(run).warnings(); }

}  // namespace lockstep
