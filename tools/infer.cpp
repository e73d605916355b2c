// `lockstep infer`: what a trained network sees in some image files.
// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <numeric>

#include "core/error.h"
#include "data/named_images.h"
#include "data/sample_reader.h"
#include "proto/config.pb.h"
#include "tools/commands.h"
#include "tools/trained_model.h"
#include "train/loading.h"
#include "train/shard_pass.h"

namespace lockstep {
namespace {

constexpr std::int64_t kBatch = 16;  // images in one forward pass

struct InferOptions {
  ModelChoice model;
  std::vector<std::string> images;
  int top = 5;
  std::string classes, logits;
  bool json = false;
};

struct Guess {
  int label = 0;
  double probability = 0;
};

// What became of one file.
struct Finding {
  std::string file, error;     // error: why there are no guesses
  std::vector<Guess> guesses;  // the most probable first
};

// Softmax in double; ties in favour of the lower class, as evaluation counts them.
std::vector<Guess> best_guesses(std::span<const float> logits, int count) {
  std::vector<int> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto logit = [&](int label) { return logits[static_cast<std::size_t>(label)]; };
  const auto shown = order.begin() + std::min<std::ptrdiff_t>(count, static_cast<std::ptrdiff_t>(order.size()));
  std::partial_sort(order.begin(), shown, order.end(), [&](int a, int b) { return logit(a) != logit(b) ? logit(a) > logit(b) : a < b; });
  double sum = 0;
  for (const float value : logits) sum += std::exp(static_cast<double>(value) - logit(order[0]));
  std::vector<Guess> guesses;
  for (auto label = order.begin(); label != shown; ++label)
    guesses.push_back({*label, std::exp(static_cast<double>(logit(*label)) - logit(order[0])) / sum});
  return guesses;
}

// Runs the network over the files; keeps inputs and logits if somebody wants them.
class Inference {
 public:
  Inference(const InferOptions& options, Network& network, const ImageSize& image, const AugmentOptions& augment)
      : options_(options), network_(network), image_(image), source_(options.images, image.channels), reader_(source_, augment, 0, nullptr) {}

  std::vector<Finding> run() {
    findings_.reserve(options_.images.size());
    Tensor batch = Tensor::empty({kBatch, image_.channels, image_.height, image_.width}, DType::kU8);
    for (std::int64_t id = 0; id < source_.size(); ++id) {
      findings_.push_back({.file = options_.images[static_cast<std::size_t>(id)], .error = {}, .guesses = {}});
      if (read(id, batch)) waiting_.push_back(static_cast<std::size_t>(id));
      if (static_cast<std::int64_t>(waiting_.size()) == kBatch) look(batch);
    }
    if (!waiting_.empty()) look(batch);
    return std::move(findings_);
  }

  // "input" (normalised) and "logits" of the good files in their order, f32.
  void save(const std::string& path) const {
    const auto count = static_cast<std::int64_t>(files_.size());
    const auto tensor = [](const std::vector<float>& values, const Shape& shape) {
      Tensor result = Tensor::empty(shape, DType::kF32);
      std::ranges::copy(values, result.host<float>().begin());
      return result;
    };
    const std::vector<NamedTensor> tensors{{"input", tensor(inputs_, {count, image_.channels, image_.height, image_.width})},
                                           {"logits", tensor(logits_, {count, network_.model->options().classes})}};
    if (posix_fs().status(path)) posix_fs().unlink(path);
    const std::string files = nlohmann::json(files_).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    write_safetensors(posix_fs(), path, views_of(tensors), {{"files", files}});
  }

 private:
  bool read(std::int64_t id, Tensor& batch) {
    std::uint8_t* pixels = batch.host<std::uint8_t>().data() + static_cast<std::int64_t>(waiting_.size()) * reader_.image_bytes();
    try {
      reader_.read(id, 0, scratch_, pixels);
      return true;
    } catch (const UserError& error) {
      findings_.back().error = error.what();
      return false;
    }
  }

  void look(Tensor& batch) {
    Shape shape = batch.shape();
    shape.set(0, static_cast<std::int64_t>(waiting_.size()));
    const Tensor images = batch.view(shape, DType::kU8);
    Tensor logits = evaluation_logits(network_, images);
    std::vector<float> values(static_cast<std::size_t>(logits.numel()));
    if (logits.dtype() == DType::kF64)
      std::ranges::transform(logits.host<double>(), values.begin(), [](double value) { return static_cast<float>(value); });
    else
      std::ranges::copy(logits.host<float>(), values.begin());
    const std::size_t classes = values.size() / waiting_.size();
    for (std::size_t i = 0; i < waiting_.size(); ++i) {
      const auto of_image = std::span<const float>(values).subspan(i * classes, classes);
      if (std::ranges::all_of(of_image, [](float value) { return std::isfinite(value); }))
        findings_[waiting_[i]].guesses = best_guesses(of_image, options_.top);
      else
        findings_[waiting_[i]].error = findings_[waiting_[i]].file + ": the network's logits are not finite";
    }
    if (!options_.logits.empty()) keep(images, values);
    waiting_.clear();
  }

  void keep(const Tensor& images, const std::vector<float>& logits) {
    const auto pixels = images.host<std::uint8_t>();
    const auto channels = static_cast<std::size_t>(image_.channels);
    for (std::size_t i = 0; i < pixels.size(); ++i)
      inputs_.push_back((static_cast<float>(pixels[i]) / 255 - network_.mean[i % channels]) / network_.std[i % channels]);
    logits_.insert(logits_.end(), logits.begin(), logits.end());
    for (const std::size_t id : waiting_) files_.push_back(options_.images[id]);
  }

  const InferOptions& options_;
  Network& network_;
  ImageSize image_;
  NamedImages source_;
  SampleReader reader_;
  SampleScratch scratch_;
  std::vector<std::size_t> waiting_;  // ids of the images in the batch
  std::vector<Finding> findings_;
  std::vector<float> inputs_, logits_;
  std::vector<std::string> files_;
};

std::string class_name(const std::vector<std::string>& names, int label) {
  return names.empty() ? fmt::format("class {}", label) : names[static_cast<std::size_t>(label)];
}

void print_json(const std::vector<Finding>& findings, const std::vector<std::string>& names) {
  nlohmann::ordered_json images = nlohmann::ordered_json::array();
  for (const Finding& finding : findings) {
    nlohmann::ordered_json entry{{"file", finding.file}};
    if (!finding.error.empty()) entry["error"] = finding.error;
    for (const Guess& guess : finding.guesses) {
      nlohmann::ordered_json row{{"class", guess.label}};
      if (!names.empty()) row["name"] = class_name(names, guess.label);
      row["probability"] = guess.probability;
      entry["top"].push_back(std::move(row));
    }
    images.push_back(std::move(entry));
  }
  const nlohmann::ordered_json object{{"images", std::move(images)}};
  std::puts(object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());  // file names need not be UTF-8
}

void print_text(const std::vector<Finding>& findings, const std::vector<std::string>& names) {
  for (const Finding& finding : findings) {
    if (!finding.error.empty()) {
      std::fprintf(stderr, "lockstep: error: %s\n", finding.error.c_str());
      continue;
    }
    std::puts(finding.file.c_str());
    for (const Guess& guess : finding.guesses)
      std::puts(fmt::format("  {:6.2f} %  {}", 100 * guess.probability, class_name(names, guess.label)).c_str());
  }
}

int run_infer(const InferOptions& options) {
  const TrainedModel trained = find_model(options.model);
  const proto::Config& config = trained.config();
  const int classes = trained.classes();
  if (classes == 0)
    throw UserError("--weights " + trained.weights + ": the config leaves the number of classes to the data\n  Say it: --set model.classes=1000");
  const std::vector<std::string> names = class_names(trained, options.classes, classes);
  const ImageSize image = known_image_size(config);
  Network network = make_trained_network(trained, image, classes, std::max(0, config.cuda().device()));
  Inference inference(options, network, image, eval_loader_options(config, image, 0, 1, network).augment);
  const std::vector<Finding> findings = inference.run();
  if (!options.logits.empty()) inference.save(options.logits);
  options.json ? print_json(findings, names) : print_text(findings, names);
  const auto bad = std::ranges::find_if(findings, [](const Finding& finding) { return !finding.error.empty(); });
  return static_cast<int>(bad == findings.end() ? ExitCode::kOk : ExitCode::kData);
}

}  // namespace

void add_infer(CLI::App& app, Run& run) {
  auto options = std::make_shared<InferOptions>();
  CLI::App* command = app.add_subcommand("infer", "Classify image files (JPEG, PNG) with a trained network");
  command->add_option("images", options->images, "The image files")->required();
  command->add_option("--run", options->model.run, "A run folder (its newest checkpoint) or a checkpoint");
  add_model_options(*command, options->model);
  command->add_option("--top", options->top, "Classes shown for each image (5)")->check(CLI::PositiveNumber);
  command->add_option("--classes", options->classes, "File with the names of the classes, one a line (the run's classes.txt)");
  command->add_option("--logits", options->logits, "Write the network's inputs and logits to this safetensors file");
  command->add_flag("--json", options->json, "As one JSON object");
  command->callback([=, &run] { run = [=] { return run_infer(*options); }; });
}

}  // namespace lockstep
