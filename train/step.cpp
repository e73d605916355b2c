// SPDX-License-Identifier: Apache-2.0
#include "train/step.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/trace.h"
#include "distributed/norm_sync_group.h"
#include "distributed/shard_crew.h"
#include "proto/config.pb.h"
#include "train/clock.h"
#include "train/device_step.h"
#include "train/gradient_probe.h"
#include "train/shard_pass.h"
#include "train/step_entries.h"
#include "train/stop_request.h"

namespace lockstep {
namespace {

class HostStepRunner final : public StepRunner {
 public:
  HostStepRunner(const proto::Config& config, const RunPlan& plan, Network& network, SgdOptimizer& optimizer, WeightAverage* average,
                 Communicator& comm)
      : plan_(plan),
        network_(network),
        optimizer_(optimizer),
        average_(average),
        comm_(comm),
        seed_(config.seed()),
        entries_(*network.model),
        probe_(make_gradient_probe(network, plan_noise(config, plan, *network.model), entries_,
                                   reducer_options(config.distributed(), plan.shards, {}))),
        reducer_(comm, entries_.list, reducer_options(config.distributed(), plan.shards, {})),
        crew_(plan.norm_shards > 1 ? plan.shards_per_rank : 1) {
    if (probe_) probe_->attach(reducer_);
    if (plan.norm_shards > 1) norm_sync_.emplace(comm, crew_, plan.shards, plan.norm_shards);
    const int passes = plan.norm_shards > 1 ? plan.shards_per_rank : 1;  // without norm sync one pass serves all shards
    for (int i = 0; i < passes; ++i)
      passes_.push_back(std::make_unique<ShardPass>(network, config.loss().label_smoothing(),
                                                    norm_sync_ ? &norm_sync_->shard(i) : nullptr));
    for (int i = 0; i < plan.shards_per_rank; ++i) sinks_.emplace_back(reducer_, i, entries_, true);
  }

  void submit(std::int64_t step, double lr, Loader& loader) override {
    const TraceScope trace(SpanKind::kPhase, "step", step);
    StepResult result{.step = step, .lr = lr};
    reducer_.begin_step(step);
    if (probe_) probe_->begin_step(step);
    if (norm_sync_) {
      run_crew(step, loader, result.times);
    } else {
      for (int shard = 0; shard < plan_.shards_per_rank; ++shard) {
        const Batch batch = next_batch(step, loader, result.times);
        run_shard(step, shard, {batch.images(), batch.labels(), batch.mix()}, result.times);
        if (probe_) probe_->close(shard);
      }
    }
    comm_.set_activity(step, "reduction");
    result.times.reduce_ns = reduce(step);
    read_totals(result);
    comm_.set_activity(step, "update");
    const TraceScope update_trace(SpanKind::kPhase, "update", step);
    update(lr, result);
    result_ = result;
  }

  std::optional<StepResult> take(bool) override { return std::exchange(result_, std::nullopt); }

 private:
  std::int64_t first_non_finite_gradient() {
    Tensor norm = Tensor::zeros({1}, DType::kF64);
    for (const Parameter* parameter : network_.model->parameters()) {
      const Tensor gradient = reducer_.result(parameter->id);
      const ConstView view = gradient;
      network_.kernels->squared_norm({}, std::span(&view, 1), norm);
      if (!std::isfinite(norm.host<double>()[0])) return parameter->id;
    }
    return -1;
  }

  Batch next_batch(std::int64_t step, Loader& loader, StepTimes& times) {
    const TraceScope trace(SpanKind::kPhase, "data", step);
    comm_.set_activity(step, "waiting for data");
    const std::int64_t begin = steady_ns();
    Batch batch = loader.next();
    times.data_ns += steady_ns() - begin;
    comm_.set_activity(step, "forward and backward");
    return batch;
  }

  void run_shard(std::int64_t step, int shard, const ShardBatch& batch, StepTimes& times) {
    ShardPass& pass = *passes_[passes_.size() > 1 ? static_cast<std::size_t>(shard) : 0];
    ShardSink& sink = sinks_[static_cast<std::size_t>(shard)];
    const int global_shard = plan_.first_shard(comm_.rank()) + shard;
    const auto after_forward = [&](const Tensor& sums) { report_totals(sink, read_sums(sums)); };
    pass.train(batch, seed_, step, global_shard, sink, sink, after_forward, times);
  }

  // Batch norm meets the other shards inside forward and backward, so all local shards are under way at once.
  void run_crew(std::int64_t step, Loader& loader, StepTimes& times) {
    std::vector<Batch> batches;
    for (int shard = 0; shard < plan_.shards_per_rank; ++shard) batches.push_back(next_batch(step, loader, times));
    std::vector<StepTimes> shard_times(batches.size());
    norm_sync_->begin_step();
    crew_.run([&](int shard) {
      const Batch& batch = batches[static_cast<std::size_t>(shard)];
      run_shard(step, shard, {batch.images(), batch.labels(), batch.mix()}, shard_times[static_cast<std::size_t>(shard)]);
    });
    for (int shard = 0; probe_ && shard < plan_.shards_per_rank; ++shard) probe_->close(shard);
    // The shards' clocks overlap (each runs while others wait): take the longest.
    for (const StepTimes& each : shard_times) {
      times.forward_ns = std::max(times.forward_ns, each.forward_ns);
      times.backward_ns = std::max(times.backward_ns, each.backward_ns);
    }
  }

  // Waits for the buckets; the time that this took.
  std::int64_t reduce(std::int64_t step) {
    const TraceScope trace(SpanKind::kPhase, "reduce", step);
    const ReduceReport& report = reducer_.finish();
    if (trace_enabled() && comm_.size() > 1)
      for (const BucketReport& bucket : report.buckets)
        record_span({"bucket", SpanKind::kBucket, bucket.times.started_ns, bucket.times.done_ns, static_cast<std::int64_t>(bucket.nbytes),
                     bucket.times.submitted_ns});
    return report.exposed_wait_ns;
  }

  static void report_totals(ShardSink& sink, const ShardSums& sums) {
    Tensor totals = sink.totals();
    const auto values = totals.host<double>();
    values[kLoss] = sums.loss;
    values[kTop1] = sums.top1;
    values[kTop5] = sums.top5;
    values[kCount] = sums.count;
    values[kStopVotes] = stop_requested() ? 1 : 0;
    sink.mark_observed();
  }

  void read_totals(StepResult& result) {
    const Tensor totals = reducer_.result(entries_.totals);
    const auto values = totals.host<double>();
    result.loss = values[kLoss] / values[kCount];
    result.top1 = values[kTop1] / values[kCount];
    result.top5 = values[kTop5] / values[kCount];
    result.stop = values[kStopVotes] > 0;
  }

  void update(double lr, StepResult& result) {
    const std::int64_t begin = steady_ns();
    Kernels& kernels = *network_.kernels;
    const auto gradient = [this](const Parameter& parameter) { return reducer_.result(parameter.id); };
    result.grad_norm = optimizer_.gradient_norm(kernels, {}, gradient);
    if (probe_) result.squares = probe_->squares(optimizer_.gradient_squares());
    result.finite = std::isfinite(result.loss) && std::isfinite(result.grad_norm);
    if (result.finite) {
      optimizer_.step(kernels, {}, lr, result.grad_norm, gradient);
      for (Buffer* buffer : network_.model->buffers())
        kernels.moving_average({}, reducer_.result(entries_.first_buffer + buffer->id), buffer->momentum, buffer->value);
      if (average_ != nullptr) average_->update(kernels, {}, result.step);
    } else {
      result.first_bad = first_non_finite_gradient();
    }
    result.times.update_ns = steady_ns() - begin;
  }

  const RunPlan& plan_;
  Network& network_;
  SgdOptimizer& optimizer_;
  WeightAverage* const average_;  // may be null
  Communicator& comm_;
  std::uint64_t seed_;
  StepEntries entries_;
  const std::unique_ptr<GradientProbe> probe_;  // null: the noise scale is not measured
  GradientReducer reducer_;
  ShardCrew crew_;
  std::optional<NormSyncGroup> norm_sync_;
  std::vector<std::unique_ptr<ShardPass>> passes_;
  std::vector<ShardSink> sinks_;
  std::optional<StepResult> result_;
};

}  // namespace

std::unique_ptr<StepRunner> make_step_runner(const proto::Config& config, const RunPlan& plan, Network& network, SgdOptimizer& optimizer,
                                             WeightAverage* average, Communicator& comm) {
  if (network.kernels->device() != Device{}) return make_device_step_runner(config, plan, network, optimizer, average, comm);
  return std::make_unique<HostStepRunner>(config, plan, network, optimizer, average, comm);
}

}  // namespace lockstep
