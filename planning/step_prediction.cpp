// SPDX-License-Identifier: Apache-2.0
#include "planning/step_prediction.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "core/error.h"
#include "distributed/gradient_reducer.h"
#include "train/step_entries.h"

namespace lockstep {
namespace {

std::size_t count_norms(const Model& model) {
  // Two buffers each: running mean and variance.
  return model.buffers().size() / 2;
}

// Batch norm's statistics are two numbers per channel; what they cost is the messages, not the bytes.
double norm_sync_seconds(const Model& model, const StepJob& job, const ClusterDescription& cluster) {
  if (job.norm_ranks <= 1) return 0;
  double bytes = 0;
  for (const Buffer* buffer : model.buffers()) bytes += static_cast<double>(buffer->value.nbytes());
  const auto norms = static_cast<double>(count_norms(model));
  if (norms == 0) return 0;
  const double each = plan_all_reduce(cluster, job.order, job.norm_ranks, bytes / norms).seconds;
  return 2 * norms * each;  // forward and backward
}

struct PassTimes {
  double forward_s = 0, backward_s = 0, norm_sync_s = 0;  // of one shard
};

// When each bucket is complete on an undisturbed rank: with its last gradient, in the last shard's backward pass.
std::vector<SimulatedBucket> bucket_times(const Model& model, const ComputeTime& compute, const StepJob& job, const PassTimes& pass,
                                          double backward_begin_s) {
  const StepEntries entries(model);
  const BucketPlan plan = plan_buckets(entries.list, job.first_bucket_bytes, job.bucket_bytes);
  const std::vector<double> ready = gradient_times(model, compute);
  const double stretch = pass.backward_s > 0 ? 1 + 0.5 * pass.norm_sync_s / pass.backward_s : 1;
  std::vector<SimulatedBucket> buckets;
  for (const Bucket& bucket : plan.buckets) {
    double complete = backward_begin_s;  // totals and observations: when the forward pass ends
    if (bucket.kind == EntryKind::kGradient)
      for (const BucketSlice& slice : bucket.slices)
        complete = std::max(complete, backward_begin_s + stretch * ready[static_cast<std::size_t>(slice.entry)]);
    const double share = bucket.kind == EntryKind::kGradient ? job.wire_share : 1;
    buckets.push_back({static_cast<double>(bucket.nbytes) * share, complete});
  }
  return buckets;
}

}  // namespace

double StepPrediction::images_per_second() const {
  return static_cast<double>(job.ranks) * job.shards_per_rank * static_cast<double>(job.shard_batch) / step_s();
}

std::vector<double> gradient_times(const Model& model, const ComputeTime& compute) {
  std::map<std::string, double> done;  // by layer
  double time = 0;
  for (std::size_t i = compute.layers.size(); i-- > 0;) {
    time += compute.layers[i].backward_s;
    done[compute.layers[i].name] = time;
  }
  std::vector<double> times;
  for (const Parameter* parameter : model.parameters()) {
    const auto found = done.find(parameter->name.substr(0, parameter->name.rfind('.')));
    times.push_back(found == done.end() ? time : found->second);
  }
  return times;
}

StepPrediction predict_step(const Model& model, const ComputeTime& compute, const StepJob& job, const std::optional<ClusterDescription>& cluster) {
  check_world_size(std::int64_t{1} * job.ranks * job.shards_per_rank, job.ranks, job.order);
  if (job.ranks > 1 && !cluster)
    throw UserError(fmt::format("{} ranks: how are they joined?\n  name a cluster, e.g. --network dgx_h100", job.ranks));
  const ClusterDescription alone;
  const ClusterDescription& network = cluster ? *cluster : alone;
  const PassTimes pass{compute.forward_s(), compute.backward_s(), norm_sync_seconds(model, job, network)};
  const double shards = job.shards_per_rank;
  StepPrediction result{
      .forward_s = shards * pass.forward_s, .backward_s = shards * pass.backward_s, .norm_sync_s = shards * pass.norm_sync_s, .job = job};
  const double compute_s = compute.overhead_s + result.forward_s + result.backward_s + result.norm_sync_s + (shards - 1) * compute.add_shard_s;
  const double backward_begin_s = compute_s - pass.backward_s - 0.5 * pass.norm_sync_s;
  result.step = {.compute_s = compute_s, .update_s = compute.update_s,
                 .buckets = bucket_times(model, compute, job, pass, backward_begin_s), .overlap = job.overlap};
  result.simulation = simulate(result.step, network,
                               {.ranks = job.ranks, .order = job.order, .steps = job.steps,
                                .straggler_share = cluster ? cluster->straggler_share : 0, .seed = job.seed});
  return result;
}

}  // namespace lockstep
