// SPDX-License-Identifier: Apache-2.0
#include "planning/analysis_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace lockstep {
namespace {

void check_devices(const AnalysisQuestion& question) {
  const auto has = [&](const DeviceDescription& device) { return device.has(question.format); };
  if (question.devices.empty() || std::ranges::any_of(question.devices, has)) return;
  std::string known;
  for (const DeviceDescription& device : question.devices) known += fmt::format("\n  {}: {}", device.name, device.formats());
  throw UserError(fmt::format("--dtype: none of the devices has {} arithmetic{}", format_name(question.format), known));
}

}  // namespace

double AnalysisReport::epoch_s(std::size_t device) const {
  return training_batch_s[device] * question.samples / static_cast<double>(count.batch);
}

AnalysisReport analyse(NetworkCount count, AnalysisQuestion question, std::span<const OpCall> calls) {
  check_devices(question);
  AnalysisReport report{.question = std::move(question), .count = std::move(count), .bounds = {}, .kernels_note = "", .training_batch_s = {}};
  const AnalysisQuestion& asked = report.question;
  for (const DeviceDescription& device : asked.devices) {
    if (!device.has(asked.format)) {
      report.bounds.emplace_back();
      report.training_batch_s.push_back(0);
      continue;
    }
    report.bounds.emplace_back(bound_network(report.count, asked.widths(), asked.purpose, device, asked.format, calls));
    report.training_batch_s.push_back(bound_network(report.count, asked.widths(), Purpose::kTraining, device, asked.format).seconds);
  }
  return report;
}

}  // namespace lockstep
