// NoiseScale: the gradient noise scale, tr(Sigma) / |G|^2, from the shards' gradients of each step (McCandlish et al. 2018, arXiv
// 1812.06162, appendix A): the critical batch, up to which a larger batch saves steps in proportion.
//
// A step has n parts of b samples whose gradients g_i are independent (parts: shards, or what one batch norm sees), and their mean g over
// B = n b samples. E|g_i|^2 = |G|^2 + tr(Sigma) / b and E|g|^2 = |G|^2 + tr(Sigma) / B give, without bias,
//     |G|^2 ~ (B |g|^2 - b mean|g_i|^2) / (B - b),     tr(Sigma) ~ (mean|g_i|^2 - |g|^2) / (1/b - 1/B).
// Both are averaged over steps, apart; the ratio is taken last. Gradients are those of the loss: without weight decay, before clipping.
//
// In the metrics (train/metrics/record.h): kind "train", at each log interval, smoothed: noise_scale, gradient_norm2, gradient_variance.
// Kind "noise", at the end of each epoch, means over the epoch's measured steps: the same three keys, and for each layer group of
// noise_groups "<key>.<group>" ("noise_scale.layer1"). A noise scale that is not measurable (|G|^2 drowned in noise) is left out.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "train/plan.h"

namespace lockstep {

class Model;
struct Parameter;

inline constexpr const char* kNoiseScaleKey = "noise_scale";              // samples: the critical batch
inline constexpr const char* kGradientNorm2Key = "gradient_norm2";        // |G|^2
inline constexpr const char* kGradientVarianceKey = "gradient_variance";  // tr(Sigma), of one sample's gradient

inline constexpr int kMostNoiseGroups = 8;

// Which parameters are reported together. Names: the parameters' first word ("layer1"; "features.3" where the network has few first
// words); norms go with the layer before them; of more than eight, neighbours are joined ("inception3a..inception4b").
struct NoiseGroups {
  std::vector<std::string> names;  // in forward order, at most kMostNoiseGroups
  std::vector<int> of_parameter;   // by parameter id
};
NoiseGroups noise_groups(const std::vector<Parameter*>& parameters);

// Whether, from what and how often a run measures: a function of config, plan and network.
struct NoisePlan {
  std::string why_not;            // empty: it does
  int part_shards = 1;            // shards of one part: what one batch norm sees
  int parts = 0;                  // n
  double part_batch = 0;          // b, samples
  double batch = 0;               // B
  std::int64_t every_steps = 1;   // steps that are multiples of it: reading the gradients stays below 0.5 % of a step's work

  bool available() const { return why_not.empty(); }
  bool measures(std::int64_t step) const { return available() && step % every_steps == 0; }
  std::string describe() const;   // for the banner
};
NoisePlan plan_noise(const proto::Config& config, const RunPlan& plan, const Model& model);

// One step's squared lengths by group, of gradients that are means over their samples.
struct GradientSquares {
  bool measured = false;
  std::array<double, kMostNoiseGroups> part{};  // mean over the parts
  std::array<double, kMostNoiseGroups> mean{};  // of the mean gradient
};

struct NoiseEstimate {
  double norm2 = 0;      // |G|^2; one step's may be negative
  double variance = 0;   // tr(Sigma)
  double critical_batch() const;  // NaN unless both are positive
};
NoiseEstimate estimate_noise(double part_square, double mean_square, double part_batch, double batch);

class NoiseScale {
 public:
  // Of a plan that is available.
  NoiseScale(const NoisePlan& plan, std::vector<std::string> groups);

  // Steps that were not measured or are not finite change nothing.
  void add(const GradientSquares& squares);
  bool measured() const { return weight_ > 0; }  // ever

  // Exponential averages over about the last hundred measured steps; in all, or of one group.
  NoiseEstimate smoothed() const;
  NoiseEstimate smoothed(int group) const;
  // Means over the measured steps since the last begin_epoch().
  NoiseEstimate epoch_mean() const;
  NoiseEstimate epoch_mean(int group) const;
  std::int64_t epoch_steps() const { return static_cast<std::int64_t>(epoch_steps_); }
  void begin_epoch();

  const std::vector<std::string>& groups() const { return groups_; }
  // "critical batch now ~ 1,900 (you use 512)": two digits, from the smoothed values.
  std::string describe() const;

  // All sums, for the checkpoint: a run that goes on from them reports the same bits. Names begin with "noise.".
  void save(std::map<std::string, double>& accumulators) const;
  void restore(const std::map<std::string, double>& accumulators);

 private:
  struct Sums {
    double norm2 = 0, variance = 0;          // exponential, to be divided by weight_
    double epoch_norm2 = 0, epoch_variance = 0;
  };
  template <class Self, class Visit>
  static void visit(Self& self, const Visit& visit);  // (name, double&) of everything that is kept
  template <class Member>
  NoiseEstimate over_groups(Member norm2, Member variance, double weight) const;

  NoisePlan plan_;
  std::vector<std::string> groups_;
  std::vector<Sums> sums_;                   // by group
  double weight_ = 0;                        // of the exponential averages: 1 - decay^steps
  double epoch_steps_ = 0;
};

std::string round_batch(double batch);      // the critical batch with two digits: "1,900"

}  // namespace lockstep
