// SPDX-License-Identifier: Apache-2.0
#include "planning/analysis.h"

namespace lockstep {
namespace {

constexpr double kBitsPerByte = 8;

// How many times what inference needs: weights with gradients and updates, activations with gradients, forward with two backward
// products.
struct Multiples {
  double weights = 1, activations = 1, operations = 1;
};
constexpr Multiples multiples(Purpose purpose) { return purpose == Purpose::kTraining ? Multiples{3, 2, 3} : Multiples{}; }

}  // namespace

std::int64_t NetworkCount::parameters() const {
  std::int64_t sum = 0;
  for (const LayerInfo& layer : layers) sum += layer.parameters;
  return sum;
}

Work NetworkCount::with_weights() const {
  Work sum;
  for (const LayerInfo& layer : layers) {
    if (!has_weights(layer)) continue;
    Work own = layer.work;
    own.vectors = own.other_operations = 0;
    sum = sum + own;
  }
  return sum;
}

Work NetworkCount::apart(Purpose purpose) const {
  Work sum;
  for (const LayerInfo& layer : layers) {
    if (purpose == Purpose::kInference && layer.op == "dropout") continue;  // the identity
    Work own = layer.work;
    own.weights = own.operations = 0;
    if (has_weights(layer)) own.inputs = own.outputs = 0;
    sum = sum + own;
  }
  return sum;
}

NetworkCount count_network(const Model& model, const Shape& images) {
  return {.name = model.name(), .images = images, .batch = images[0], .layers = model.layers(images)};
}

Demand demand(const Work& work, const NumberWidths& widths, Purpose purpose) {
  const Multiples times = multiples(purpose);
  const auto bytes = [](std::int64_t elements, double bits) { return static_cast<double>(elements) * bits / kBitsPerByte; };
  return {.weight_bytes = times.weights * bytes(work.weights, widths.weights),
          .input_bytes = times.activations * bytes(work.inputs, widths.activations),
          .operations = times.operations * static_cast<double>(work.operations),
          .output_bytes = times.activations * bytes(work.outputs, widths.activations),
          .vector_bytes = times.weights * bytes(work.vectors, widths.vectors),
          .other_operations = times.operations * static_cast<double>(work.other_operations)};
}

double training_operations(const NetworkCount& count, double samples, double epochs) {
  const double forward = static_cast<double>(count.with_weights().operations) / static_cast<double>(count.batch);
  return 3 * samples * epochs * forward;
}

}  // namespace lockstep
