// SPDX-License-Identifier: Apache-2.0
#include "train/gradient_probe.h"

#include <algorithm>

#include "core/accelerator.h"
#include "core/error.h"
#include "distributed/device_memory.h"

namespace lockstep {
namespace {

ConstView view_of(const Tensor& tensor) { return tensor; }

}  // namespace

GradientProbe::GradientProbe(Network& network, const NoisePlan& plan, StepEntries& entries, const ReducerOptions& options)
    : network_(network), plan_(plan), groups_(noise_groups(network.model->parameters())) {
  LS_CHECK(plan.available(), "a probe of a run that does not measure: " + plan.why_not);
  // Late totals come last, so that the gradients' buckets are the same with and without them.
  list_pieces(plan_buckets(entries.list, options.first_bucket_bytes, options.bucket_bytes));
  entry_ = static_cast<int>(entries.list.size());
  const auto pieces = static_cast<std::int64_t>(pieces_.size());
  entries.list.push_back({"squares of gradients", Shape{pieces}, DType::kF64, EntryKind::kLateTotal});
  views_.reserve(network.model->parameters().size());
  const Device device = network.kernels->device();
  if (device == Device{}) return;
  stream_ = accelerator_of(device).compute_stream();
  device_squares_ = lasting_device_memory(Shape{pieces + static_cast<std::int64_t>(group_count())}, DType::kF64, device);
  accelerator_of(device).fill_zero(stream_, device_squares_.ptr(), device_squares_.nbytes());  // copied also after steps that don't measure
}

void GradientProbe::list_pieces(const BucketPlan& plan) {
  for (int b = 0; b < static_cast<int>(plan.buckets.size()); ++b) {
    const Bucket& bucket = plan.buckets[static_cast<std::size_t>(b)];
    if (bucket.kind != EntryKind::kGradient) continue;
    const std::size_t first = pieces_.size();
    for (const BucketSlice& slice : bucket.slices) {
      const int group = groups_.of_parameter[static_cast<std::size_t>(slice.entry)];
      const auto same = [&](const Piece& piece) { return piece.group == group; };
      auto piece = std::find_if(pieces_.begin() + static_cast<std::ptrdiff_t>(first), pieces_.end(), same);
      if (piece == pieces_.end()) piece = pieces_.insert(pieces_.end(), {b, group, {}});
      piece->entries.push_back(slice.entry);
    }
  }
}

void GradientProbe::attach(GradientReducer& reducer) {
  reducer_ = &reducer;
  reducer.observe({.shards = plan_.part_shards, .seen = [this](int bucket, int first) {
                     if (measured_) measure(bucket, first);
                   }});
}

void GradientProbe::begin_step(std::int64_t step) { measured_ = plan_.measures(step); }

void GradientProbe::squared_norm(std::span<const ConstView> tensors, Tensor result) {
  network_.kernels->squared_norm(stream_, tensors, result);
}

void GradientProbe::measure(int bucket, int first) {
  const Tensor sums = reducer_->gradient(first, entry_);
  for (std::size_t p = 0; p < pieces_.size(); ++p) {
    if (pieces_[p].bucket != bucket) continue;
    views_.clear();
    for (const int id : pieces_[p].entries) views_.push_back(view_of(reducer_->part_gradient(first, id)));
    squared_norm(views_, sums.view({1}, DType::kF64, p * sizeof(double)));
  }
}

// The part's squares stand in its first shard's entry.
void GradientProbe::close(int shard) {
  Tensor sums = reducer_->gradient(shard, entry_);
  if (!measured_ || shard % plan_.part_shards != 0) {
    if (device_squares_)
      accelerator_of(device_squares_.device()).fill_zero(stream_, sums.ptr(), sums.nbytes());
    else
      std::ranges::fill(sums.host<double>(), 0.0);
  }
  reducer_->mark_ready(shard, entry_);
}

// A part's gradient is the mean over its shards, what was measured their sum.
void GradientProbe::add_parts(std::span<const double> pieces, double scale, GradientSquares& squares) const {
  const double divisor = static_cast<double>(plan_.parts) * plan_.part_shards * plan_.part_shards;
  for (std::size_t p = 0; p < pieces_.size(); ++p) squares.part[static_cast<std::size_t>(pieces_[p].group)] += pieces[p] / divisor * scale;
}

GradientSquares GradientProbe::squares(std::span<const double> mean_squares) const {
  GradientSquares squares{.measured = measured_};
  if (!measured_) return squares;
  const Tensor sums = reducer_->result(entry_);
  add_parts(sums.host<double>(), 1, squares);
  for (std::size_t i = 0; i < mean_squares.size(); ++i) squares.mean[static_cast<std::size_t>(groups_.of_parameter[i])] += mean_squares[i];
  return squares;
}

void GradientProbe::collect() {
  if (!measured_) return;
  const Tensor sums = reducer_->result(entry_);
  accelerator_of(sums.device()).copy(stream_, device_squares_.ptr(), sums.ptr(), sums.nbytes());
  for (std::size_t g = 0; g < group_count(); ++g) {
    views_.clear();
    for (std::size_t i = 0; i < groups_.of_parameter.size(); ++i)
      if (groups_.of_parameter[i] == static_cast<int>(g)) views_.push_back(view_of(reducer_->result(static_cast<int>(i))));
    squared_norm(views_, device_squares_.view({1}, DType::kF64, (pieces_.size() + g) * sizeof(double)));
  }
}

GradientSquares GradientProbe::squares(std::int64_t step, std::span<const double> copy, double loss_scale) const {
  GradientSquares squares{.measured = plan_.measures(step)};
  if (!squares.measured) return squares;
  const double unscale = 1 / (loss_scale * loss_scale);
  add_parts(copy.first(pieces_.size()), unscale, squares);
  for (std::size_t g = 0; g < group_count(); ++g) squares.mean[g] = copy[pieces_.size() + g] * unscale;
  return squares;
}

std::unique_ptr<GradientProbe> make_gradient_probe(Network& network, const NoisePlan& plan, StepEntries& entries, const ReducerOptions& options) {
  return plan.available() ? std::make_unique<GradientProbe>(network, plan, entries, options) : nullptr;
}

}  // namespace lockstep
