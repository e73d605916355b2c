// SPDX-License-Identifier: Apache-2.0
#include "train/noise_scale.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/digits.h"
#include "distributed/shard_tree.h"
#include "models/model.h"
#include "proto/config.pb.h"

namespace lockstep {
namespace {

constexpr double kDecay = 0.99;  // of the exponential averages, per measured step

// The share of a step that measuring may cost, and the longest way between two measurements.
constexpr double kShare = 0.005;
constexpr std::int64_t kMostEverySteps = 64;

// What measuring costs, counted in the multiply-adds that a training step does in the same time. Fixed figures, not this machine's:
// the measured steps are a function of the config. docs/noise_scale.md says where they are from.
struct ProbeCost {
  double element = 0;  // reading one element of a gradient
  double call = 0;     // starting to read a tensor
  double layer = 0;    // what a layer of a pass costs besides its multiply-adds
  double passes = 1;   // over the gradients, per shard
};
constexpr double kInCache = 1 << 20;  // bytes
ProbeCost probe_cost(const proto::Config& config, double gradient_bytes) {
  if (config.backend() == proto::Config::CUDA) return {.element = 64, .call = 2e7, .layer = 2e8, .passes = 2};  // the mean's is a pass of its own
  return {.element = gradient_bytes < kInCache ? 8.0 : 24.0, .call = 2e4, .layer = 2e5};
}

// Neighbouring parameters that are reported together.
struct Unit {
  std::string first, last;  // words
  std::int64_t numel = 0;
  bool only_norms = true;
  std::vector<int> parameters;

  void join(const Unit& next) {
    if (!next.only_norms) last = next.last;
    numel += next.numel;
    only_norms = only_norms && next.only_norms;
    parameters.insert(parameters.end(), next.parameters.begin(), next.parameters.end());
  }
  std::string name() const { return first == last ? first : first + ".." + last; }
};

// The first `words` words of a parameter's name, without its last: that is "weight" or "bias".
std::string layer_word(const std::string& name, int words) {
  const std::size_t own = name.rfind('.');
  if (own == std::string::npos) return name;
  std::size_t end = 0;
  for (int i = 0; i < words && end < own; ++i) end = std::min(own, name.find('.', end == 0 ? 0 : end + 1));
  return name.substr(0, end);
}

bool is_norm(const Parameter& parameter) {
  return parameter.kind == ParameterKind::kNormScale || parameter.kind == ParameterKind::kNormBias;
}

std::vector<Unit> units_of(const std::vector<Parameter*>& parameters, int words) {
  std::vector<Unit> list;
  for (const Parameter* parameter : parameters) {
    const std::string word = layer_word(parameter->name, words);
    const Unit one{word, word, parameter->value.numel(), is_norm(*parameter), {parameter->id}};
    if (!list.empty() && list.back().last == word)
      list.back().join(one);
    else
      list.push_back(one);
  }
  std::vector<Unit> units;  // norms of their own go with what is before them
  for (const Unit& unit : list) {
    if (unit.only_norms && !units.empty())
      units.back().join(unit);
    else
      units.push_back(unit);
  }
  return units;
}

// Joins the smallest neighbours until there are no more than eight; the last unit, the classifier, stays alone.
void join_small(std::vector<Unit>& units) {
  while (units.size() > static_cast<std::size_t>(kMostNoiseGroups)) {
    std::size_t best = 0;
    const auto joint = [&](std::size_t i) { return units[i].numel + units[i + 1].numel; };
    for (std::size_t i = 1; i + 2 < units.size(); ++i)
      if (joint(i) < joint(best)) best = i;
    units[best].join(units[best + 1]);
    units.erase(units.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

}  // namespace

NoiseGroups noise_groups(const std::vector<Parameter*>& parameters) {
  std::vector<Unit> units = units_of(parameters, 1);
  if (units.size() < 3) units = units_of(parameters, 2);
  join_small(units);
  NoiseGroups groups;
  groups.of_parameter.resize(parameters.size());
  for (const Unit& unit : units) {
    for (const int id : unit.parameters) groups.of_parameter[static_cast<std::size_t>(id)] = static_cast<int>(groups.names.size());
    groups.names.push_back(unit.name());
  }
  return groups;
}

namespace {

// Shards whose samples depend on each other.
int part_shards(const RunPlan& plan, const Model& model) {
  const bool has_batch_norm = !model.buffers().empty();
  return has_batch_norm ? plan.norm_shards : 1;
}

std::string why_not_measured(const proto::Config& config, const RunPlan& plan, int part) {
  if (!config.logging().noise_scale()) return "logging.noise_scale is false";
  if (plan.shards < 2) return "it compares the gradients of several shards, and the global batch is one (smaller batch.shard_batch)";
  if (part == plan.shards) return "batch norm sees the whole global batch, so that no two gradients are independent";
  if (plan.shards_per_rank % part != 0) return fmt::format("the {} shards that one batch norm sees are on several ranks", part);
  if (!is_tree_node(plan.shards_per_rank, part))
    return fmt::format("the {} shards that one batch norm sees are never added by themselves (a power of two would be)", part);
  return {};
}

// The fewest steps between measurements at which measuring a shard is below kShare of its passes.
std::int64_t every_steps(const proto::Config& config, const Model& model, std::int64_t shard_batch) {
  const ModelOptions& options = model.options();
  const auto elements = static_cast<double>(model.parameter_count());
  const ProbeCost cost = probe_cost(config, elements * sizeof(float));
  double step = 0;  // forward, data gradient, filter gradient
  for (const LayerInfo& layer : model.layers(Shape{shard_batch, options.channels, options.height, options.width}))
    step += 3 * (static_cast<double>(layer.multiply_adds) + cost.layer);
  const double measuring = cost.passes * (cost.element * elements + cost.call * static_cast<double>(model.parameters().size()));
  const double steps = std::fmin(std::ceil(measuring / (kShare * step)), kMostEverySteps);
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(steps));
}

}  // namespace

NoisePlan plan_noise(const proto::Config& config, const RunPlan& plan, const Model& model) {
  NoisePlan noise;
  const int part = part_shards(plan, model);
  noise.why_not = why_not_measured(config, plan, part);
  if (!noise.available()) return noise;
  noise.part_shards = part;
  noise.parts = plan.shards / part;
  noise.part_batch = static_cast<double>(plan.shard_batch * part);
  noise.batch = static_cast<double>(plan.global_batch);
  noise.every_steps = every_steps(config, model, plan.shard_batch);
  return noise;
}

std::string NoisePlan::describe() const {
  if (!available()) return "not measured: " + why_not;
  return fmt::format("measured {} from {} gradients of {:.0f} images",
                     every_steps == 1 ? std::string("each step") : fmt::format("every {} steps", every_steps), parts, part_batch);
}

double NoiseEstimate::critical_batch() const {
  return norm2 > 0 && variance > 0 ? variance / norm2 : std::numeric_limits<double>::quiet_NaN();
}

NoiseEstimate estimate_noise(double part_square, double mean_square, double part_batch, double batch) {
  return {.norm2 = (batch * mean_square - part_batch * part_square) / (batch - part_batch),
          .variance = (part_square - mean_square) / (1 / part_batch - 1 / batch)};
}

NoiseScale::NoiseScale(const NoisePlan& plan, std::vector<std::string> groups)
    : plan_(plan), groups_(std::move(groups)), sums_(groups_.size()) {}

void NoiseScale::add(const GradientSquares& squares) {
  if (!squares.measured) return;
  for (std::size_t g = 0; g < sums_.size(); ++g)
    if (!std::isfinite(squares.part[g]) || !std::isfinite(squares.mean[g])) return;
  for (std::size_t g = 0; g < sums_.size(); ++g) {
    const NoiseEstimate step = estimate_noise(squares.part[g], squares.mean[g], plan_.part_batch, plan_.batch);
    Sums& sums = sums_[g];
    sums.norm2 = kDecay * sums.norm2 + (1 - kDecay) * step.norm2;
    sums.variance = kDecay * sums.variance + (1 - kDecay) * step.variance;
    sums.epoch_norm2 += step.norm2;
    sums.epoch_variance += step.variance;
  }
  weight_ = kDecay * weight_ + (1 - kDecay);
  epoch_steps_ += 1;
}

namespace {

NoiseEstimate divided(double norm2, double variance, double weight) {
  return weight > 0 ? NoiseEstimate{norm2 / weight, variance / weight} : NoiseEstimate{};
}

}  // namespace

template <class Member>
NoiseEstimate NoiseScale::over_groups(Member norm2, Member variance, double weight) const {
  double norm2_sum = 0, variance_sum = 0;
  for (const Sums& sums : sums_) norm2_sum += sums.*norm2, variance_sum += sums.*variance;
  return divided(norm2_sum, variance_sum, weight);
}

NoiseEstimate NoiseScale::smoothed() const { return over_groups(&Sums::norm2, &Sums::variance, weight_); }
NoiseEstimate NoiseScale::epoch_mean() const { return over_groups(&Sums::epoch_norm2, &Sums::epoch_variance, epoch_steps_); }

NoiseEstimate NoiseScale::smoothed(int group) const {
  const Sums& sums = sums_[static_cast<std::size_t>(group)];
  return divided(sums.norm2, sums.variance, weight_);
}

NoiseEstimate NoiseScale::epoch_mean(int group) const {
  const Sums& sums = sums_[static_cast<std::size_t>(group)];
  return divided(sums.epoch_norm2, sums.epoch_variance, epoch_steps_);
}

void NoiseScale::begin_epoch() {
  epoch_steps_ = 0;
  for (Sums& sums : sums_) sums.epoch_norm2 = sums.epoch_variance = 0;
}

std::string NoiseScale::describe() const {
  const double critical = smoothed().critical_batch();
  const std::string used = grouped_digits(fmt::format("{:.0f}", plan_.batch));
  if (std::isnan(critical)) return fmt::format("critical batch not measurable yet: the gradient is small beside its noise (you use {})", used);
  return fmt::format("critical batch now ~ {} (you use {})", round_batch(critical), used);
}

template <class Self, class Visit>
void NoiseScale::visit(Self& self, const Visit& visit) {
  visit("noise.weight", self.weight_);
  visit("noise.epoch_steps", self.epoch_steps_);
  for (std::size_t g = 0; g < self.groups_.size(); ++g) {
    const std::string prefix = "noise." + self.groups_[g];
    visit(prefix + ".norm2", self.sums_[g].norm2);
    visit(prefix + ".variance", self.sums_[g].variance);
    visit(prefix + ".epoch_norm2", self.sums_[g].epoch_norm2);
    visit(prefix + ".epoch_variance", self.sums_[g].epoch_variance);
  }
}

void NoiseScale::save(std::map<std::string, double>& accumulators) const {
  visit(*this, [&](const std::string& name, const double& value) { accumulators[name] = value; });
}

void NoiseScale::restore(const std::map<std::string, double>& accumulators) {
  bool complete = true;
  visit(*this, [&](const std::string& name, const double&) { complete = complete && accumulators.contains(name); });
  if (!complete) return;  // saved without it, or by a run with other layers: begins anew
  visit(*this, [&](const std::string& name, double& value) { value = accumulators.at(name); });
}

std::string round_batch(double batch) {
  if (!(batch >= 1)) return "1";
  const double unit = std::pow(10.0, std::floor(std::log10(batch)) - 1);
  return grouped_digits(fmt::format("{:.0f}", unit > 1 ? std::round(batch / unit) * unit : std::round(batch)));
}

}  // namespace lockstep
