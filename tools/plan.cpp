// `lockstep plan`: what a run will be and take, before any data or GPU is used.
// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "core/error.h"
#include "planning/plan.h"
#include "tools/commands.h"
#include "tools/options.h"

namespace lockstep {
namespace {

struct PlanFlags {
  ConfigOptions config;
  int ranks = 1, nodes = 0;
  std::string device, network, kernels, svg, html, currency = "USD";
  double price = 0, stragglers = -1;
  bool json = false;
};

PlanOptions plan_options(const PlanFlags& flags) {
  PlanOptions options{.ranks = flags.ranks, .hosts = flags.nodes, .device = {}, .cluster = {}, .kernels = {}, .price_per_hour = flags.price,
                      .straggler_share = flags.stragglers >= 0 ? flags.stragglers * 1e-2 : -1, .currency = flags.currency};
  if (!flags.device.empty()) options.device = load_device(flags.device);
  if (!flags.network.empty()) options.cluster = load_cluster(flags.network);
  if (!flags.kernels.empty()) options.kernels = load_kernel_table(flags.kernels);
  return options;
}

int run_plan(const PlanFlags& flags) {
  const TrainingPlan plan = plan_training(load_and_validate(flags.config, false), plan_options(flags));
  if (!flags.svg.empty()) write_page(flags.svg, svg(rate_chart(plan)));
  if (!flags.html.empty()) write_page(flags.html, plan_html(plan));
  std::puts((flags.json ? plan_json(plan) : plan_text(plan)).c_str());
  return 0;
}

}  // namespace

void add_plan(CLI::App& app, Run& run) {
  auto flags = std::make_shared<PlanFlags>();
  CLI::App* command =
      app.add_subcommand("plan", "What a run will take: steps, memory, time, energy, cost, and what to mind; uses no data and no GPU");
  add_config_options(*command, flags->config);
  command->add_option("--ranks", flags->ranks, "Ranks (1)")->check(CLI::PositiveNumber);
  command->add_option("--nodes", flags->nodes, "Hosts that share them evenly; by default as many as the network's hosts need")
      ->check(CLI::PositiveNumber);
  command->add_option("--device", flags->device, "What each rank computes on: a name (h100, a100, ...) or a file such as those in configs/devices");
  command->add_option("--network", flags->network,
                      "How ranks are joined: a name (dgx_h100, ethernet_100g, ...) or a file such as those in configs/clusters");
  command->add_option("--kernels", flags->kernels, "A step measured by `lockstep bench step --json` (or ops), instead of the device's roofline");
  command->add_option("--price", flags->price, "Price of one device and hour")->check(CLI::NonNegativeNumber);
  command->add_option("--currency", flags->currency, "Of the price (USD)");
  command->add_option("--stragglers", flags->stragglers, "Standard deviation of ranks' and links' times in percent; by default the network's")
      ->check(CLI::Range(0.0, 50.0));
  command->add_option("--svg", flags->svg, "Write the learning-rate curve to this file");
  command->add_option("--html", flags->html, "Write the plan to this file, as one page without scripts or links");
  command->add_flag("--json", flags->json, "Print one JSON object");
  command->callback([=, &run] { run = [=] { return run_plan(*flags); }; });
}

}  // namespace lockstep
