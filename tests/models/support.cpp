// SPDX-License-Identifier: Apache-2.0
#include "tests/models/support.h"

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace lockstep::test {
namespace {

Tensor row_major(const std::vector<double>& values, const Shape& shape) {
  Tensor tensor = Tensor::empty(shape, DType::kF64);
  row_major_to_channels_last(values.data(), tensor.ptr(), shape, sizeof(double));
  return tensor;
}

double scalar(const Tensor& tensor) {
  return tensor.dtype() == DType::kF64 ? tensor.host<double>()[0] : double{tensor.host<float>()[0]};
}

Tensor one(DType dtype) {
  Tensor seed = Tensor::zeros({}, dtype);
  if (dtype == DType::kF64)
    seed.host<double>()[0] = 1;
  else
    seed.host<float>()[0] = 1;
  return seed;
}

}  // namespace

Shard::Shard(Model& model, std::unique_ptr<Kernels> kernels) : model_(model), kernels_(std::move(kernels)) {
  for (const Parameter* parameter : model.parameters()) {
    gradients_.push_back(Tensor::empty(parameter->value.shape(), parameter->value.dtype()));
    momenta_.push_back(Tensor::zeros(parameter->value.shape(), parameter->value.dtype()));
  }
  for (const Buffer* buffer : model.buffers())
    observations_.push_back(Tensor::empty(buffer->value.shape(), buffer->value.dtype()));
}

Context Shard::context(Tape* tape, bool training) {
  return {.kernels = *kernels_, .tape = tape, .training = training, .observations = training ? this : nullptr};
}

Tensor Shard::logits(const Tensor& images, bool training) {
  Context ctx = context(nullptr, training);
  return model_.forward(ctx, {images, -1}).value;
}

double Shard::loss(const Tensor& images, const Tensor& labels, double smoothing) {
  Context ctx = context(nullptr, true);
  return scalar(softmax_cross_entropy(ctx, model_.forward(ctx, {images, -1}), labels, smoothing).loss.value);
}

double Shard::backward(const Tensor& images, const Tensor& labels, double smoothing, Tensor* image_gradient) {
  Tape tape;
  Context ctx = context(&tape, true);
  ready_order_.clear();
  const Var x = image_gradient == nullptr ? Var{images, -1} : tape.input(images);
  const Var loss = softmax_cross_entropy(ctx, model_.forward(ctx, x), labels, smoothing).loss;
  tape.backward(loss, one(loss.value.dtype()), this);
  if (image_gradient != nullptr) *image_gradient = tape.gradient_of(x);
  return scalar(loss.value);
}

void Shard::update(double lr, double weight_decay, const SgdParams& params) {
  std::vector<SgdTensor> tensors;
  for (Parameter* parameter : model_.parameters()) {
    const auto id = static_cast<std::size_t>(parameter->id);
    const bool decays = parameter->kind == ParameterKind::kWeight;
    tensors.push_back({.value = parameter->value, .momentum = momenta_[id], .grad = gradients_[id],
                       .weight_decay = decays ? weight_decay : 0.0, .lr = lr});
  }
  kernels_->sgd_step({}, tensors, params);
  for (Buffer* buffer : model_.buffers())
    kernels_->moving_average({}, observations_[static_cast<std::size_t>(buffer->id)], buffer->momentum, buffer->value);
}

std::uint64_t formula_bits(std::uint64_t stream, std::uint64_t index) {
  std::uint64_t z = index + (stream + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

double formula_signed(std::uint64_t stream, std::uint64_t index) {
  return 2.0 * (static_cast<double>(formula_bits(stream, index) >> 11) * 0x1p-53) - 1.0;
}

Tensor formula_tensor(std::uint64_t stream, const Shape& shape) {
  std::vector<double> values(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = formula_signed(stream, i);
  return row_major(values, shape);
}

void set_formula_weights(Model& model) {
  const auto affine = [](Tensor& value, std::uint64_t stream, double offset, double scale) {
    const Tensor drawn = formula_tensor(stream, value.shape());
    for (std::size_t i = 0; i < drawn.host<double>().size(); ++i)
      value.host<double>()[i] = offset + scale * drawn.host<double>()[i];
  };
  for (Parameter* parameter : model.parameters()) {
    const Shape& shape = parameter->value.shape();
    const std::uint64_t stream = kParameters + static_cast<std::uint64_t>(parameter->id);
    if (shape.rank() == 4)
      affine(parameter->value, stream, 0.0, std::sqrt(6.0 / static_cast<double>(shape[0] * shape[2] * shape[3])));
    else if (shape.rank() == 2)
      affine(parameter->value, stream, 0.0, std::sqrt(1.0 / static_cast<double>(shape[1])));
    else if (parameter->kind == ParameterKind::kNormScale)
      affine(parameter->value, stream, 1.0, 0.25);
    else
      affine(parameter->value, stream, 0.0, 0.125);
  }
  // Buffers come in pairs: mean, variance.
  for (Buffer* buffer : model.buffers()) {
    const auto pair = static_cast<std::uint64_t>(buffer->id / 2);
    buffer->id % 2 == 0 ? affine(buffer->value, kMeans + pair, 0.0, 0.125) : affine(buffer->value, kVariances + pair, 1.0, 0.5);
  }
}

void set_fan_in_weights(Model& model) {
  const auto affine = [](Tensor& value, std::uint64_t stream, double offset, double scale) {
    const Tensor drawn = formula_tensor(stream, value.shape());
    for (std::size_t i = 0; i < drawn.host<double>().size(); ++i) {
      const double number = offset + scale * drawn.host<double>()[i];
      value.dtype() == DType::kF64 ? void(value.host<double>()[i] = number) : void(value.host<float>()[i] = static_cast<float>(number));
    }
  };
  for (Parameter* parameter : model.parameters()) {
    const Shape& shape = parameter->value.shape();
    const bool weight = shape.rank() > 1, scale = parameter->kind == ParameterKind::kNormScale;
    const double size = weight ? std::sqrt(6.0 * static_cast<double>(shape[0]) / static_cast<double>(shape.numel())) : scale ? 0.25 : 0.125;
    affine(parameter->value, kParameters + static_cast<std::uint64_t>(parameter->id), scale ? 1 : 0, size);
  }
  for (Buffer* buffer : model.buffers()) {  // in pairs: mean, variance
    const auto pair = static_cast<std::uint64_t>(buffer->id / 2);
    buffer->id % 2 == 0 ? affine(buffer->value, kMeans + pair, 0.0, 0.125) : affine(buffer->value, kVariances + pair, 1.0, 0.5);
  }
}

Tensor formula_images(int step, const Shape& shape) { return formula_tensor(kImages + static_cast<std::uint64_t>(step), shape); }

Tensor formula_labels(int step, std::int64_t count, int classes) {
  Tensor labels = Tensor::empty({count}, DType::kI32);
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i)
    labels.host<std::int32_t>()[i] = static_cast<std::int32_t>(
        formula_bits(kLabels + static_cast<std::uint64_t>(step), i) % static_cast<std::uint64_t>(classes));
  return labels;
}

std::string golden_path(const std::string& file) {
  const char* source = std::getenv("LOCKSTEP_SOURCE_DIR");
  return std::string(source != nullptr ? source : ".") + "/tests/golden/" + file;
}

Golden read_golden(const std::string& file) {
  std::ifstream stream(golden_path(file));
  if (!stream) throw std::runtime_error("no golden file " + golden_path(file) + " (LOCKSTEP_SOURCE_DIR names the source folder)");
  Golden golden;
  for (std::string line; std::getline(stream, line);) {
    if (line.empty() || line.front() == '#') continue;
    std::istringstream words(line);
    std::string key;
    words >> key;
    for (double value; words >> value;) golden[key].push_back(value);
  }
  return golden;
}

}  // namespace lockstep::test
