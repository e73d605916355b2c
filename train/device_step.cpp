// SPDX-License-Identifier: Apache-2.0
#include "train/device_step.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "core/accelerator.h"
#include "core/error.h"
#include "core/trace.h"
#include "cuda/cuda_backend.h"
#include "proto/config.pb.h"
#include "train/clock.h"
#include "train/gradient_probe.h"
#include "train/shard_pass.h"
#include "train/step_entries.h"
#include "train/stop_request.h"

namespace lockstep {
namespace {

constexpr int kSlots = 2;       // steps under way
constexpr int kMostShards = 512;  // of a rank: their images are all on the device at once, and a recording holds all their work
constexpr int kEagerSteps = 2;  // of each kind, before recording: they make plans, tables and memory

StepControl& control_in(Tensor& pinned) { return *static_cast<StepControl*>(pinned.ptr()); }

Tensor control_tensor(MemoryPool& pool) { return Tensor::empty_in(pool, {static_cast<std::int64_t>(sizeof(StepControl))}, DType::kU8); }

ShardBatch batch_like(const ShardBatch& batch, Device device) {
  const auto like = [device](const Tensor& tensor) { return tensor ? Tensor::empty(tensor.shape(), tensor.dtype(), device) : Tensor(); };
  return {like(batch.images), like(batch.labels), like(batch.mix)};
}

// What a kind of step gives out, eagerly at first.
struct StepWork {
  int eager_steps = 0;
  std::unique_ptr<RecordedWork> recorded;
};

// One step under way.
struct Slot {
  Tensor set, results;             // StepControl in page-locked memory: what the host sets, what came back
  Tensor squares;                  // page-locked: what the probe measured
  std::vector<Batch> batches;      // the loader's, until they are staged
  std::vector<ShardBatch> staging;  // on the device
  Event staged, consumed, begun, done;
  bool under_way = false;
  StepResult result;
};

class DeviceStepRunner final : public StepRunner {
 public:
  DeviceStepRunner(const proto::Config& config, const RunPlan& plan, Network& network, SgdOptimizer& optimizer, WeightAverage* average,
                   Communicator& comm)
      : plan_(plan),
        network_(network),
        optimizer_(optimizer),
        average_(average),
        comm_(comm),
        seed_(config.seed()),
        device_(network.kernels->device()),
        accelerator_(accelerator_of(device_)),
        compute_(accelerator_.compute_stream()),
        copies_(accelerator_.new_stream()),
        pass_pool_(accelerator_.make_pool()),
        entries_(*network.model),
        noise_(plan_noise(config, plan, *network.model)),
        probe_(make_gradient_probe(network, noise_, entries_, reducer_options(config.distributed(), plan.shards, device_))),
        reducer_(comm, entries_.list, reducer_options(config.distributed(), plan.shards, device_)),
        pass_(network, config.loss().label_smoothing(), nullptr),
        rule_(optimizer.rule()),
        graphs_(config.cuda().graphs() && comm.on_device()) {
    rule_.scaling = {.enabled = network.dtype == DType::kF16,
                     .growth_steps = static_cast<double>(config.loss_scaling().growth_steps()),
                     .floor = config.loss_scaling().floor()};
    for (int i = 0; i < plan.shards_per_rank; ++i) sinks_.emplace_back(reducer_, i, entries_, false);
    if (probe_) probe_->attach(reducer_);
    comm.use_device(device_, cuda_report().gpus.at(static_cast<std::size_t>(device_.index)).pci_bus_id);
    make_slots();
    make_control();
  }

  ~DeviceStepRunner() override {
    network_.kernels->attach_control({});
    for (const Stream stream : {compute_, copies_}) {  // what is under way uses our memory
      try {
        accelerator_.synchronize(stream);
      } catch (const Error&) {  // it was told before, or nobody is left to be told
      }
    }
  }

  void submit(std::int64_t step, double lr, Loader& loader) override {
    check_urgent_stop();
    const TraceScope trace(SpanKind::kPhase, "step", step);
    Slot& slot = slots_[static_cast<std::size_t>(submitted_ % kSlots)];
    LS_CHECK(!slot.under_way, "a third step was given out before the first one's result was taken");
    slot.result = {.step = step, .lr = lr};
    stage(slot, step, loader);
    comm_.set_activity(step, "giving out the step");
    accelerator_.record(slot.begun, compute_);
    take_inputs(slot);
    set_control(slot);
    const std::int64_t begin = steady_ns();
    const bool replayed = run_step(step, slot.result.times);
    if (average_ != nullptr) average_->update(*network_.kernels, compute_, step, control_);
    slot.result.times.forward_ns = steady_ns() - begin;
    accelerator_.copy(compute_, slot.results.ptr(), control_.ptr(), sizeof(StepControl));
    if (probe_) accelerator_.copy(compute_, slot.squares.ptr(), probe_->device_squares().ptr(), slot.squares.nbytes());
    accelerator_.record(slot.done, compute_);
    if (replayed) comm_.watch(step);
    slot.under_way = true;
    ++submitted_;
  }

  std::optional<StepResult> take(bool all) override {
    const std::int64_t under_way = submitted_ - taken_;
    if (under_way == 0 || (under_way < kSlots && !all)) return std::nullopt;
    Slot& slot = slots_[static_cast<std::size_t>(taken_ % kSlots)];
    comm_.set_activity(slot.result.step, "step on the GPU");
    const std::int64_t begin = steady_ns();
    accelerator_.synchronize(slot.done);
    comm_.check();  // a device whose peer is lost ends its work, with worthless results
    slot.result.times.backward_ns = steady_ns() - begin;
    slot.result.times.device_ns = static_cast<std::int64_t>(accelerator_.elapsed_ms(slot.begun, slot.done) * 1e6);
    slot.batches.clear();  // long since staged: the loader gets them back
    slot.under_way = false;
    ++taken_;
    read_results(slot);
    return slot.result;
  }

  std::size_t device_peak_bytes() const override { return pool_of(device_).stats().peak_bytes + pass_pool_->stats().peak_bytes; }
  MemoryPool* pass_pool() override { return pass_pool_.get(); }
  void use_recording(bool on) override { use_recording_ = on; }

 private:
  void make_slots() {
    MemoryPool& pinned = accelerator_.pinned_pool();
    for (Slot& slot : slots_) {
      slot.set = control_tensor(pinned);
      slot.results = control_tensor(pinned);
      if (probe_) slot.squares = Tensor::empty_in(pinned, probe_->device_squares().shape(), DType::kF64);
      for (Event* event : {&slot.staged, &slot.consumed, &slot.begun, &slot.done}) *event = accelerator_.new_event();
    }
  }

  void make_control() {
    StepControl& start = control_in(slots_[0].set);
    start = {};
    start.loss_scale = rule_.scaling.enabled ? network_.loss_scale.scale : 1;
    start.good_steps = static_cast<std::uint64_t>(network_.loss_scale.good_steps);
    start.skipped = static_cast<std::uint64_t>(network_.loss_scale.skipped);
    control_ = control_tensor(pool_of(device_));
    accelerator_.copy(compute_, control_.ptr(), &start, sizeof start);
    accelerator_.synchronize(compute_);
    network_.kernels->attach_control(control_);
  }

  // Copies this step's batches to the device on a stream of their own: they travel while the step before computes.
  void stage(Slot& slot, std::int64_t step, Loader& loader) {
    for (Slot& each : slots_) {  // the loader gets back what has been copied
      if (each.batches.empty()) continue;
      accelerator_.synchronize(each.staged);
      each.batches.clear();
    }
    accelerator_.wait(copies_, slot.consumed);
    for (int shard = 0; shard < plan_.shards_per_rank; ++shard) {
      const Batch& loaded = slot.batches.emplace_back(next_batch(step, loader, slot.result.times));
      const ShardBatch batch{loaded.images(), loaded.labels(), loaded.mix()};
      const auto index = static_cast<std::size_t>(shard);
      if (slot.staging.size() <= index) slot.staging.push_back(batch_like(batch, device_));
      if (inputs_.size() <= index) inputs_.push_back(batch_like(batch, device_));
      copy_batch(copies_, batch, slot.staging[index]);
    }
    accelerator_.record(slot.staged, copies_);
  }

  void copy_batch(Stream stream, const ShardBatch& from, ShardBatch& to) {
    copy_part(stream, from.images, to.images);
    copy_part(stream, from.labels, to.labels);
    if (to.mix) copy_part(stream, from.mix, to.mix);
  }
  void copy_part(Stream stream, const Tensor& from, Tensor& to) {
    LS_CHECK(from.shape() == to.shape(), "a batch of " + from.shape().str() + " after " + to.shape().str() + ": another size needs a new runner");
    accelerator_.copy(stream, to.ptr(), from.ptr(), from.nbytes());
  }

  Batch next_batch(std::int64_t step, Loader& loader, StepTimes& times) {
    comm_.set_activity(step, "waiting for data");
    const std::int64_t begin = steady_ns();
    Batch batch = loader.next();
    times.data_ns += steady_ns() - begin;
    return batch;
  }

  // Recorded work reads fixed addresses, so the staged images move once more: some microseconds of device memory's time.
  void take_inputs(Slot& slot) {
    accelerator_.wait(compute_, slot.staged);
    for (std::size_t i = 0; i < inputs_.size(); ++i) copy_batch(compute_, slot.staging[i], inputs_[i]);
    accelerator_.record(slot.consumed, compute_);
  }

  void set_control(Slot& slot) {
    StepControl& set = control_in(slot.set);
    set.lr = slot.result.lr;
    set.step = static_cast<std::uint64_t>(slot.result.step);
    set.stop_votes = stop_requested() ? 1 : 0;
    accelerator_.copy(compute_, control_.ptr(), slot.set.ptr(), kHostSetBytes);
  }

  // Whether it was a replay.
  bool run_step(std::int64_t step, StepTimes& times) {
    StepWork& work = works_[noise_.measures(step) ? 1 : 0];
    const bool record = graphs_ && use_recording_ && work.eager_steps >= kEagerSteps;
    if (!record) {
      ++work.eager_steps;
      give_out(step, times);
      return false;
    }
    if (!work.recorded) work.recorded = record_step(step, times);
    accelerator_.replay(compute_, *work.recorded);
    return true;
  }

  std::unique_ptr<RecordedWork> record_step(std::int64_t step, StepTimes& times) {
    comm_.begin_recorded_step();
    accelerator_.begin_recording(compute_);
    try {
      give_out(step, times);
    } catch (...) {
      try {
        accelerator_.end_recording(compute_);  // or the stream would stay of no use
      } catch (const Error&) {                 // the first error is the one to be told
      }
      throw;
    }
    auto recorded = accelerator_.end_recording(compute_);
    comm_.end_recorded_step();
    return recorded;
  }

  void give_out(std::int64_t step, StepTimes& times) {
    const PoolScope scope(*pass_pool_);
    Kernels& kernels = *network_.kernels;
    reducer_.begin_step(step);
    if (probe_) probe_->begin_step(step);
    if (rule_.scaling.enabled) kernels.convert(compute_, loss_scale(), pass_.seed_gradient());
    for (int shard = 0; shard < plan_.shards_per_rank; ++shard) {
      ShardSink& sink = sinks_[static_cast<std::size_t>(shard)];
      pass_.train(inputs_[static_cast<std::size_t>(shard)], seed_, 0, plan_.first_shard(comm_.rank()) + shard, sink, sink,
                  [&](const Tensor& sums) { report_totals(sink, sums); }, times);
      if (probe_) probe_->close(shard);
    }
    const ReduceReport& report = reducer_.finish();
    times.reduce_ns += report.exposed_wait_ns;
    if (probe_) probe_->collect();
    averages_.clear();
    for (Buffer* buffer : network_.model->buffers())
      averages_.push_back({buffer->value, reducer_.result(entries_.first_buffer + buffer->id), buffer->momentum});
    const auto gradient = [this](const Parameter& parameter) { return reducer_.result(parameter.id); };
    kernels.finish_step(compute_, optimizer_.tensors(gradient), averages_, reducer_.result(entries_.totals), rule_, control_);
  }

  // The control's loss scale, as a scalar. The step's number is the control's too: dropout adds it to its key.
  Tensor loss_scale() const { return control_.view({}, DType::kF64, offsetof(StepControl, loss_scale)); }

  void report_totals(ShardSink& sink, const Tensor& sums) {
    Tensor totals = sink.totals();
    accelerator_.copy(compute_, totals.ptr(), sums.ptr(), kStopVotes * sizeof(double));
    const Tensor votes = control_.view({}, DType::kF64, offsetof(StepControl, stop_votes));
    accelerator_.copy(compute_, totals.view({}, DType::kF64, kStopVotes * sizeof(double)).ptr(), votes.ptr(), sizeof(double));
    sink.mark_observed();
  }

  void read_results(Slot& slot) {
    const StepControl& control = control_in(slot.results);
    StepResult& result = slot.result;
    const bool shown = control.done_step == static_cast<std::uint64_t>(result.step);
    LS_CHECK(shown, "results of step " + std::to_string(control.done_step) + ", want " + std::to_string(result.step));
    result.loss = control.totals[kLoss] / control.totals[kCount];
    result.top1 = control.totals[kTop1] / control.totals[kCount];
    result.top5 = control.totals[kTop5] / control.totals[kCount];
    result.stop = control.totals[kStopVotes] > 0;
    result.grad_norm = control.grad_norm;
    result.finite = control.finite != 0;
    result.skipped = !result.finite && control.halted == 0;
    result.first_bad = control.first_bad;
    // Without loss scaling the control's scale stays 1; with it, network_.loss_scale is still the one that this step used.
    const double scale = rule_.scaling.enabled ? network_.loss_scale.scale : 1;
    if (probe_) result.squares = probe_->squares(result.step, std::as_const(slot.squares).host<double>(), scale);
    if (rule_.scaling.enabled) {
      result.loss_scale = network_.loss_scale.scale;
      network_.loss_scale = {control.loss_scale, static_cast<std::int64_t>(control.good_steps), static_cast<std::int64_t>(control.skipped)};
    }
    result.skipped_steps = static_cast<std::int64_t>(control.skipped);
  }

  const RunPlan& plan_;
  Network& network_;
  SgdOptimizer& optimizer_;
  WeightAverage* const average_;  // may be null
  Communicator& comm_;
  const std::uint64_t seed_;
  const Device device_;
  Accelerator& accelerator_;
  const Stream compute_, copies_;
  const std::unique_ptr<MemoryPool> pass_pool_;  // of what the bracketed work takes: recorded, it stays the work's own
  StepEntries entries_;
  const NoisePlan noise_;
  const std::unique_ptr<GradientProbe> probe_;  // null: the noise scale is not measured
  GradientReducer reducer_;
  ShardPass pass_;
  UpdateRule rule_;
  const bool graphs_;
  bool use_recording_ = true;
  std::vector<ShardSink> sinks_;
  std::vector<ShardBatch> inputs_;  // one per shard of this rank
  std::vector<AverageTensor> averages_;
  Tensor control_;
  std::array<Slot, kSlots> slots_;
  std::int64_t submitted_ = 0, taken_ = 0;
  std::array<StepWork, 2> works_;  // of steps that don't measure the noise scale, and of those that do
};

}  // namespace

std::unique_ptr<StepRunner> make_device_step_runner(const proto::Config& config, const RunPlan& plan, Network& network,
                                                    SgdOptimizer& optimizer, WeightAverage* average, Communicator& comm) {
  if (plan.shards_per_rank > kMostShards)
    throw UserError("batch.shard_batch: a step on a GPU has at most " + std::to_string(kMostShards) + " shards per rank, got " +
                    std::to_string(plan.shards_per_rank) + " (global_batch / shard_batch / ranks): raise shard_batch, or start more ranks");
  return std::make_unique<DeviceStepRunner>(config, plan, network, optimizer, average, comm);
}

}  // namespace lockstep
