// The report of `lockstep analyze` as text.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "planning/analysis_report.h"
#include "planning/units.h"

namespace lockstep {
namespace {

std::string bytes(double value) { return quantity(value, "B"); }
std::string ops(double value) { return quantity(value, "OP"); }
bool training(const AnalysisReport& report) { return report.question.purpose == Purpose::kTraining; }

std::string head(const AnalysisReport& report) {
  const NetworkCount& count = report.count;
  const AnalysisQuestion& question = report.question;
  const std::string images = count.images.rank() == 4 ? fmt::format(" of {}x{}x{}", count.images[1], count.images[2], count.images[3]) : "";
  return fmt::format(
      "{}: {} parameters; {}, batch {}{}, {} ({} bits; biases and normalisation 32)\n"
      "W weights, A input activations, O operations: a multiplication and an addition are two{}\n\n",
      count.name, count.parameters(), training(report) ? "training" : "inference", count.batch, images, format_name(question.format),
      format_bits(question.format),
      training(report) ? "\ntraining: W with gradients and updates, A with gradients, O forward and two backward products" : "");
}

std::string layers_table(const AnalysisReport& report) {
  std::size_t widest = 5;
  for (const LayerInfo& layer : report.count.layers)
    if (has_weights(layer)) widest = std::max(widest, layer.name.size());
  std::string text = fmt::format("{:<{}}  {:<9}  {:<22} {:>10} {:>10} {:>10} {:>10} {:>10}\n", "layer", widest, "op", "output", "W", "A", "O", "O/W",
                                 "O/(W+A)");
  for (const LayerInfo& layer : report.count.layers) {
    if (!has_weights(layer)) continue;
    const Demand asked = demand(layer.work, report.question.widths(), report.question.purpose);
    text += fmt::format("{:<{}}  {:<9}  {:<22} {:>10} {:>10} {:>10} {:>10} {:>10}\n", layer.name, widest, layer.op, layer.output.str(),
                        bytes(asked.weight_bytes), bytes(asked.input_bytes), ops(asked.operations), quantity(asked.intensity_of_weights(), ""),
                        quantity(asked.intensity(), ""));
  }
  return text + "\n";
}

std::string totals(const AnalysisReport& report) {
  const NumberWidths widths = report.question.widths();
  const Work with_weights = report.count.with_weights();
  std::string text = fmt::format("{:<44} {:>12} {:>12}\n", "in all", "inference", "training");
  const auto row = [&](std::string_view name, const auto& value) {
    text += fmt::format("{:<44} {:>12} {:>12}\n", name, value(Purpose::kInference), value(Purpose::kTraining));
  };
  const auto all = [&](Purpose purpose) { return demand(with_weights, widths, purpose); };
  const auto apart = [&](Purpose purpose) { return demand(report.count.apart(purpose), widths, purpose); };
  row("W", [&](Purpose p) { return bytes(all(p).weight_bytes); });
  row("A", [&](Purpose p) { return bytes(all(p).input_bytes); });
  row("O", [&](Purpose p) { return ops(all(p).operations); });
  row("O for each sample", [&](Purpose p) { return ops(all(p).operations / static_cast<double>(report.count.batch)); });
  row("O/W: only weights from off the chip, OP/B", [&](Purpose p) { return quantity(all(p).intensity_of_weights(), ""); });
  row("O/(W+A): activations too, OP/B", [&](Purpose p) { return quantity(all(p).intensity(), ""); });
  row("apart: biases and normalisation", [&](Purpose p) { return bytes(apart(p).vector_bytes); });
  row("apart: activations read by other ops", [&](Purpose p) { return bytes(apart(p).input_bytes); });
  row("apart: operations beside products", [&](Purpose p) { return ops(apart(p).other_operations); });
  return text + "\n";
}

std::string apart_by_op(const AnalysisReport& report) {
  std::map<std::string, std::pair<int, Work>> by_op;
  for (const LayerInfo& layer : report.count.layers) {
    Work own = layer.work;
    own.weights = own.operations = 0;
    if (has_weights(layer)) own.inputs = own.outputs = 0;
    auto& [layers, sum] = by_op[has_weights(layer) ? "biases of " + std::string(layer.op) : std::string(layer.op)];
    ++layers;
    sum = sum + own;
  }
  std::string text = fmt::format("{:<26} {:>7} {:>14} {:>12} {:>12} {:>12}\n", "apart, one forward pass", "layers", "parameters", "reads",
                                 "writes", "operations");
  for (const auto& [op, entry] : by_op) {
    const auto& [layers, work] = entry;
    if (work == Work{}) continue;
    text += fmt::format("{:<26} {:>7} {:>14} {:>12} {:>12} {:>12}\n", op, layers, work.vectors, quantity(static_cast<double>(work.inputs), ""),
                        quantity(static_cast<double>(work.outputs), ""), ops(static_cast<double>(work.other_operations)));
  }
  return text + "\n";
}

std::string sizes(const AnalysisReport& report) {
  const Work all = report.count.with_weights();
  std::string text = fmt::format("{:<26} {:>12} {:>18} {:>12} {:>10} {:>10}\n", "bits", "W", "with biases, norms", "A", "O/W", "O/(W+A)");
  for (const int bits : report.question.bits) {
    const NumberWidths widths{static_cast<double>(bits), static_cast<double>(bits), 32};
    const Demand once = demand(all, widths, Purpose::kInference);
    const double vectors = demand(report.count.apart(Purpose::kInference), widths, Purpose::kInference).vector_bytes;
    text += fmt::format("{:<26} {:>12} {:>18} {:>12} {:>10} {:>10}\n", bits, bytes(once.weight_bytes), bytes(once.weight_bytes + vectors),
                        bytes(once.input_bytes), quantity(once.intensity_of_weights(), ""), quantity(once.intensity(), ""));
  }
  return text + "\n";
}

std::string energy_of(const DeviceDescription& device, double seconds) {
  return device.power_w > 0 ? energy_text(device.power_w * seconds) : "-";
}

std::string device_rows(const AnalysisReport& report) {
  const AnalysisQuestion& question = report.question;
  std::string text = fmt::format("{:<18} {:>13} {:>11} {:>7} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>8}\n",
                                 fmt::format("roofline, {}", format_name(question.format)), "peak", "memory", "ridge", "O alone", "W", "W and A",
                                 "samples/s", "kernels", "samples/s", "energy");
  const auto batch = static_cast<double>(report.count.batch);
  for (std::size_t i = 0; i < question.devices.size(); ++i) {
    const DeviceDescription& device = question.devices[i];
    if (!report.bounds[i]) {
      text += fmt::format("{:<18} has no {} arithmetic; it has {}\n", device.name, format_name(question.format), device.formats());
      continue;
    }
    const DeviceBound& bound = *report.bounds[i];
    const bool kernels = bound.kernels_s > 0;
    text += fmt::format("{:<18} {:>13} {:>11} {:>7.0f} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>8}\n", device.name,
                        quantity(device.peak(question.format), "OP/s"), quantity(device.memory_bytes_per_second, "B/s"),
                        device.ridge(question.format),
                        time_text(bound.arithmetic_s), time_text(bound.weights_s), time_text(bound.seconds), quantity(batch / bound.seconds, ""),
                        kernels ? time_text(bound.kernels_s) : "-", kernels ? quantity(batch / bound.kernels_s, "") : "-",
                        energy_of(device, bound.seconds));
  }
  return text;
}

std::string device_notes(const AnalysisReport& report) {
  std::string text =
      "  ridge: OP/B above which arithmetic is the limit. Times for one batch: O alone; with W, or W and A, from memory; kernels: with all\n"
      "  that each kernel reads and writes. Energy: the board's power for the time of W and A.\n";
  if (!report.kernels_note.empty()) text += "  kernels: " + report.kernels_note + "\n";
  for (std::size_t i = 0; i < report.bounds.size(); ++i) {
    if (!report.bounds[i]) continue;
    const DeviceBound& bound = *report.bounds[i];
    const DeviceDescription& device = report.question.devices[i];
    const double on_chip = device.cache_bytes + device.near_memory_bytes;
    text += fmt::format("  {}: memory is the limit in {} of {} layers; {}\n", device.name, bound.memory_bound, bound.layers,
                        on_chip > 0 ? fmt::format("input and output of {} fit into its {} on the chip", bound.fit_on_chip, bytes(on_chip))
                                    : "its on-chip memory is not known");
  }
  return text + "\n";
}

std::string whole_training(const AnalysisReport& report) {
  const AnalysisQuestion& question = report.question;
  if (!(question.samples > 0)) return "";
  std::string text = fmt::format("a whole training: {:.0f} samples, {:g} epochs: {} (3 x samples x epochs x O)\n", question.samples, question.epochs,
                                 ops(training_operations(report.count, question.samples, question.epochs)));
  for (std::size_t i = 0; i < report.bounds.size(); ++i) {
    if (!report.bounds[i]) continue;
    const DeviceDescription& device = question.devices[i];
    text += fmt::format("  {:<18} at the roofline: an epoch {:>14}, all {:>14}, {}\n", device.name, time_text(report.epoch_s(i)),
                        time_text(report.training_s(i)),
                        device.power_w > 0 ? fmt::format("{} at {:.0f} W", energy_of(device, report.training_s(i)), device.power_w)
                                           : "power not known");
  }
  return text;
}

}  // namespace

std::string analysis_text(const AnalysisReport& report) {
  std::string text = head(report) + layers_table(report) + totals(report) + apart_by_op(report) + sizes(report);
  if (!report.question.devices.empty()) text += device_rows(report) + device_notes(report);
  return text + whole_training(report);
}

}  // namespace lockstep
