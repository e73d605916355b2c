// AnalysisReport: all that `lockstep analyze` says, as data, as text and as JSON.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "planning/analysis.h"
#include "planning/device_description.h"
#include "planning/roofline.h"

namespace lockstep {

struct AnalysisQuestion {
  Purpose purpose = Purpose::kInference;
  NumberFormat format = NumberFormat::kFp32;  // of arithmetic, weights and activations
  std::vector<int> bits{1, 2, 4, 8, 16, 32};  // widths to give sizes for
  std::vector<DeviceDescription> devices;
  double samples = 0, epochs = 0;             // of a whole training; 0: not asked

  NumberWidths widths() const { return {static_cast<double>(format_bits(format)), static_cast<double>(format_bits(format)), 32}; }
};

struct AnalysisReport {
  AnalysisQuestion question;
  NetworkCount count;
  std::vector<std::optional<DeviceBound>> bounds;  // one per device; none: it has no such arithmetic
  std::string kernels_note;                        // why kernels_s is not known; empty: it is

  // Of the whole training on a device, by its roofline (training, whatever the question's purpose); 0: not asked.
  double epoch_s(std::size_t device) const;
  double training_s(std::size_t device) const { return epoch_s(device) * question.epochs; }

  std::vector<double> training_batch_s;            // a training step's roofline time, one per device
};

// `calls` as bound_network. Throws UserError when no device has the format's arithmetic.
AnalysisReport analyse(NetworkCount count, AnalysisQuestion question, std::span<const OpCall> calls);

std::string analysis_text(const AnalysisReport& report);
std::string analysis_json(const AnalysisReport& report);  // one object, indented

}  // namespace lockstep
