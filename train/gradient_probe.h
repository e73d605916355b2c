// GradientProbe: squared lengths of the parts' gradients (train/noise_scale.h), taken while the reducer still has them apart.
//
// They travel with the step as one late total (distributed/bucket_plan.h): an element for each piece, the parameters of one group in one
// bucket, summed over shards along the reduction's tree, so that EXACT reduction gives the same bits at any number of ranks. Nothing
// is written but that entry: the training's bits don't change. On a device all of it is work on the compute stream, and may be
// recorded; measured and other steps are different work.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "distributed/gradient_reducer.h"
#include "train/network.h"
#include "train/noise_scale.h"
#include "train/step_entries.h"

namespace lockstep {

class GradientProbe {
 public:
  // `plan` is available. Adds the probe's entry to `entries`, of which the reducer is then made with the same options.
  GradientProbe(Network& network, const NoisePlan& plan, StepEntries& entries, const ReducerOptions& options);
  GradientProbe(const GradientProbe&) = delete;
  GradientProbe& operator=(const GradientProbe&) = delete;
  void attach(GradientReducer& reducer);  // before the first step; it must outlive the probe

  // After the reducer's begin_step. Steps that are not measured send zeros.
  void begin_step(std::int64_t step);
  // When all gradients of the shard's part were marked ready.
  void close(int shard);

  // On the host, after finish(): what the step has measured. `mean_squares`: of the mean gradient, by parameter.
  GradientSquares squares(std::span<const double> mean_squares) const;

  // On a device, after finish(): queues what the step has measured, for a copy to the host of device_squares().
  void collect();
  const Tensor& device_squares() const { return device_squares_; }  // f64
  // From that copy. `loss_scale`: of the step.
  GradientSquares squares(std::int64_t step, std::span<const double> copy, double loss_scale) const;

 private:
  struct Piece {
    int bucket, group;
    std::vector<int> entries;
  };
  void list_pieces(const BucketPlan& plan);
  void measure(int bucket, int first);
  void squared_norm(std::span<const ConstView> tensors, Tensor result);
  void add_parts(std::span<const double> pieces, double scale, GradientSquares& squares) const;
  std::size_t group_count() const { return groups_.names.size(); }

  Network& network_;
  const NoisePlan plan_;
  const NoiseGroups groups_;
  Stream stream_;
  int entry_ = 0;
  std::vector<Piece> pieces_;
  GradientReducer* reducer_ = nullptr;
  bool measured_ = false;
  std::vector<ConstView> views_;  // of one call, kept for its memory
  Tensor device_squares_;         // pieces, then groups of the mean gradient
};

// Null if the plan is not available.
std::unique_ptr<GradientProbe> make_gradient_probe(Network& network, const NoisePlan& plan, StepEntries& entries, const ReducerOptions& options);

}  // namespace lockstep
