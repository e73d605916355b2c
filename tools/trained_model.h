// TrainedModel: the network that a command works with: of a run or checkpoint, or a weights file with its config.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "train/config/config.h"
#include "train/network.h"
#include "train/run_folder.h"

namespace CLI {
class App;
}

namespace lockstep {

struct ModelChoice {
  std::string run;  // a run folder (its newest checkpoint) or a checkpoint
  bool best = false;
  std::string weights, config;
  std::string data;
  std::vector<std::string> set;
  bool needs_data = false;  // else a config need not say where the data lie
};

// --best, --weights, --config, --set. `run` is for the command to add: an argument here, an option there.
void add_model_options(CLI::App& command, ModelChoice& choice);

struct TrainedModel {
  LoadedConfig loaded;
  std::optional<CheckpointInfo> checkpoint;
  std::string weights;  // the file, without a checkpoint

  const proto::Config& config() const { return loaded.config(); }
  int classes() const;             // 0: the config leaves it to the data
  bool averaged() const;           // is it the average of the weights that counts?
  std::string describe() const;    // one line
};

// UserError when not exactly one of run and weights is given, or it is not there or damaged. Reads a checkpoint once.
TrainedModel find_model(const ModelChoice& choice);

// Its values into a model on the host: the averages if the run made some. UserError as load_checkpoint and load_weights say.
void load_values(const TrainedModel& trained, Model& model);

// The network ready to evaluate: values loaded, on its device.
Network make_trained_network(const TrainedModel& trained, const ImageSize& image, int classes, int gpu);

// The size of its images by the config alone; where that leaves it to the data, by opening those. UserError when they are gone.
ImageSize known_image_size(const proto::Config& config);

// Names of the classes in order: the lines of `file`, or of the run folder's classes.txt. Empty: no names are known.
std::vector<std::string> class_names(const TrainedModel& trained, const std::string& file, int classes);

}  // namespace lockstep
