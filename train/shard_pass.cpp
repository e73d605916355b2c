// SPDX-License-Identifier: Apache-2.0
#include "train/shard_pass.h"

#include "core/accelerator.h"
#include "core/rehearsal.h"
#include "core/trace.h"
#include "ops/mix_images.h"
#include "ops/normalise_image.h"
#include "ops/softmax_cross_entropy.h"
#include "train/clock.h"

namespace lockstep {
ShardSums read_sums(const Tensor& sums) {
  const Tensor host = to_host(sums);
  const auto values = host.host<double>();
  return {values[0], values[1], values[2], values[3]};
}

namespace {

Stream stream_of(const Network& network) {
  const Device device = network.kernels->device();
  return device == Device{} ? Stream{} : accelerator_of(device).compute_stream();
}

Var forward(Context& context, Network& network, const ShardBatch& batch) {
  Tensor input = normalise_image(context, batch.images, network.mean, network.std, network.dtype);
  if (batch.mix) input = mix_images(context, input, batch.mix);
  return network.model->forward(context, Var{input, -1});
}

}  // namespace

ShardPass::ShardPass(Network& network, double label_smoothing, NormSync* norm_sync)
    : network_(network), label_smoothing_(label_smoothing), norm_sync_(norm_sync) {
  const DType dtype = stats_dtype(network.dtype);
  seed_gradient_ = Tensor::zeros({}, dtype);
  if (dtype == DType::kF64) seed_gradient_.host<double>()[0] = 1;
  if (dtype == DType::kF32) seed_gradient_.host<float>()[0] = 1;
  seed_gradient_ = to_device(seed_gradient_, network.kernels->device());
}

void ShardPass::train(const ShardBatch& batch, std::uint64_t seed, std::int64_t step, int shard, GradSink& gradients,
                      ObservationSink& observations, const std::function<void(const Tensor& sums)>& after_forward,
                      StepTimes& times) {
  const std::int64_t begin = steady_ns();
  Context context{.kernels = *network_.kernels,
                  .tape = &tape_,
                  .training = true,
                  .stream = stream_of(network_),
                  .dropout = {seed, RandomPurpose::kDropout, static_cast<std::uint32_t>(step), static_cast<std::uint64_t>(shard) << 32},
                  .norm_sync = norm_sync_,
                  .observations = &observations};
  tape_.reset();
  const Var logits = forward(context, network_, batch);
  const LossResult loss = softmax_cross_entropy(context, logits, batch.labels, label_smoothing_, batch.mix);
  after_forward(loss.sums);
  const std::int64_t middle = steady_ns();
  tape_.backward(loss.loss, seed_gradient_, &gradients);
  tape_.reset();
  const std::int64_t end = steady_ns();
  if (trace_enabled()) {
    record_span({"forward", SpanKind::kPhase, begin, middle, step});
    record_span({"backward", SpanKind::kPhase, middle, end, step});
  }
  times.forward_ns += middle - begin;
  times.backward_ns += end - middle;
}

namespace {

// On its way to the device; `host` must stay as it is until the device's stream has been waited for.
Tensor sent_to(const Tensor& host, Device device) {
  if (device == Device{}) return host;
  Tensor copy = Tensor::empty(host.shape(), host.dtype(), device);
  Accelerator& accelerator = accelerator_of(device);
  accelerator.copy(accelerator.compute_stream(), copy.ptr(), host.ptr(), host.nbytes());
  return copy;
}

}  // namespace

void rehearse_evaluation(Network& network, const Shape& images) {
  const Device device = network.kernels->device();
  const Rehearsal rehearsal(device);
  Context context{.kernels = *network.kernels, .stream = stream_of(network)};
  forward(context, network, {Tensor::empty(images, DType::kU8, device), {}});
}

ShardSums evaluate_batch(Network& network, const ShardBatch& batch) {
  Context context{.kernels = *network.kernels, .stream = stream_of(network)};
  const Device device = network.kernels->device();
  const Var logits = forward(context, network, {sent_to(batch.images, device), {}});
  const Tensor labels = sent_to(batch.labels, device);
  return read_sums(softmax_cross_entropy(context, logits, labels, 0).sums);  // waits
}

Tensor evaluation_logits(Network& network, const Tensor& images) {
  Context context{.kernels = *network.kernels, .stream = stream_of(network)};
  const Tensor sent = sent_to(images, network.kernels->device());
  return to_host(forward(context, network, {sent, {}}).value);  // waits
}

}  // namespace lockstep
