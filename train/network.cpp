// SPDX-License-Identifier: Apache-2.0
#include "train/network.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>

#include "core/accelerator.h"
#include "core/error.h"
#include "cpu/fast/fast_kernels.h"
#include "cpu/reference/reference_kernels.h"
#include "cuda/cuda_backend.h"
#include "distributed/device_choice.h"
#include "models/zoo.h"
#include "proto/config.pb.h"

namespace lockstep {
namespace {

DType dtype_of_precision(proto::Config::Precision precision) {
  switch (precision) {
    case proto::Config::FP32: return DType::kF32;
    case proto::Config::FP64: return DType::kF64;
    case proto::Config::BF16: return DType::kBF16;
    case proto::Config::FP16: return DType::kF16;
  }
  return DType::kF32;
}

CudaOptions cuda_options(const proto::Config& config, int gpu) {
  const proto::Cuda& cuda = config.cuda();
  return {.device = gpu, .tf32 = cuda.tf32(), .fuse = cuda.fuse(), .time_choices = cuda.time_choices(), .plan_cache = cuda.plan_cache()};
}

// The ops read the weights of convolutions and matrix products in 16 bits; all else of the model stays as it is.
void add_compute_copies(Model& model, DType dtype) {
  for (Parameter* parameter : model.parameters())
    if (parameter->kind == ParameterKind::kWeight) parameter->compute = Tensor::empty(parameter->value.shape(), dtype);
}

// One value per channel, or one for all, or the default.
std::vector<float> per_channel(const google::protobuf::RepeatedField<double>& values, int channels, double fallback, const char* field) {
  if (values.empty()) return std::vector<float>(static_cast<std::size_t>(channels), static_cast<float>(fallback));
  if (values.size() == 1) return std::vector<float>(static_cast<std::size_t>(channels), static_cast<float>(values[0]));
  if (values.size() != channels)
    throw UserError(fmt::format("{}: got {} values, want one per channel ({}) or one for all", field, values.size(), channels));
  return {values.begin(), values.end()};
}

SourceKind source_kind(proto::Data::Source source) {
  switch (source) {
    case proto::Data::AUTO: return SourceKind::kAuto;
    case proto::Data::IDX: return SourceKind::kIdx;
    case proto::Data::CIFAR10: return SourceKind::kCifar10;
    case proto::Data::FOLDER: return SourceKind::kFolder;
    case proto::Data::SYNTHETIC: return SourceKind::kSynthetic;
    case proto::Data::ILSVRC: return SourceKind::kIlsvrc;
    case proto::Data::TAR: return SourceKind::kTar;
    case proto::Data::KAGGLE: return SourceKind::kKaggle;
    case proto::Data::WEBDATASET: return SourceKind::kWebDataset;
  }
  return SourceKind::kAuto;
}

Stem stem_of(proto::Model::Stem stem) {
  switch (stem) {
    case proto::Model::AUTO: return Stem::kAuto;
    case proto::Model::IMAGENET: return Stem::kImagenet;
    case proto::Model::SMALL: return Stem::kSmall;
  }
  return Stem::kAuto;
}

// The recipe's number of images against the data's: a schedule in epochs means something else with half of them.
void check_images(const proto::Data& data, bool eval, const Source& source) {
  const std::int64_t want = eval ? data.eval_images() : data.train_images();
  if (want == 0 || source.size() == want) return;
  throw UserError(fmt::format("{}: data.{}_images: got {} images, want {}.\n{}", source.describe(), eval ? "eval" : "train", source.size(), want,
                              source.size() < want ? "Complete the data (a partial download, an unfinished unpacking?), or set the field to 0."
                                                   : "These are not the data of the recipe: correct the path, or set the field to 0."),
                  ExitCode::kData);
}

}  // namespace

void Network::to_device() {
  const Device device = kernels->device();
  for (Parameter* parameter : model->parameters()) {
    parameter->value = lockstep::to_device(parameter->value, device);
    if (parameter->compute && parameter->compute.device() != device)
      parameter->compute = Tensor::empty(parameter->compute.shape(), parameter->compute.dtype(), device);
  }
  for (Buffer* buffer : model->buffers()) buffer->value = lockstep::to_device(buffer->value, device);
  renew_compute_copies();
}

void Network::renew_compute_copies() {
  if (model->parameters().empty() || model->parameters()[0]->value.device() != kernels->device()) return;
  for (Parameter* parameter : model->parameters())
    if (parameter->compute) kernels->convert({}, parameter->value, parameter->compute);
}

int default_side(const proto::Config& config) {
  constexpr int kUsual = 224;
  return std::max(kUsual, published_side(config.model().name()));
}

ImageSize image_size(const proto::Config& config, const Source& source) {
  const proto::Data& data = config.data();
  const auto pick = [](int wanted, int stored, int fallback) { return wanted > 0 ? wanted : stored > 0 ? stored : fallback; };
  const int side = default_side(config);
  return {pick(data.height(), source.height(), side), pick(data.width(), source.width(), side), source.channels()};
}

int pick_gpu(const proto::Config& config, const Communicator& comm) {
  if (config.backend() != proto::Config::CUDA) return 0;
  if (config.cuda().device() >= 0) return config.cuda().device();
  return pick_device(comm, static_cast<int>(cuda_report().gpus.size()));
}

std::unique_ptr<Kernels> make_kernels(const proto::Config& config, int gpu) {
  if (config.backend() == proto::Config::CUDA) return make_cuda_kernels(cuda_options(config, gpu));
  if (config.backend() == proto::Config::REFERENCE) return make_reference_kernels();
  return make_fast_kernels(FastOptions{.threads = config.threads_per_rank(), .winograd = config.convolution() != proto::Config::DIRECT});
}

ModelOptions model_options(const proto::Config& config, const ImageSize& image, int classes) {
  const proto::Model& model = config.model();
  // A saved config names every value, so that "as the network has it" must be a value: the default.
  const double eps = model.batch_norm().eps();
  const bool own_eps = eps == proto::BatchNorm::default_instance().eps();
  return {.name = model.name(),
          .classes = classes,
          .channels = image.channels,
          .height = image.height,
          .width = image.width,
          .v1 = model.variant() == proto::Model::V1,
          .stem = stem_of(model.stem()),
          .zero_gamma = model.zero_gamma(),
          .base_width = model.base_width(),
          .bn_eps = own_eps ? std::nullopt : std::optional(eps),
          .bn_momentum = model.batch_norm().momentum(),
          .dropout = model.dropout(),
          .width_multiplier = model.width_multiplier(),
          .dtype = stats_dtype(dtype_of_precision(config.precision()))};
}

Network make_network(const proto::Config& config, const ImageSize& image, int classes, int gpu) {
  Network network;
  network.dtype = dtype_of_precision(config.precision());
  network.kernels = make_kernels(config, gpu);
  if (network.dtype == DType::kF16) network.loss_scale.scale = config.loss_scaling().initial();
  network.mean = per_channel(config.data().mean(), image.channels, 0.5, "data.mean");
  network.std = per_channel(config.data().std(), image.channels, 0.25, "data.std");
  network.model = make_model(model_options(config, image, classes));
  if (stats_dtype(network.dtype) != network.dtype) add_compute_copies(*network.model, network.dtype);
  network.model->initialise(config.seed());
  network.renew_compute_copies();
  return network;
}

std::unique_ptr<Source> open_split(const proto::Config& config, Split split, int classes) {
  const proto::Data& data = config.data();
  const bool eval = split == Split::kEval;
  if (classes == 0) classes = data.source() == proto::Data::SYNTHETIC ? data.synthetic().classes() : config.model().classes();
  const auto side = [&config](int wanted) { return wanted > 0 ? wanted : default_side(config); };
  std::unique_ptr<Source> source = open_source({.kind = source_kind(data.source()),
                                                .path = eval && data.has_eval_path() ? data.eval_path() : data.path(),
                                                .split = split,
                                                .classes = classes,
                                                .index_cache = data.has_index_cache() ? std::optional(data.index_cache()) : std::nullopt,
                                                .size = eval ? data.synthetic().eval_size() : data.synthetic().size(),
                                                .height = side(data.height()),
                                                .width = side(data.width()),
                                                .channels = data.channels() > 0 ? data.channels() : 3,
                                                .seed = config.seed()});
  check_images(data, eval, *source);
  return source;
}

void check_same_classes(const Source& train, const Source& eval) {
  const std::span<const std::string> a = train.class_names(), b = eval.class_names();
  const auto numbers = [](std::span<const std::string> names) { return names.empty() || names.front() == "0"; };  // no names to compare
  if (numbers(a) || numbers(b) || std::equal(a.begin(), a.end(), b.begin(), b.end())) return;
  std::string differing;
  int shown = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()) && shown < 3; ++i)
    if (a[i] != b[i]) differing += fmt::format("{}{}: {} and {}", shown++ == 0 ? "" : "; ", i, a[i], b[i]);
  throw UserError(fmt::format("the training and the evaluation data do not have the same classes (class {}):\n  {}\n  {}\n"
                              "Complete the one or the other, or correct data.path and data.eval_path.",
                              differing, train.describe(), eval.describe()),
                  ExitCode::kData);
}

}  // namespace lockstep
