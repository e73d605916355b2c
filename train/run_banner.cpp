// SPDX-License-Identifier: Apache-2.0
#include "train/run_banner.h"

#include <fmt/format.h>

#include "core/accelerator.h"
#include "cpu/fast/dnnl_adapter.h"
#include "proto/config.pb.h"
#include "train/loading.h"
#include "train/noise_scale.h"

namespace lockstep {
namespace {

bool bf16_on_a_cpu(const proto::Config& config) { return config.precision() == proto::Config::BF16 && config.backend() != proto::Config::CUDA; }

}  // namespace

std::vector<std::pair<std::string, std::string>> describe_run(const Session& session, const MemoryPlan& memory, const std::string& transport) {
  const proto::Config& config = session.config();
  const Network& network = session.network;
  auto derived = describe_plan(config, session.plan, *session.schedule);
  derived.emplace_back("source", session.train_source->describe());
  if (config.data().size_phase_size() > 0) derived.emplace_back("image sizes", size_phases(session).describe());
  derived.emplace_back("model", fmt::format("{}, {} parameters, {} classes", network.model->name(), network.model->parameter_count(),
                                            network.model->options().classes));
  derived.emplace_back("optimizer", describe_rules(session.optimizer->rules(), session.optimizer->lars()));
  if (session.average)
    derived.emplace_back("average", fmt::format("of weights and statistics, decay {:g}{}, every {} steps: evaluated instead of the weights",
                                                config.average().decay(), config.average().warmup() ? " after a warm-up" : "",
                                                config.average().every_steps()));
  if (config.backend() == proto::Config::CUDA) derived.emplace_back("gpu", accelerator_of(network.kernels->device()).description());
  if (config.precision() == proto::Config::FP16)
    derived.emplace_back("loss scale", fmt::format("{:g}, doubled after {} good steps", network.loss_scale.scale,
                                                   config.loss_scaling().growth_steps()));
  if (bf16_on_a_cpu(config)) derived.emplace_back("bf16 products", bf16_support());
  derived.emplace_back("backend", fmt::format("{}, transport {}", network.kernels->name(), transport));
  derived.emplace_back("noise scale", plan_noise(config, session.plan, *network.model).describe());
  derived.emplace_back("memory", describe_memory(memory));
  return derived;
}

std::vector<std::string> run_warnings(const proto::Config& config) {
  if (!bf16_on_a_cpu(config) || bf16_is_fast()) return {};
  return {"precision: BF16: this processor has neither AMX nor AVX512-BF16, so FP32 is faster here"};
}

}  // namespace lockstep
