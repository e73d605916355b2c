// DryRun: everything that is known of a run before it starts, from the config alone. No data is opened (data.path need not
// exist), nothing is written; the memory is that of a rehearsal on this machine.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "train/bands.h"
#include "train/config/config.h"
#include "train/memory_plan.h"
#include "train/optimizer.h"
#include "train/plan.h"
#include "train/size_phases.h"

namespace lockstep {

namespace proto {
class Config;
}

// What a format is known to hold when the config does not say; 0: anything.
struct KnownData {
  std::int64_t train = 0, eval = 0;
  int classes = 0, side = 0, channels = 3;
  std::string assumed;
};
KnownData known_data(const proto::Config& config);  // image files: of network.h's default_side

struct RatePoint {
  std::int64_t step = 0;
  double epoch = 0, lr = 0;
  std::string why;  // "warm-up ends", ""
};

// Parameters that fall under the same rule.
struct RuleGroup {
  ParameterRule rule;
  std::int64_t tensors = 0, elements = 0;
};

struct DryRun {
  LoadedConfig loaded;
  RunPlan plan;
  int classes = 0;
  ImageSize image;                       // that evaluation sees
  std::vector<SizePhases::Phase> sizes;  // of training images
  std::vector<int> ranks_allowed;
  std::vector<RatePoint> rates;          // at the epochs where something happens
  std::vector<double> curve;             // the learning rate at equally spaced steps
  double peak_lr = 0;
  std::string model;
  std::int64_t parameters = 0;
  bool has_norms = false;                // batch norms
  std::vector<RuleGroup> groups;
  std::string optimizer;                 // one line about the rules
  std::optional<MemoryPlan> memory;      // of one rank; absent: not known here
  std::string memory_note;               // does it fit? Why is it not known?
  std::int64_t checkpoint_bytes = 0, checkpoints = 0;  // size of one; how many are kept
  std::int64_t saves = 0, evaluations = 0;             // in the whole run
  std::string augmentation;
  std::vector<std::string> may_change;   // fields and groups of fields that a resume may change
  std::vector<std::string> notes;        // what was assumed or is not known
};

// As with `ranks` ranks. Throws UserError naming the field that is missing (data.train_images, model.classes) or does not fit.
// Without `rehearse` the memory stays unknown, which saves a second or two with large networks.
DryRun plan_dry_run(const LoadedConfig& loaded, int ranks, bool rehearse = true);

std::string dry_run_text(const DryRun& run);
std::string dry_run_json(const DryRun& run);  // one object, indented

}  // namespace lockstep
