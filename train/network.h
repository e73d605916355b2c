// Network: a model with the backend that runs it and the constants that turn its images into numbers.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "data/source.h"
#include "models/model.h"
#include "ops/kernels.h"

namespace lockstep {

namespace proto {
class Config;
}

struct Network {
  std::unique_ptr<Kernels> kernels;
  std::unique_ptr<Model> model;
  std::vector<float> mean, std;  // per channel, pixels counted from 0 to 1
  DType dtype = DType::kF32;  // of activations; parameters have stats_dtype(dtype), and 16-bit copies if that differs

  // To be called whenever parameters were set by anything but the optimizer.
  void renew_compute_copies();
};

// Size of the images that the network sees: the config's, or what the source stores, or 224.
struct ImageSize {
  int height = 0, width = 0, channels = 0;
};
ImageSize image_size(const proto::Config& config, const Source& source);

std::unique_ptr<Kernels> make_kernels(const proto::Config& config);

// Builds the model (parameters initialised from the seed). Throws UserError for what does not fit together.
Network make_network(const proto::Config& config, const ImageSize& image, int classes);

// Opens the split that the config names. `classes`: labels must be below it; 0: the config's, or what the data has. The
// evaluation split must be given the training split's: it need not show every class. Throws UserError as data/source.h says.
std::unique_ptr<Source> open_split(const proto::Config& config, Split split, int classes = 0);

}  // namespace lockstep
