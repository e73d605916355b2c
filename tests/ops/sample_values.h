// Turns an OpSample into tensors and runs it: what the generic tests of all backends share. Values are functions of the
// seed. Also here: the sink that keeps parameters' gradients. Header-only, so that other rooms' tests can use it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/mix_row.h"
#include "ops/registry.h"

namespace lockstep {

// All values are multiples of 2^-kGridBits, so that the small steps of a gradient check are exact in f64.
constexpr int kGridBits = 24;
inline double on_grid(double value, int bits = kGridBits) { return std::ldexp(std::nearbyint(std::ldexp(value, bits)), -bits); }

// Kinks are kept at least this far away: values of `kink` from 0, `distinct` values from each other.
constexpr double kKinkMargin = 0x1p-7;

inline double get_value(const Tensor& tensor, std::int64_t i) {
  const auto at = static_cast<std::size_t>(i);
  switch (tensor.dtype()) {
    case DType::kF64: return tensor.host<double>()[at];
    case DType::kF32: return static_cast<double>(tensor.host<float>()[at]);
    case DType::kI32: return tensor.host<std::int32_t>()[at];
    case DType::kU8: return tensor.host<std::uint8_t>()[at];
    case DType::kBF16: return static_cast<double>(static_cast<float>(tensor.host<bf16>()[at]));
    case DType::kF16: return static_cast<double>(static_cast<float>(tensor.host<f16>()[at]));
    case DType::kI64: return static_cast<double>(tensor.host<std::int64_t>()[at]);
  }
  throw std::logic_error("get_value: dtype");
}

inline void set_value(Tensor& tensor, std::int64_t i, double value) {
  const auto at = static_cast<std::size_t>(i);
  switch (tensor.dtype()) {
    case DType::kF64: tensor.host<double>()[at] = value; return;
    case DType::kF32: tensor.host<float>()[at] = static_cast<float>(value); return;
    case DType::kI32: tensor.host<std::int32_t>()[at] = static_cast<std::int32_t>(value); return;
    case DType::kU8: tensor.host<std::uint8_t>()[at] = static_cast<std::uint8_t>(value); return;
    case DType::kBF16: tensor.host<bf16>()[at] = bf16(static_cast<float>(value)); return;
    case DType::kF16: tensor.host<f16>()[at] = f16(static_cast<float>(value)); return;
    case DType::kI64: tensor.host<std::int64_t>()[at] = static_cast<std::int64_t>(value); return;
  }
}

inline std::vector<double> to_vector(const Tensor& tensor) {
  std::vector<double> values(static_cast<std::size_t>(tensor.numel()));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = get_value(tensor, static_cast<std::int64_t>(i));
  return values;
}

// In memory order (channels last).
inline Tensor from_vector(const Shape& shape, DType dtype, const std::vector<double>& values) {
  Tensor tensor = Tensor::empty(shape, dtype);
  if (tensor.numel() != std::ssize(values)) throw std::logic_error("from_vector: " + shape.str());
  for (std::size_t i = 0; i < values.size(); ++i) set_value(tensor, static_cast<std::int64_t>(i), values[i]);
  return tensor;
}

inline Tensor random_tensor(const Shape& shape, DType dtype, std::uint64_t seed, double low = -1, double high = 1) {
  RandomStream stream({.seed = seed, .purpose = RandomPurpose::kTest});
  Tensor tensor = Tensor::empty(shape, dtype);
  for (std::int64_t i = 0; i < tensor.numel(); ++i)
    set_value(tensor, i, on_grid(low + (high - low) * static_cast<double>(stream.uniform())));
  return tensor;
}

// Rows in turn: CutMix, mixup, unmixed. Partners from the other end.
inline Tensor draw_mix_rows(const SampleInput& input, std::uint64_t seed) {
  RandomStream stream({.seed = seed, .purpose = RandomPurpose::kTest});
  const auto below = [&](double n) { return static_cast<std::int32_t>(stream.below(static_cast<std::uint64_t>(n))); };
  Tensor tensor = Tensor::zeros(input.shape, DType::kI32);
  auto* rows = static_cast<MixRow*>(tensor.ptr());
  const auto n = static_cast<std::int32_t>(input.shape[0]);
  for (std::int32_t i = 0; i < n; ++i) {
    rows[i] = {.partner = n - 1 - i, .label = below(input.high), .weight = i % 3 == 2 ? 1.0f : stream.uniform()};
    if (i % 3 != 0) continue;
    rows[i].top = below(input.high), rows[i].left = below(input.high);
    rows[i].height = 1 + below(input.high - rows[i].top), rows[i].width = 1 + below(input.high - rows[i].left);
  }
  return tensor;
}

inline Tensor draw_input(const SampleInput& input, DType dtype, std::uint64_t seed) {
  if (input.role == InputRole::kMixRows) return draw_mix_rows(input, seed);
  if (input.role == InputRole::kLabels) dtype = DType::kI32;
  if (input.role == InputRole::kBytes) dtype = DType::kU8;
  const bool integers = !is_floating(dtype);
  Tensor tensor = random_tensor(input.shape, integers ? DType::kF64 : dtype, seed, input.low, input.high);
  if (integers) {
    Tensor whole = Tensor::empty(input.shape, dtype);
    for (std::int64_t i = 0; i < whole.numel(); ++i)  // values close to `high` round up to it
      set_value(whole, i, std::min(std::floor(get_value(tensor, i)), input.high - 1));
    return whole;
  }
  if (!input.distinct) return tensor;
  const double spacing = (input.high - input.low) / static_cast<double>(tensor.numel());
  if (spacing < kKinkMargin) throw std::logic_error("sample " + input.name + ": too many distinct values");
  std::vector<std::int64_t> order(static_cast<std::size_t>(tensor.numel()));
  std::iota(order.begin(), order.end(), 0);
  RandomStream stream({.seed = seed, .purpose = RandomPurpose::kTest, .a = 1});
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[stream.below(i)]);
  for (std::size_t i = 0; i < order.size(); ++i)
    set_value(tensor, static_cast<std::int64_t>(i), on_grid(input.low + spacing * (static_cast<double>(order[i]) + 0.5)));
  return tensor;
}

// One tensor per input of the sample, in its order.
using SampleData = std::vector<Tensor>;

inline bool is_differentiable(const SampleInput& input) {
  return input.role == InputRole::kVariable || input.role == InputRole::kParameter;
}

// Shares the data's memory; with a tape, variables are inputs of it.
inline SampleValues bind_values(const OpSample& sample, const SampleData& data, Tape* tape) {
  SampleValues values;
  for (std::size_t i = 0; i < data.size(); ++i) {
    const SampleInput& input = sample.inputs[i];
    switch (input.role) {
      case InputRole::kVariable: values.vars.push_back(tape != nullptr ? tape->input(data[i]) : Var{data[i]}); break;
      case InputRole::kConstant: values.vars.push_back(Var{data[i]}); break;
      case InputRole::kParameter:
        values.parameters.push_back({static_cast<int>(values.parameters.size()), input.name, ParameterKind::kWeight, data[i]});
        break;
      case InputRole::kBuffer: values.buffers.push_back({static_cast<int>(values.buffers.size()), input.name, data[i]}); break;
      default: values.tensors.push_back(data[i]);
    }
  }
  return values;
}

inline Context sample_context(Kernels& kernels, const OpSample& sample, Tape* tape) {
  return {.kernels = kernels, .tape = tape, .training = sample.training,
          .dropout = {.seed = 7, .purpose = RandomPurpose::kDropout}};
}

// Draws until all values of `kink` are far enough from 0. `kernels` computes them (in `dtype`).
inline SampleData draw_sample(Kernels& kernels, const OpSample& sample, DType dtype, std::uint64_t seed = 1) {
  for (std::uint64_t attempt = 0; attempt < 20000; ++attempt) {
    SampleData data;
    for (std::size_t i = 0; i < sample.inputs.size(); ++i)
      data.push_back(draw_input(sample.inputs[i], dtype, (seed << 32) + attempt * 100 + i));
    if (!sample.kink) return data;
    Context ctx = sample_context(kernels, sample, nullptr);
    const std::vector<double> kinks = to_vector(sample.kink(ctx, bind_values(sample, data, nullptr)).value);
    if (std::all_of(kinks.begin(), kinks.end(), [](double v) { return std::fabs(v) >= kKinkMargin; })) return data;
  }
  throw std::logic_error("sample " + sample.name + ": no draw stays away from the kinks");
}

class GradCollector final : public GradSink {
 public:
  Tensor gradient(const Parameter& parameter) override {
    Tensor& grad = grads[parameter.id];
    if (!grad) grad = Tensor::empty(parameter.value.shape(), parameter.value.dtype());
    for (std::int64_t i = 0; i < grad.numel(); ++i) set_value(grad, i, std::nan(""));  // must be overwritten
    return grad;
  }
  void mark_ready(const Parameter& parameter) override { ready.push_back(parameter.id); }

  std::map<int, Tensor> grads;
  std::vector<int> ready;
};

struct SampleResult {
  Tensor output;
  std::vector<Tensor> gradients;  // one per input; empty where the input is not differentiable
};

// Runs the sample forward and, with `seed` (the output's shape) as the output's gradient, backward. `wrap`, if given, is
// put between each variable and the op.
inline SampleResult run_with_gradients(Kernels& kernels, const OpSample& sample, const SampleRun& run, const SampleData& data,
                                       const Tensor& seed, const std::function<Var(Context&, const Var&)>& wrap = {}) {
  Tape tape;
  Context ctx = sample_context(kernels, sample, &tape);
  const SampleValues values = bind_values(sample, data, &tape);
  SampleValues used = values;
  for (Var& var : used.vars) var = wrap ? wrap(ctx, var) : var;
  const Var y = run(ctx, used);
  GradCollector sink;
  SampleResult result{y.value, {}};
  if (y.requires_grad()) tape.backward(y, seed.clone(), &sink);
  std::size_t var = 0, parameter = 0;
  for (const SampleInput& input : sample.inputs) {
    Tensor gradient;
    if (input.role == InputRole::kVariable) gradient = tape.gradient_of(values.vars[var]);
    if (input.role == InputRole::kParameter) gradient = sink.grads.at(static_cast<int>(parameter));
    if (input.role == InputRole::kVariable || input.role == InputRole::kConstant) ++var;
    if (input.role == InputRole::kParameter) ++parameter;
    result.gradients.push_back(std::move(gradient));
  }
  return result;
}

}  // namespace lockstep
