// A dry run in words: a table, a curve, lists.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "proto/config.pb.h"
#include "train/dry_run.h"
#include "train/schedule.h"

namespace lockstep {
namespace {

constexpr int kPlotRows = 10;
constexpr std::size_t kLineWidth = 130;

class Page {
 public:
  void line(const std::string& name, const std::string& value) { text_ += fmt::format("{:<16}{}\n", name, value); }
  void raw(const std::string& text) { text_ += text; }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

std::string wrapped(const std::vector<std::string>& words, std::size_t indent) {
  std::string text, line;
  for (const std::string& word : words) {
    if (!line.empty() && indent + line.size() + word.size() + 2 > kLineWidth) {
      text += fmt::format("{},\n{:{}}", line, "", indent);
      line.clear();
    }
    line += fmt::format("{}{}", line.empty() ? "" : ", ", word);
  }
  return text + line;
}

// Columns are equally spaced steps from the first to the last, the top row is the peak.
std::string plot(const std::vector<double>& curve) {
  const double top = *std::max_element(curve.begin(), curve.end());
  if (!(top > 0)) return "";
  std::string text;
  for (int row = kPlotRows; row >= 1; --row) {
    std::string line;
    for (const double lr : curve) line += std::ceil(lr / top * kPlotRows - 1e-9) == row ? '*' : ' ';
    line.erase(line.find_last_not_of(' ') + 1);
    text += fmt::format("{:>14} |{}\n", row == kPlotRows ? fmt::format("{:.4g}", top) : "", line);
  }
  return text + fmt::format("{:>14} +{}\n", "0", std::string(curve.size(), '-'));
}

std::string rate_table(const std::vector<RatePoint>& rates) {
  std::string text = fmt::format("{:>16}{:>10}{:>14}\n", "epoch", "step", "learning rate");
  for (const RatePoint& point : rates)
    text += fmt::format("{:>16.4g}{:>10}{:>14.6g}{}{}\n", point.epoch, point.step, point.lr, point.why.empty() ? "" : "  ", point.why);
  return text;
}

std::string band_table(const proto::Evaluation& evaluation) {
  std::string text = fmt::format("{:>16}{:>16}\n", "epoch", "expected top-1");
  for (const proto::Band& band : evaluation.expected())
    text += fmt::format("{:>16.4g}{:>16}\n", band.epoch(), fmt::format("{:.1f} to {:.1f} %", band.top1_min(), band.top1_max()));
  return text;
}

void add_batch(const DryRun& run, Page& page) {
  const RunPlan& plan = run.plan;
  std::vector<std::string> ranks;
  for (const int each : run.ranks_allowed) ranks.push_back(std::to_string(each));
  page.line("ranks allowed", wrapped(ranks, 16));
  const std::int64_t left_out = plan.train_samples - plan.steps_per_epoch * plan.global_batch;
  if (left_out > 0) page.line("end of an epoch", fmt::format("{} images are left out, others in each epoch (data.last_batch: DROP)", left_out));
  if (left_out < 0) page.line("end of an epoch", fmt::format("{} images are taken twice (data.last_batch: WRAP)", -left_out));
}

void add_model(const DryRun& run, Page& page) {
  page.line("model", fmt::format("{}, {} parameters, {} classes", run.model, run.parameters, run.classes));
  page.line("optimizer", run.optimizer);
  for (const RuleGroup& group : run.groups)
    page.line("", fmt::format("{} tensors, {} parameters: weight decay {:g}, learning rate x {:g}", group.tensors, group.elements,
                              group.rule.weight_decay, group.rule.lr_multiplier));
}

void add_storage(const DryRun& run, Page& page) {
  page.line("memory", run.memory ? describe_memory(*run.memory) : run.memory_note);
  if (run.memory && !run.memory_note.empty()) page.line("", run.memory_note);
  page.line("checkpoints", fmt::format("{} or more (each new best, too), {:.1f} MB each, {} kept: {:.1f} MB", run.saves, static_cast<double>(run.checkpoint_bytes) * 1e-6,
                                       run.checkpoints, static_cast<double>(run.checkpoint_bytes * run.checkpoints) * 1e-6));
  page.line("evaluations", fmt::format("{}, of {} images", run.evaluations, run.plan.eval_samples));
}

}  // namespace

std::string dry_run_text(const DryRun& run) {
  const proto::Config& config = run.loaded.config();
  Page page;
  page.line("dry run", fmt::format("{} with {} rank{}; no data was opened", run.loaded.file(), run.plan.ranks, run.plan.ranks == 1 ? "" : "s"));
  for (const auto& [name, value] : describe_plan(config, run.plan, Schedule(config, run.plan.steps_per_epoch))) page.line(name, value);
  add_batch(run, page);
  page.line("image sizes", fmt::format("{}; evaluation {} x {}, {} channel{}", SizePhases(config, run.image, run.plan).describe(), run.image.height,
                                       run.image.width, run.image.channels, run.image.channels == 1 ? "" : "s"));
  page.line("augmentation", run.augmentation);
  add_model(run, page);
  add_storage(run, page);
  page.raw(fmt::format("\n{}\n{}", rate_table(run.rates), plot(run.curve)));
  if (config.evaluation().expected_size() > 0) page.raw(fmt::format("\n{}", band_table(config.evaluation())));
  page.raw("\n");
  page.line("on resume", fmt::format("these may change: {}", wrapped(run.may_change, 16)));
  for (const std::string& note : run.notes) page.line("note", note);
  return page.take();
}

}  // namespace lockstep
