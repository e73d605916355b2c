// The diagrams of a plan.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "charts/number_text.h"
#include "core/error.h"
#include "planning/plan.h"
#include "train/schedule.h"

namespace lockstep {
namespace {

constexpr int kCurvePoints = 400;
constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();
constexpr double kMs = 1e3;
constexpr int kDrawnShards = 16;

// Lanes of the timeline, from the bottom.
enum Lane { kNetworkLane = 1, kComputeLane = 2 };

void add_span(Series& series, double begin_s, double end_s, double lane, const std::string& label) {
  series.points.push_back({.x = begin_s * kMs, .y = lane, .label = label});
  series.points.push_back({.x = end_s * kMs, .y = lane, .label = label});
  series.points.push_back({.x = kNothing, .y = kNothing, .label = ""});
}

}  // namespace

Chart rate_chart(const TrainingPlan& plan) {
  const RunPlan& run = plan.run.plan;
  const Schedule schedule(plan.run.loaded.config(), run.steps_per_epoch);
  const std::int64_t last = std::max<std::int64_t>(run.total_steps - 1, 0);
  Series rate{.name = "", .style = Series::Style::kLine, .points = {}};
  for (int i = 0; i <= kCurvePoints; ++i) {
    const std::int64_t step = last * i / kCurvePoints;
    if (!rate.points.empty() && step == last * (i - 1) / kCurvePoints) continue;
    const double epoch = run.epoch_of(step), lr = schedule.lr(step);
    rate.points.push_back({.x = epoch, .y = lr, .label = fmt::format("epoch {:.4g}, step {}: {:.6g}", epoch, step, lr)});
  }
  return {.title = "Learning rate", .subtitle = fmt::format("peak {:.6g} at a global batch of {}", schedule.peak(), run.global_batch),
          .x = {.title = "epochs"}, .y = {.title = "learning rate", .min = 0}, .series = {rate}};
}

Chart timeline_chart(const TrainingPlan& plan) {
  LS_CHECK(plan.step.has_value(), "a timeline without a step");
  const StepPrediction& step = *plan.step;
  const SimulationResult& simulation = step.simulation;
  Series forward{.name = "forward", .style = Series::Style::kLine, .points = {}},
      backward{.name = "backward", .style = Series::Style::kLine, .points = {}},
      reduce{.name = "all-reduces", .style = Series::Style::kLineAndPoints, .points = {}};
  const double each = step.step.compute_s / step.job.shards_per_rank;
  const double forward_share = step.forward_s / (step.forward_s + step.backward_s);
  for (int shard = 0; shard < std::min(step.job.shards_per_rank, kDrawnShards); ++shard) {
    const double begin = shard * each, middle = begin + forward_share * each;
    add_span(forward, begin, middle, kComputeLane, fmt::format("forward, shard {}: {:.2f} ms", shard + 1, (middle - begin) * kMs));
    add_span(backward, middle, begin + each, kComputeLane, fmt::format("backward, shard {}: {:.2f} ms", shard + 1, (begin + each - middle) * kMs));
  }
  for (std::size_t b = 0; b < simulation.begin_s.size(); ++b)
    add_span(reduce, simulation.begin_s[b], simulation.end_s[b], kNetworkLane,
             fmt::format("bucket {} of {}: {} by {}, {:.2f} ms", b + 1, simulation.begin_s.size(), bytes_text(step.step.buckets[b].bytes),
                         algorithm_name(simulation.algorithms[b]), (simulation.end_s[b] - simulation.begin_s[b]) * kMs));
  return {.title = "One step", .subtitle = fmt::format("{} ranks; above: one rank's passes, below: all-reduces", step.job.ranks),
          .x = {.title = "ms", .min = 0}, .y = {.title = "1: all-reduces, 2: passes", .min = 0.5, .max = 2.5}, .series = {forward, backward, reduce},
          .rules = {{.label = "step ends", .value = step.step_s() * kMs, .vertical = true}},
          .height = 260};
}

Chart scaling_chart(const TrainingPlan& plan, const std::vector<ScalingPoint>& points) {
  Series predicted{.name = "predicted", .style = Series::Style::kLineAndPoints, .points = {}},
      ideal{.name = "ideal", .style = Series::Style::kLine, .points = {}, .dashed = true};
  for (const ScalingPoint& point : points) {
    const double rate = point.step.images_per_second();
    predicted.points.push_back(
        {.x = static_cast<double>(point.ranks), .y = rate, .label = fmt::format("{} ranks: {} images/s", point.ranks, number_text(rate))});
    const double alone = points.front().step.images_per_second() / points.front().ranks;
    ideal.points.push_back({.x = static_cast<double>(point.ranks), .y = alone * point.ranks, .label = ""});
  }
  return {.title = "Speed by number of ranks", .subtitle = fmt::format("the same run: global batch {}", plan.run.plan.global_batch),
          .x = {.title = "ranks", .log = true}, .y = {.title = "images/s", .log = true}, .series = {predicted, ideal}};
}

}  // namespace lockstep
