// The report of `lockstep analyze` as JSON: every layer, all numbers in full. Bytes and operations are those of the question's purpose.
// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "planning/analysis_report.h"

namespace lockstep {
namespace {

using nlohmann::ordered_json;

std::vector<std::int64_t> extents(const Shape& shape) {
  std::vector<std::int64_t> list;
  for (int axis = 0; axis < shape.rank(); ++axis) list.push_back(shape[axis]);
  return list;
}

// Elements and operations of one forward pass.
ordered_json work_json(const Work& work) {
  return {{"weights", work.weights}, {"vectors", work.vectors},       {"inputs", work.inputs},
          {"outputs", work.outputs}, {"operations", work.operations}, {"other_operations", work.other_operations}};
}

ordered_json demand_json(const Demand& asked) {
  return {{"weight_bytes", asked.weight_bytes},
          {"input_bytes", asked.input_bytes},
          {"output_bytes", asked.output_bytes},
          {"vector_bytes", asked.vector_bytes},
          {"operations", asked.operations},
          {"other_operations", asked.other_operations},
          {"intensity_of_weights", asked.intensity_of_weights()},
          {"intensity", asked.intensity()}};
}

ordered_json layers_json(const AnalysisReport& report) {
  ordered_json list = ordered_json::array();
  for (const LayerInfo& layer : report.count.layers)
    list.push_back({{"name", layer.name},
                    {"op", layer.op},
                    {"output", extents(layer.output)},
                    {"parameters", layer.parameters},
                    {"forward", work_json(layer.work)},
                    {"demand", demand_json(demand(layer.work, report.question.widths(), report.question.purpose))}});
  return list;
}

ordered_json sizes_json(const AnalysisReport& report) {
  ordered_json list = ordered_json::array();
  for (const int bits : report.question.bits) {
    const NumberWidths widths{static_cast<double>(bits), static_cast<double>(bits), 32};
    const Demand once = demand(report.count.with_weights(), widths, Purpose::kInference);
    list.push_back({{"bits", bits},
                    {"weight_bytes", once.weight_bytes},
                    {"vector_bytes", demand(report.count.apart(Purpose::kInference), widths, Purpose::kInference).vector_bytes},
                    {"input_bytes", once.input_bytes},
                    {"intensity_of_weights", once.intensity_of_weights()},
                    {"intensity", once.intensity()}});
  }
  return list;
}

ordered_json device_json(const AnalysisReport& report, std::size_t i) {
  const AnalysisQuestion& question = report.question;
  const DeviceDescription& device = question.devices[i];
  ordered_json object{{"name", device.name}, {"file", device.file}, {"has_format", report.bounds[i].has_value()}};
  if (!report.bounds[i]) return object;
  const DeviceBound& bound = *report.bounds[i];
  object.update({{"peak", device.peak(question.format)},
                 {"memory_bytes_per_second", device.memory_bytes_per_second},
                 {"ridge", device.ridge(question.format)},
                 {"arithmetic_s", bound.arithmetic_s},
                 {"weights_s", bound.weights_s},
                 {"seconds", bound.seconds},
                 {"samples_per_second", bound.images_per_second(report.count.batch)},
                 {"layers", bound.layers},
                 {"memory_bound_layers", bound.memory_bound},
                 {"layers_on_chip", bound.fit_on_chip}});
  if (bound.kernels_s > 0) object["kernels_s"] = bound.kernels_s;
  if (device.power_w > 0) object["joules"] = device.power_w * bound.seconds;
  if (question.samples > 0) {
    object["epoch_s"] = report.epoch_s(i);
    object["training_s"] = report.training_s(i);
    if (device.power_w > 0) object["training_joules"] = device.power_w * report.training_s(i);
  }
  return object;
}

}  // namespace

std::string analysis_json(const AnalysisReport& report) {
  const AnalysisQuestion& question = report.question;
  const Work all = report.count.with_weights();
  ordered_json object{{"network", report.count.name},
                      {"images", extents(report.count.images)},
                      {"batch", report.count.batch},
                      {"parameters", report.count.parameters()},
                      {"purpose", question.purpose == Purpose::kTraining ? "training" : "inference"},
                      {"format", format_name(question.format)},
                      {"bits", format_bits(question.format)},
                      {"forward", work_json(all)},
                      {"apart_forward", work_json(report.count.apart(question.purpose))},
                      {"demand", demand_json(demand(all, question.widths(), question.purpose))},
                      {"apart", demand_json(demand(report.count.apart(question.purpose), question.widths(), question.purpose))},
                      {"sizes", sizes_json(report)},
                      {"devices", ordered_json::array()},
                      {"layers", layers_json(report)}};
  for (std::size_t i = 0; i < question.devices.size(); ++i) object["devices"].push_back(device_json(report, i));
  if (question.samples > 0) {
    object["samples"] = question.samples;
    object["epochs"] = question.epochs;
    object["training_operations"] = training_operations(report.count, question.samples, question.epochs);
  }
  return object.dump(2);
}

}  // namespace lockstep
