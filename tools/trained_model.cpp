// SPDX-License-Identifier: Apache-2.0
#include "tools/trained_model.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "core/error.h"
#include "proto/config.pb.h"
#include "train/session.h"
#include "train/weights_file.h"

namespace lockstep {
namespace {

constexpr std::uint64_t kClassNamesCapBytes = std::uint64_t{16} << 20;

std::vector<ConfigOverride> overrides_of(const ModelChoice& choice) {
  std::vector<ConfigOverride> overrides;
  for (const std::string& assignment : choice.set) overrides.push_back(parse_override(assignment));
  if (!choice.data.empty()) overrides.push_back(flag_override("data.path", choice.data, "--data"));
  return overrides;
}

void check_choice(const ModelChoice& choice) {
  if (choice.run.empty() == choice.weights.empty())
    throw UserError(choice.run.empty() ? "no model is named\n  Name a run folder or checkpoint, or --weights FILE --config CONFIG."
                                       : fmt::format("got both {} and --weights {}, want one of them", choice.run, choice.weights));
  if (!choice.weights.empty() && choice.config.empty())
    throw UserError("--weights " + choice.weights + ": its network is unknown\n  Name the config with --config CONFIG.");
  if (!choice.run.empty() && !choice.config.empty())
    throw UserError("--config " + choice.config + ": a run has its own config\n  Change single values with --set path.to.field=value.");
  if (!choice.weights.empty() && choice.best) throw UserError("--best chooses among a run's checkpoints, --weights names one file: want one of them");
}

std::vector<std::string> lines_of(const std::string& file) {
  const std::string text = read_small_file(posix_fs(), file, kClassNamesCapBytes);
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    if (lines.back().ends_with('\r')) lines.back().pop_back();
    begin = end + 1;
  }
  return lines;
}

}  // namespace

void add_model_options(CLI::App& command, ModelChoice& choice) {
  command.add_flag("--best", choice.best, "The run's best checkpoint instead of its newest");
  command.add_option("--weights", choice.weights, "A safetensors file with torchvision's names, instead of a run");
  command.add_option("--config", choice.config, "The config of the network, with --weights");
  command.add_option("--set", choice.set, "Override one value of the config: path.to.field=value")->allow_extra_args(false);
}

int TrainedModel::classes() const {
  if (!checkpoint) return config().model().classes();
  const auto& counters = checkpoint->manifest.facts.counters;
  const auto found = counters.find("classes");
  return found == counters.end() ? config().model().classes() : static_cast<int>(found->second);
}

bool TrainedModel::averaged() const {
  if (!checkpoint) return false;
  for (const ManifestFile& file : checkpoint->manifest.files)
    for (const ManifestTensor& tensor : file.tensors)
      if (tensor.entry.name.starts_with("average.")) return true;
  return false;
}

std::string TrainedModel::describe() const {
  if (!checkpoint) return fmt::format("{} ({})", weights, config().model().name());
  return fmt::format("{} (step {}{})", checkpoint->path, checkpoint->manifest.facts.step, averaged() ? ", averaged weights" : "");
}

TrainedModel find_model(const ModelChoice& choice) {
  check_choice(choice);
  const std::vector<ConfigOverride> overrides = overrides_of(choice);
  if (!choice.weights.empty()) {
    TrainedModel trained{load_config(choice.config, overrides), std::nullopt, choice.weights};
    if (!choice.needs_data && trained.config().data().path().empty()) {
      std::vector<ConfigOverride> without = overrides;
      without.push_back(flag_override("data.path", "(no data are needed)", "this command"));
      trained.loaded = load_config(choice.config, without);
    }
    validate(trained.loaded);
    return trained;
  }
  CheckpointInfo info = find_checkpoint(choice.run, choice.best);
  LoadedConfig loaded = parse_config(info.manifest.facts.contract.config_text, info.path, overrides);
  validate(loaded);
  return {std::move(loaded), std::move(info), ""};
}

void load_values(const TrainedModel& trained, Model& model) {
  if (!trained.checkpoint) {
    const std::string note = load_weights(trained.weights, model);
    if (!note.empty()) std::fprintf(stderr, "%s\n", note.c_str());
    return;
  }
  TrainingState saved;
  load_checkpoint(posix_fs(), trained.checkpoint->path, saved);
  restore_evaluated_model(saved, model);
}

Network make_trained_network(const TrainedModel& trained, const ImageSize& image, int classes, int gpu) {
  Network network = make_network(trained.config(), image, classes, gpu);
  load_values(trained, *network.model);
  network.renew_compute_copies();
  network.to_device();
  return network;
}

ImageSize known_image_size(const proto::Config& config) {
  const proto::Data& data = config.data();
  const bool by_data = data.source() == proto::Data::AUTO || data.source() == proto::Data::IDX;  // stored sizes differ
  if (by_data && (data.height() == 0 || data.width() == 0)) {
    try {
      return image_size(config, *open_split(config, Split::kEval));
    } catch (const UserError& error) {
      throw UserError(fmt::format("{}\n  Without the data, say the size of the images: --set data.height=28 --set data.width=28 "
                                  "--set data.channels=1", error.what()), error.code());
    }
  }
  const int side = data.source() == proto::Data::CIFAR10 ? 32 : default_side(config);
  const auto or_default = [](int given, int fallback) { return given > 0 ? given : fallback; };
  return {or_default(data.height(), side), or_default(data.width(), side),
          or_default(data.channels(), data.source() == proto::Data::IDX ? 1 : 3)};
}

std::vector<std::string> class_names(const TrainedModel& trained, const std::string& file, int classes) {
  std::string path = file;
  if (path.empty() && trained.checkpoint) {  // RUN/ckpt/step_N
    path = join_path(parent_path(parent_path(trained.checkpoint->path)), "classes.txt");
    if (!posix_fs().status(path)) path.clear();
  }
  if (path.empty()) return {};
  std::vector<std::string> names = lines_of(path);
  if (names.size() != static_cast<std::size_t>(classes))
    throw UserError(fmt::format("{}: got {} names of classes, want {}: one a line, in the order of the labels", path, names.size(), classes),
                    ExitCode::kData);
  return names;
}

}  // namespace lockstep
