// SPDX-License-Identifier: Apache-2.0
#include "train/step_entries.h"

#include "proto/config.pb.h"
#include "train/stop_request.h"

namespace lockstep {

StepEntries::StepEntries(const Model& model)
    : first_buffer(static_cast<int>(model.parameters().size())),
      buffers(static_cast<int>(model.buffers().size())),
      totals(first_buffer + buffers) {
  for (const Parameter* parameter : model.parameters())
    list.push_back({parameter->name, parameter->value.shape(), parameter->value.dtype(), EntryKind::kGradient});
  for (const Buffer* buffer : model.buffers())
    list.push_back({buffer->name, buffer->value.shape(), buffer->value.dtype(), EntryKind::kObservation});
  list.push_back({"step totals", Shape{kTotals}, DType::kF64, EntryKind::kTotal});
}

std::size_t gradient_bytes(const Model& model) {
  std::size_t total = 0;
  for (const Parameter* parameter : model.parameters()) total += parameter->value.nbytes();
  return total;
}

ReducerOptions reducer_options(const proto::Distributed& config, int shards, Device device) {
  constexpr double kMiB = 1024 * 1024;
  return {.shards = shards,
          .order = config.reduction() == proto::Distributed::EXACT ? ReduceOrder::kFixedTree : ReduceOrder::kFast,
          .wire = config.wire() == proto::Distributed::BF16 ? WireFormat::kBF16 : WireFormat::kNative,
          .first_bucket_bytes = static_cast<std::size_t>(config.first_bucket_mb() * kMiB),
          .bucket_bytes = static_cast<std::size_t>(config.bucket_mb() * kMiB),
          .device = device};
}

void ShardSink::mark_ready(const Parameter& parameter) {
  if (may_give_up_) check_urgent_stop();
  reducer_.mark_ready(shard_, parameter.id);
}

Tensor ShardSink::observation(const Buffer& buffer) {
  if (may_give_up_) check_urgent_stop();
  return reducer_.gradient(shard_, entries_.first_buffer + buffer.id);
}

void ShardSink::mark_observed() {
  for (int id = entries_.first_buffer; id < entries_.totals; ++id) reducer_.mark_ready(shard_, id);
  reducer_.mark_ready(shard_, entries_.totals);
}

}  // namespace lockstep
