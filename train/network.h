// Network: a model with the backend that runs it and the constants that turn its images into numbers.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "data/source.h"
#include "models/model.h"
#include "ops/kernels.h"
#include "train/loss_scale.h"

namespace lockstep {

class Communicator;

namespace proto {
class Config;
}

struct Network {
  std::unique_ptr<Kernels> kernels;
  std::unique_ptr<Model> model;
  std::vector<float> mean, std;  // per channel, pixels counted from 0 to 1
  DType dtype = DType::kF32;  // of activations; parameters have stats_dtype(dtype), and 16-bit copies if that differs

  LossScale loss_scale;       // with f16: what the next step begins with

  // To be called whenever parameters were set by anything but the optimizer. Does nothing before to_device.
  void renew_compute_copies();
  // Parameters and buffers into the memory of the backend's device, and their compute copies; after that host code can't read
  // them but by to_host. Does nothing for a CPU. Blocks.
  void to_device();
};

// Height and width of image files where the config is silent: 224, or what a network for larger images was published with.
int default_side(const proto::Config& config);

// Size of the images that the network sees: the config's, or what the source stores, or default_side.
struct ImageSize {
  int height = 0, width = 0, channels = 0;
};
ImageSize image_size(const proto::Config& config, const Source& source);

// What the config says of the network, with parameters of the dtype that its precision asks for.
ModelOptions model_options(const proto::Config& config, const ImageSize& image, int classes);

// Which GPU this rank uses with backend: CUDA: cuda.device, or pick_device's. 0 otherwise.
int pick_gpu(const proto::Config& config, const Communicator& comm);

// `gpu`: index of the device for backend: CUDA (pick_gpu). Throws EnvironmentError when it can't be used.
std::unique_ptr<Kernels> make_kernels(const proto::Config& config, int gpu = 0);

// Builds the model (parameters initialised from the seed, on the host: to_device follows once they are what they should be).
// Throws UserError for what does not fit together.
Network make_network(const proto::Config& config, const ImageSize& image, int classes, int gpu = 0);

// Opens the split that the config names. `classes`: labels must be below it; 0: the config's, or what the data has. The
// evaluation split must be given the training split's: it need not show every class. Throws UserError as data/source.h says, and
// when the number of images is not the config's data.train_images or data.eval_images.
std::unique_ptr<Source> open_split(const proto::Config& config, Split split, int classes = 0);

// Throws UserError(kData), with examples, when both have names of classes and these differ: labels would mean different things.
void check_same_classes(const Source& train, const Source& eval);

}  // namespace lockstep
