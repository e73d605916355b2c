// SPDX-License-Identifier: Apache-2.0
#include "train/session.h"

#include <fmt/format.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>

#include "core/accelerator.h"
#include "core/error.h"
#include "distributed/gradient_reducer.h"
#include "proto/config.pb.h"
#include "train/build_info.h"

namespace lockstep {
namespace {

constexpr const char* kMomentumPrefix = "momentum.";
constexpr const char* kRunningMean = ".running_mean";

std::string scope_text(const proto::BatchNorm& norm) {
  if (norm.scope() == proto::BatchNorm::GROUP) return fmt::format("GROUP({})", norm.group_shards());
  return proto::BatchNorm::Scope_Name(norm.scope());
}

RunContract contract_of(const Session& session) {
  const proto::Config& config = session.config();
  RunContract contract;
  contract.shard_batch = session.plan.shard_batch;
  contract.shards = session.plan.shards;
  contract.threads_per_shard = config.threads_per_rank();
  contract.reduction = proto::Distributed::Reduction_Name(config.distributed().reduction());
  contract.bn_scope = scope_text(config.model().batch_norm());
  contract.wire_dtype = config.distributed().wire() == proto::Distributed::BF16 ? "bf16" : "f32";
  contract.dataset_digest = session.train_source ? session.train_source->digest() : "";
  contract.config_digest = config_digest(config);
  contract.config_text = effective_config_text(session.loaded);
  contract.choices = session.network.kernels->choices();
  return contract;
}

Provenance provenance_of(const Session& session) {
  Provenance provenance;
  provenance.build_id = build_id();
  for (const auto& [name, version] : build_components()) provenance.libraries[name] = version;
  provenance.cpu_isa = provenance.libraries["processor"];
  provenance.world_size = session.plan.ranks;
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  provenance.host = host;
  return provenance;
}

// torchvision counts batches beside each pair of running statistics.
void add_batch_counters(const Model& model, std::int64_t step, std::vector<NamedTensor>& tensors) {
  for (const Buffer* buffer : model.buffers()) {
    const std::size_t end = buffer->name.rfind(kRunningMean);
    if (end == std::string::npos) continue;
    Tensor count = Tensor::zeros({}, DType::kI64);
    count.host<std::int64_t>()[0] = step;
    tensors.push_back({buffer->name.substr(0, end) + ".num_batches_tracked", count});
  }
}

// A scale may be any double: its bits are saved.
constexpr const char *kScaleBits = "loss_scale_bits", *kScaleGoodSteps = "loss_scale_good_steps", *kScaleSkipped = "loss_scale_skipped";

void save_loss_scale(const LossScale& scale, std::map<std::string, std::int64_t>& counters) {
  counters[kScaleBits] = std::bit_cast<std::int64_t>(scale.scale);
  counters[kScaleGoodSteps] = scale.good_steps;
  counters[kScaleSkipped] = scale.skipped;
}

void restore_loss_scale(const std::map<std::string, std::int64_t>& counters, LossScale& scale) {
  const auto bits = counters.find(kScaleBits), good = counters.find(kScaleGoodSteps), skipped = counters.find(kScaleSkipped);
  if (bits == counters.end()) return;  // saved by a run without: begins with the config's
  if (good == counters.end() || skipped == counters.end())
    throw UserError("checkpoint: the loss scale's counters are incomplete", ExitCode::kData);
  scale = {std::bit_cast<double>(bits->second), good->second, skipped->second};
}

using TensorsByName = std::map<std::string, const Tensor*>;

TensorsByName by_name(const std::vector<NamedTensor>& tensors) {
  TensorsByName result;
  for (const NamedTensor& each : tensors) result[each.name] = &each.tensor;
  return result;
}

void copy_saved(const TensorsByName& saved, const std::string& name, Tensor& target) {
  const auto found = saved.find(name);
  if (found == saved.end())
    throw UserError("checkpoint: tensor '" + name + "' is missing; was it saved from another model?", ExitCode::kData);
  const Tensor& source = *found->second;
  if (source.shape() != target.shape() || source.dtype() != target.dtype())
    throw UserError(fmt::format("checkpoint: tensor '{}' has {} {}, the model wants {} {}", name, dtype_name(source.dtype()),
                                source.shape().str(), dtype_name(target.dtype()), target.shape().str()),
                    ExitCode::kData);
  std::memcpy(target.ptr(), source.ptr(), target.nbytes());
}

}  // namespace

void to_device(Session& session) {
  session.network.to_device();
  session.optimizer->to_device(session.network.kernels->device());
  if (session.average) session.average->to_device(session.network.kernels->device());
}

Session make_session(LoadedConfig loaded, int ranks, int gpu, bool with_evaluation) {
  const proto::Config& config = loaded.config();
  check_world_size(config.batch().global_batch() / config.batch().shard_batch(), ranks,
                   config.distributed().reduction() == proto::Distributed::EXACT ? ReduceOrder::kFixedTree : ReduceOrder::kFast);
  std::unique_ptr<Source> train = open_split(config, Split::kTrain);
  std::unique_ptr<Source> eval;
  if (with_evaluation && (config.data().source() != proto::Data::SYNTHETIC || config.data().synthetic().eval_size() > 0))
    eval = open_split(config, Split::kEval, train->classes());
  if (eval) check_same_classes(*train, *eval);
  RunPlan plan = make_plan(config, train->size(), eval ? eval->size() : 0, ranks);
  const ImageSize image = image_size(config, *train);
  const int classes = config.model().classes() > 0 ? config.model().classes() : train->classes();
  Network network = make_network(config, image, classes, gpu);
  network.model->check_input({plan.shard_batch, image.channels, image.height, image.width}, plan.norm_shards * plan.shard_batch);
  auto schedule = std::make_unique<Schedule>(config, plan.steps_per_epoch);
  auto optimizer = std::make_unique<SgdOptimizer>(config.optimizer(), network.model->parameters());
  std::unique_ptr<WeightAverage> average;
  if (config.average().decay() > 0) average = std::make_unique<WeightAverage>(config.average(), *network.model);
  return {std::move(loaded), std::move(train), std::move(eval), plan, std::move(network), std::move(schedule), std::move(optimizer),
          std::move(average)};
}

TrainingState capture_state(const Session& session, std::int64_t step) {
  TrainingState state;
  const RunPlan& plan = session.plan;
  state.step = static_cast<std::uint64_t>(step);
  state.epoch = static_cast<std::uint64_t>(step / plan.steps_per_epoch);
  state.samples_in_epoch = static_cast<std::uint64_t>(step % plan.steps_per_epoch * plan.global_batch);
  state.seed = session.config().seed();
  for (const Parameter* parameter : session.network.model->parameters()) {
    state.model.push_back({parameter->name, to_host(parameter->value)});
    state.optimizer.push_back(
        {kMomentumPrefix + parameter->name, to_host(session.optimizer->momentum()[static_cast<std::size_t>(parameter->id)])});
  }
  for (const Buffer* buffer : session.network.model->buffers()) state.model.push_back({buffer->name, to_host(buffer->value)});
  if (session.average)
    for (const NamedTensor& each : session.average->tensors()) state.optimizer.push_back({each.name, to_host(each.tensor)});
  add_batch_counters(*session.network.model, step, state.model);
  if (session.network.dtype == DType::kF16) save_loss_scale(session.network.loss_scale, state.counters);
  state.counters["classes"] = session.network.model->options().classes;
  state.contract = contract_of(session);
  state.provenance = provenance_of(session);
  return state;
}

void restore_model(const std::vector<NamedTensor>& tensors, Model& model) {
  const TensorsByName saved = by_name(tensors);
  for (Parameter* parameter : model.parameters()) copy_saved(saved, parameter->name, parameter->value);
  for (Buffer* buffer : model.buffers()) copy_saved(saved, buffer->name, buffer->value);
}

bool has_average(const TrainingState& saved) {
  return std::any_of(saved.optimizer.begin(), saved.optimizer.end(), [](const NamedTensor& each) { return each.name.starts_with(kAveragePrefix); });
}

void restore_evaluated_model(const TrainingState& saved, Model& model) {
  if (!has_average(saved)) return restore_model(saved.model, model);
  const TensorsByName averages = by_name(saved.optimizer);
  for (Parameter* parameter : model.parameters()) copy_saved(averages, kAveragePrefix + parameter->name, parameter->value);
  for (Buffer* buffer : model.buffers()) copy_saved(averages, kAveragePrefix + buffer->name, buffer->value);
}

std::int64_t restore_state(const TrainingState& saved, Session& session, bool may_restart_average) {
  restore_model(saved.model, *session.network.model);
  const TensorsByName optimizer = by_name(saved.optimizer);
  for (const Parameter* parameter : session.network.model->parameters()) {
    Tensor momentum = session.optimizer->momentum()[static_cast<std::size_t>(parameter->id)];
    copy_saved(optimizer, kMomentumPrefix + parameter->name, momentum);
  }
  if (session.average && may_restart_average && !has_average(saved))
    session.average->restart();
  else if (session.average)
    for (NamedTensor& each : session.average->tensors()) copy_saved(optimizer, each.name, each.tensor);
  restore_loss_scale(saved.counters, session.network.loss_scale);
  return static_cast<std::int64_t>(saved.step);
}

std::vector<std::pair<std::string, std::uint64_t>> hash_state(const Session& session) {
  std::vector<std::pair<std::string, std::uint64_t>> hashes;
  const auto add = [&](const std::string& name, const Tensor& on_device) {
    const Tensor tensor = to_host(on_device);
    hashes.emplace_back(name, XXH3_64bits(tensor.ptr(), tensor.nbytes()));
  };
  for (const Parameter* parameter : session.network.model->parameters()) {
    add(parameter->name, parameter->value);
    add(kMomentumPrefix + parameter->name, session.optimizer->momentum()[static_cast<std::size_t>(parameter->id)]);
  }
  for (const Buffer* buffer : session.network.model->buffers()) add(buffer->name, buffer->value);
  if (session.average)
    for (const NamedTensor& each : session.average->tensors()) add(each.name, each.tensor);
  return hashes;
}

}  // namespace lockstep
