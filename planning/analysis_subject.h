// AnalysisSubject: which network an analysis is about: a config's, with what the command line changes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "models/model.h"
#include "planning/device_description.h"
#include "train/config/config.h"

namespace lockstep {

// What was said beside the config; 0: nothing.
struct SubjectChanges {
  std::int64_t batch = 0;
  int height = 0, width = 0, channels = 0, classes = 0;
  std::optional<NumberFormat> format;
};

struct AnalysisSubject {
  ModelOptions model;
  std::int64_t batch = 0;                       // images at a time: the config's shard_batch
  NumberFormat format = NumberFormat::kFp32;    // the config's precision
  double samples = 0, epochs = 0;               // of its training; 0: the config doesn't say
};

// No data is opened: what the config leaves to the data must be given. Throws UserError naming what is missing.
AnalysisSubject subject_of(const LoadedConfig& loaded, const SubjectChanges& changes);

}  // namespace lockstep
