// `lockstep export`: a trained network as a file for others: safetensors for PyTorch, ONNX for runtimes.
// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <functional>
#include <memory>

#include "core/error.h"
#include "proto/config.pb.h"
#include "tools/commands.h"
#include "tools/trained_model.h"
#include "train/build_info.h"
#include "train/loading.h"
#include "train/onnx_file.h"
#include "train/weights_file.h"

namespace lockstep {
namespace {

struct ExportOptions {
  ModelChoice model;
  std::string format, output;
  std::string classes;
  bool fold = false, force = false;
  std::string input = "input", logits = "logits";
  int opset = 17;
};

// "onnx" or "safetensors": as said, or by the file's name.
std::string format_of(const ExportOptions& options) {
  for (const std::string format : {"safetensors", "onnx"})
    if (options.format == format || (options.format.empty() && options.output.ends_with("." + format))) return format;
  throw UserError(fmt::format("{}: the format is not clear from the name\n  Say --format safetensors or --format onnx.", options.output));
}

void check_output(const ExportOptions& options) {
  const auto status = posix_fs().status(options.output);
  if (status && (status->kind != FileKind::kFile || !options.force))
    throw UserError(options.output + (status->kind == FileKind::kFile ? ": exists; --force replaces it" : ": is there and not a file"),
                    ExitCode::kCantCreate);
  if (const std::string folder = parent_path(options.output); !posix_fs().status(folder))
    throw UserError(fmt::format("{}: no such folder as {}", options.output, folder), ExitCode::kCantCreate);
}

// `write` makes a file of the name that it is given, which appears under its own only when it is complete.
void write_atomically(const std::string& path, const std::function<void(const std::string&)>& write) {
  Fs& fs = posix_fs();
  const std::string temporary = fmt::format("{}.tmp.{}", path, getpid());
  try {
    write(temporary);
    fs.rename(temporary, path);
  } catch (...) {
    try {
      if (fs.status(temporary)) fs.unlink(temporary);
    } catch (const FsError&) {
      // The first error is the one to report.
    }
    throw;
  }
  fs.sync_directory(parent_path(path));
}

std::string list_text(const std::vector<float>& values) { return fmt::format("{}", fmt::join(values, ",")); }

// What whoever uses the file must know: where it comes from and what images it wants.
WeightsFacts facts_of(const ExportOptions& options, const TrainedModel& trained, const Network& network, const ImageSize& image) {
  const AugmentOptions cut = eval_loader_options(trained.config(), image, 0, 1, network).augment;
  const ModelOptions& model = network.model->options();
  WeightsFacts facts{{"model", model.name},
                     {"classes", std::to_string(model.classes)},
                     {"mean", list_text(network.mean)},
                     {"std", list_text(network.std)},
                     {"height", std::to_string(image.height)},
                     {"width", std::to_string(image.width)},
                     {"resize_short", cut.crop == Crop::kResizeCentreCrop ? std::to_string(cut.resize_short) : "none"},
                     {"crop", cut.crop == Crop::kResizeCentreCrop ? "centre" : "none"},
                     {"interpolation", "bilinear, antialiased"},
                     {"run", trained.config().name()},
                     {"lockstep", build_id()}};
  if (trained.checkpoint) {
    const Manifest& manifest = trained.checkpoint->manifest;
    facts["step"] = std::to_string(manifest.facts.step);
    facts["state_digest"] = manifest.state_digest;
    facts["weights"] = trained.averaged() ? "average" : "last";
    if (manifest.is_best && manifest.facts.best_metric) facts["top1"] = fmt::format("{:.3f}", *manifest.facts.best_metric);
  }
  const std::vector<std::string> names = class_names(trained, options.classes, model.classes);
  if (!names.empty()) facts["class_names_xxh3_128"] = hash_128(fmt::format("{}\n", fmt::join(names, "\n"))).hex();
  return facts;
}

// The network on the host, in the precision of its weights: no 16-bit copies, no GPU.
Network host_network(const TrainedModel& trained, const ImageSize& image, int classes) {
  proto::Config config = trained.config();
  const bool wide = config.precision() == proto::Config::FP64;
  if (!wide) config.set_precision(proto::Config::FP32);
  config.set_backend(wide ? proto::Config::REFERENCE : proto::Config::FAST);
  Network network = make_network(config, image, classes);
  load_values(trained, *network.model);
  return network;
}

std::string export_onnx(const ExportOptions& options, const Network& network, const ImageSize& image, const WeightsFacts& facts) {
  InferenceGraph graph = trace_inference(*network.model, image.height, image.width, options.input, options.logits);
  if (options.fold) fold_batch_norms(graph);
  const OnnxOptions header{.opset = options.opset, .name = network.model->name(), .producer = build_id(), .metadata = facts};
  const std::string bytes = onnx_bytes(graph, header);
  write_atomically(options.output, [&](const std::string& path) {
    OutputFile file(posix_fs(), path, bytes.size());
    file.append(bytes.data(), bytes.size());
    file.finish();
  });
  return fmt::format("ONNX opset {}, {} nodes, batch norm {}, {} bytes\ninput       {} (N, {}, {}, {}) float: (pixel / 255 - mean) / std, mean {}, "
                     "std {}\noutput      {} (N, {})", options.opset, graph.nodes.size(), options.fold ? "folded" : "kept", bytes.size(), options.input,
                     image.channels, image.height, image.width, facts.at("mean"), facts.at("std"), options.logits, facts.at("classes"));
}

int run_export(const ExportOptions& options) {
  const std::string format = format_of(options);
  if (format == "safetensors" && options.fold) throw UserError("--fold-batch-norm is for ONNX: PyTorch's network has its batch norms");
  check_output(options);
  const TrainedModel trained = find_model(options.model);
  if (trained.classes() == 0)
    throw UserError("--weights " + trained.weights + ": the config leaves the number of classes to the data\n  Say it: --set model.classes=1000");
  const ImageSize image = known_image_size(trained.config());
  const Network network = host_network(trained, image, trained.classes());
  const WeightsFacts facts = facts_of(options, trained, network, image);
  std::string what;
  if (format == "onnx") {
    what = export_onnx(options, network, image, facts);
  } else {
    const std::int64_t steps = trained.checkpoint ? static_cast<std::int64_t>(trained.checkpoint->manifest.facts.step) : 0;
    std::uint64_t nbytes = 0;
    write_atomically(options.output, [&](const std::string& path) { nbytes = save_weights(posix_fs(), path, *network.model, steps, facts); });
    what = fmt::format("safetensors, {} parameters, {} bytes", network.model->parameter_count(), nbytes);
  }
  std::puts(fmt::format("exported    {}\nfile        {}: {}", trained.describe(), options.output, what).c_str());
  return 0;
}

}  // namespace

void add_export(CLI::App& app, Run& run) {
  auto options = std::make_shared<ExportOptions>();
  CLI::App* command = app.add_subcommand("export", "Write a trained network as safetensors (PyTorch) or ONNX");
  command->add_option("path", options->model.run, "A run folder (its newest checkpoint) or a checkpoint");
  add_model_options(*command, options->model);
  command->add_option("--output", options->output, "The file to write")->required();
  command->add_option("--format", options->format, "safetensors or onnx (by the file's name)")->check(CLI::IsMember({"safetensors", "onnx"}));
  command->add_flag("--force", options->force, "Replace the file if it exists");
  command->add_option("--classes", options->classes, "File with the names of the classes, one a line (the run's classes.txt): its hash is noted");
  command->add_flag("--fold-batch-norm", options->fold, "ONNX: make batch norms part of the convolutions before them");
  command->add_option("--input-name", options->input, "ONNX: name of the input (input)");
  command->add_option("--output-name", options->logits, "ONNX: name of the output (logits)");
  command->add_option("--opset", options->opset, fmt::format("ONNX: version of the operators, {} to {} (17)", kOnnxOldestOpset, kOnnxNewestOpset))
      ->check(CLI::Range(kOnnxOldestOpset, kOnnxNewestOpset));
  command->callback([=, &run] { run = [=] { return run_export(*options); }; });
}

}  // namespace lockstep
