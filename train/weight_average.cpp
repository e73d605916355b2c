// SPDX-License-Identifier: Apache-2.0
#include "train/weight_average.h"

#include <algorithm>
#include <utility>

#include "core/accelerator.h"
#include "core/error.h"
#include "proto/config.pb.h"

namespace lockstep {
namespace {

// The model's tensors in the averages' order.
template <class Visit>
void for_each_value(const Model& model, const Visit& visit) {
  std::size_t index = 0;
  for (Parameter* parameter : model.parameters()) visit(index++, parameter->name, parameter->value);
  for (Buffer* buffer : model.buffers()) visit(index++, buffer->name, buffer->value);
}

}  // namespace

WeightAverage::WeightAverage(const proto::WeightAverage& config, const Model& model)
    : decay_(config.decay()), every_steps_(config.every_steps()), warmup_(config.warmup()), model_(model) {
  for_each_value(model_, [&](std::size_t, const std::string&, const Tensor& value) {
    averages_.push_back(Tensor::empty(value.shape(), value.dtype(), value.device()));
  });
  restart();
}

double WeightAverage::decay_at(std::int64_t step) const {
  if (!warmup_) return decay_;
  const auto changes = static_cast<double>((step + 1) / every_steps_ - 1);
  return std::min(decay_, (1 + changes) / (10 + changes));
}

void WeightAverage::update(Kernels& kernels, Stream stream, std::int64_t step, ConstView control) {
  if ((step + 1) % every_steps_ != 0) return;
  list_.clear();
  for_each_value(model_, [&](std::size_t i, const std::string&, const Tensor& value) { list_.push_back({averages_[i], value}); });
  kernels.moving_averages(stream, list_, 1 - decay_at(step), control);
}

void WeightAverage::restart() {
  for_each_value(model_, [&](std::size_t i, const std::string&, const Tensor& value) { copy_contents(value, averages_[i]); });
}

void WeightAverage::to_device(Device device) {
  for (Tensor& average : averages_) average = lockstep::to_device(average, device);
}

std::vector<NamedTensor> WeightAverage::tensors() const {
  std::vector<NamedTensor> list;
  for_each_value(model_, [&](std::size_t i, const std::string& name, const Tensor&) { list.push_back({kAveragePrefix + name, averages_[i]}); });
  return list;
}

WeightAverage::Use::Use(WeightAverage& average, Network& network) : average_(average), network_(network) {
  for_each_value(average.model_, [&](std::size_t i, const std::string&, Tensor& value) { std::swap(value, average_.averages_[i]); });
  network.renew_compute_copies();
}

WeightAverage::Use::~Use() {
  for_each_value(average_.model_, [&](std::size_t i, const std::string&, Tensor& value) { std::swap(value, average_.averages_[i]); });
  try {
    network_.renew_compute_copies();
  } catch (const Error&) {  // a device that is lost: the next call on it says so, and nothing computes with the copies before
  }
}

}  // namespace lockstep
