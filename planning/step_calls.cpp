// SPDX-License-Identifier: Apache-2.0
#include "planning/step_calls.h"

#include <utility>

#include "core/error.h"
#include "core/rehearsal.h"
#include "cpu/fast/fast_kernels.h"
#include "train/network.h"
#include "train/shard_pass.h"
#include "train/trace_kernels.h"

namespace lockstep {
namespace {

constexpr std::size_t kMostCalls = 1 << 16;  // of one step; resnet152 makes some 2,000

Network network_of(std::unique_ptr<Model> model, DType dtype) {
  Network network;
  network.kernels = make_fast_kernels(FastOptions{});
  network.dtype = dtype;
  network.mean.assign(static_cast<std::size_t>(model->options().channels), 0.5f);
  network.std.assign(static_cast<std::size_t>(model->options().channels), 0.25f);
  network.model = std::move(model);
  return network;
}

void add_compute_copies(Model& model, DType dtype) {
  for (Parameter* parameter : model.parameters())
    if (parameter->kind == ParameterKind::kWeight) parameter->compute = Tensor::empty(parameter->value.shape(), dtype);
}

// Takes what the backward pass gives, as the reducer's buckets do.
class Sink final : public GradSink, public ObservationSink {
 public:
  explicit Sink(const Model& model) {
    for (const Parameter* parameter : model.parameters()) gradients_.push_back(Tensor::empty(parameter->value.shape(), parameter->value.dtype()));
    for (const Buffer* buffer : model.buffers()) observations_.push_back(Tensor::empty(buffer->value.shape(), buffer->value.dtype()));
  }
  Tensor gradient(const Parameter& parameter) override { return gradients_[static_cast<std::size_t>(parameter.id)]; }
  void mark_ready(const Parameter&) override {}
  Tensor observation(const Buffer& buffer) override { return observations_[static_cast<std::size_t>(buffer.id)]; }

 private:
  std::vector<Tensor> gradients_, observations_;
};

void rehearse_update(Network& network, Sink& sink) {
  std::vector<Tensor> momenta;
  std::vector<SgdTensor> tensors;
  for (Parameter* parameter : network.model->parameters()) {
    momenta.push_back(Tensor::empty(parameter->value.shape(), parameter->value.dtype()));
    tensors.push_back({.value = parameter->value,
                       .momentum = momenta.back(),
                       .compute = parameter->compute ? View(parameter->compute) : View{},
                       .grad = sink.gradient(*parameter)});
  }
  network.kernels->sgd_step({}, tensors, {});
}

void rehearse_step(Network& network, const Shape& images, bool mixed_precision) {
  const Rehearsal rehearsal;
  if (mixed_precision) add_compute_copies(*network.model, network.dtype);
  Sink sink(*network.model);
  ShardPass pass(network, 0, nullptr);
  StepTimes times;
  pass.train({Tensor::empty(images, DType::kU8), Tensor::empty({images[0]}, DType::kI32)}, 0, 0, 0, sink, sink, [](const Tensor&) {}, times);
  rehearse_update(network, sink);
  for (Parameter* parameter : network.model->parameters()) parameter->compute = Tensor();  // its memory goes with the rehearsal
}

}  // namespace

std::vector<OpCall> step_calls(std::unique_ptr<Model> model, std::int64_t batch, DType dtype, bool training) {
  const ModelOptions& options = model->options();
  const Shape images{batch, options.channels, options.height, options.width};
  const bool mixed_precision = stats_dtype(dtype) != dtype;
  Network network = network_of(std::move(model), dtype);
  OpLog log(kMostCalls);
  {
    const KernelTap tap(network.kernels, log);
    if (training) {
      rehearse_step(network, images, mixed_precision);
    } else {
      if (mixed_precision) add_compute_copies(*network.model, dtype);
      rehearse_evaluation(network, images);
    }
  }
  LS_CHECK(log.dropped() == 0, "a step of more kernel calls than " + std::to_string(kMostCalls));
  return log.calls();
}

}  // namespace lockstep
