// A plan as one JSON object: the dry run's, and more.
// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "planning/plan.h"

namespace lockstep {
namespace {

using Json = nlohmann::ordered_json;

Json memory_json(const TrainingPlan& plan) {
  const MemoryEstimate& memory = plan.memory;
  Json object{{"total_bytes", memory.total()},
              {"weights_bytes", memory.weights},
              {"compute_copies_bytes", memory.compute_copies},
              {"momentum_bytes", memory.momentum},
              {"statistics_bytes", memory.statistics},
              {"average_bytes", memory.average},
              {"gradients_bytes", memory.gradients},
              {"activations_bytes", memory.activations},
              {"input_bytes", memory.input},
              {"bytes_per_image", memory.growing()}};
  if (plan.device_bytes > 0) {
    object["device_bytes"] = plan.device_bytes;
    object["largest_shard_batch"] = plan.largest_shard;
  }
  return object;
}

Json buckets_json(const StepPrediction& step) {
  Json buckets = Json::array();
  for (std::size_t b = 0; b < step.step.buckets.size(); ++b) {
    Json bucket{{"bytes", step.step.buckets[b].bytes}, {"ready_s", step.step.buckets[b].ready_s}};
    if (b < step.simulation.begin_s.size()) {
      bucket["algorithm"] = algorithm_name(step.simulation.algorithms[b]);
      bucket["begin_s"] = step.simulation.begin_s[b];
      bucket["end_s"] = step.simulation.end_s[b];
    }
    buckets.push_back(std::move(bucket));
  }
  return buckets;
}

Json step_json(const StepPrediction& step) {
  const SimulationResult& s = step.simulation;
  return {{"seconds", s.step_s},
          {"images_per_second", step.images_per_second()},
          {"forward_s", step.forward_s},
          {"backward_s", step.backward_s},
          {"norm_sync_s", step.norm_sync_s},
          {"straggler_s", s.straggler_s},
          {"exposed_s", s.exposed_s},
          {"update_s", s.update_s},
          {"communication_s", s.communication_s},
          {"hidden_share", s.hidden_share()},
          {"efficiency", s.efficiency()},
          {"slowest_s", s.slowest_step_s}};
}

Json scaling_json(const TrainingPlan& plan) {
  Json points = Json::array();
  for (const ScalingPoint& point : plan_scaling(plan)) {
    Json each{{"ranks", point.ranks}};
    each.update(step_json(point.step));
    points.push_back(std::move(each));
  }
  return points;
}

Json totals_json(const TrainingPlan& plan) {
  const PlanTotals& totals = *plan.totals;
  Json object{{"seconds", totals.seconds()},
              {"training_s", totals.training_s},
              {"evaluation_s", totals.evaluation_s},
              {"checkpoint_s", totals.checkpoint_s},
              {"start_s", totals.start_s}};
  object["joules"] = totals.joules > 0 ? Json(totals.joules) : Json(nullptr);
  object["cost"] = plan.options.price_per_hour > 0 ? Json(totals.cost) : Json(nullptr);
  if (plan.options.price_per_hour > 0) object["currency"] = plan.options.currency;
  return object;
}

}  // namespace

std::string plan_json(const TrainingPlan& plan) {
  Json object = Json::parse(dry_run_json(plan.run));
  object.erase("memory_per_rank");  // this machine's; the plan's is of the device
  object["memory"] = memory_json(plan);
  if (plan.options.device) object["device"] = plan.options.device->name;
  if (plan.options.cluster) object["network"] = plan.options.cluster->name;
  object["basis"] = plan.compute ? Json(plan.compute->basis) : Json(nullptr);
  object["step"] = plan.step ? step_json(*plan.step) : Json(nullptr);
  if (plan.step) {
    object["buckets"] = buckets_json(*plan.step);
    object["totals"] = totals_json(plan);
    object["scaling"] = scaling_json(plan);
  }
  object["warnings"] = Json::array();
  for (const PlanWarning& warning : plan.warnings) object["warnings"].push_back({{"id", warning.id}, {"text", warning.text}});
  return object.dump(2);
}

}  // namespace lockstep
