// Analysis: what a network asks of a machine, on paper: weights W, input activations A, operations O, layer by layer and in all, from
// the shapes of the very ops that run (LayerInfo::work). With B images and numbers of so many bits:
//
//   fully connected   W = IN OUT bits                   A = B IN bits              O = 2 B IN OUT
//   convolution       W = IN OUT F^2 bits / groups      A = B FM_in^2 IN bits      O = 2 B FM_out^2 IN OUT F^2 / groups
//   recurrent         planning/recurrent.h
//   training          W three times (weights, their gradients, their updates), A twice (and gradients), O three times
//
// Layers with weights make the totals; biases, normalisation and every other op are counted apart.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/model.h"
#include "ops/work.h"

namespace lockstep {

enum class Purpose : std::uint8_t { kInference, kTraining };

struct NetworkCount {
  std::string name;
  Shape images;                    // (N, C, H, W); rank 0 for recurrent layers alone
  std::int64_t batch = 1;
  std::vector<LayerInfo> layers;   // in forward order, for the whole batch

  std::int64_t parameters() const;
  // Sums of forward work. With weights: W, A (their inputs), outputs and O of the layers that have weights, nothing else. Apart: all
  // the rest (dropout in training only).
  Work with_weights() const;
  Work apart(Purpose purpose) const;
};

// Convolutions, matrix products, recurrent layers.
inline bool has_weights(const LayerInfo& layer) { return layer.work.weights > 0; }

// Throws UserError naming the layer that such images don't fit.
NetworkCount count_network(const Model& model, const Shape& images);

struct NumberWidths {
  double weights = 32, activations = 32;  // bits
  double vectors = 32;                    // of biases and normalisation, which stay wide
};

// What one batch asks for.
struct Demand {
  double weight_bytes = 0, input_bytes = 0, operations = 0;              // W, A, O
  double output_bytes = 0, vector_bytes = 0, other_operations = 0;       // apart

  // Operations per byte from off the chip: when only weights come from there, and when input activations do too. 0 without either.
  double intensity_of_weights() const { return weight_bytes > 0 ? operations / weight_bytes : 0; }
  double intensity() const { return weight_bytes + input_bytes > 0 ? operations / (weight_bytes + input_bytes) : 0; }
};

Demand demand(const Work& work, const NumberWidths& widths, Purpose purpose);

// 3 * samples * epochs * O of one sample: a whole training's operations.
double training_operations(const NetworkCount& count, double samples, double epochs);

}  // namespace lockstep
