// What the model tests share: one shard's training step on the reference kernels, golden files, and the formula from which
// tests/golden/resnet_trajectory.py and we derive the same weights and images.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cpu/reference/reference_kernels.h"
#include "models/model.h"
#include "ops/softmax_cross_entropy.h"

namespace lockstep::test {

// One shard, on the reference kernels unless others are given: forward, backward, gradients by parameter id, what batch norm observed by buffer id.
class Shard : private GradSink, private ObservationSink {
 public:
  explicit Shard(Model& model, std::unique_ptr<Kernels> kernels = make_reference_kernels());

  Tensor logits(const Tensor& images, bool training);  // nothing is recorded or kept
  double loss(const Tensor& images, const Tensor& labels, double smoothing = 0);  // training mode, nothing is recorded
  // Training mode with gradients; returns the loss. `image_gradient`, if given, gets d loss / d images.
  double backward(const Tensor& images, const Tensor& labels, double smoothing = 0, Tensor* image_gradient = nullptr);
  // SGD on all parameters with the last backward's gradients, then the running statistics.
  void update(double lr, double weight_decay, const SgdParams& params);

  const Tensor& gradient_of(const Parameter& parameter) const { return gradients_.at(static_cast<std::size_t>(parameter.id)); }
  const std::vector<int>& ready_order() const { return ready_order_; }  // of the last backward

 private:
  Tensor gradient(const Parameter& parameter) override { return gradients_.at(static_cast<std::size_t>(parameter.id)); }
  void mark_ready(const Parameter& parameter) override { ready_order_.push_back(parameter.id); }
  Tensor observation(const Buffer& buffer) override { return observations_.at(static_cast<std::size_t>(buffer.id)); }
  Context context(Tape* tape, bool training);

  Model& model_;
  std::unique_ptr<Kernels> kernels_;
  std::vector<Tensor> gradients_, momenta_, observations_;
  std::vector<int> ready_order_;
};

// Streams of the formula; a parameter's or buffer's position, or a step, is added.
enum FormulaStream : std::uint64_t { kParameters = 0, kMeans = 1000, kVariances = 2000, kImages = 3000, kLabels = 4000,
                                     kDirections = 5000 };
std::uint64_t formula_bits(std::uint64_t stream, std::uint64_t index);  // SplitMix64
double formula_signed(std::uint64_t stream, std::uint64_t index);       // [-1, 1), 53 bits

// f64, by row-major index in the logical shape.
Tensor formula_tensor(std::uint64_t stream, const Shape& shape);
void set_formula_weights(Model& model);  // f64 models
// The same numbers, with weights scaled by their fan-in, as in tests/golden/networks: what keeps the activations' size in every network,
// also with depthwise convolutions. Any model.
void set_fan_in_weights(Model& model);
Tensor formula_images(int step, const Shape& shape);  // f64
Tensor formula_labels(int step, std::int64_t count, int classes);

// A golden file of lines "key number number ...", without the lines that begin with '#'.
using Golden = std::map<std::string, std::vector<double>>;
std::string golden_path(const std::string& file);  // in tests/golden
Golden read_golden(const std::string& file);

}  // namespace lockstep::test
