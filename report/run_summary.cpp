// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "charts/number_text.h"
#include "report/sections.h"
#include "train/noise_scale.h"

namespace lockstep {
namespace {

constexpr std::size_t kMostColumns = 5;

std::string number_or_dash(std::optional<double> value, int digits = 4) { return value ? number_text(*value, digits) : "-"; }
std::string count_text(std::int64_t value) { return number_text(static_cast<double>(value)); }

std::string model_text(const RunView& run) {
  std::string text = run.data.config_value("model.name");
  const std::string precision = run.data.config_value("precision");
  return precision.empty() ? text : text + ", " + precision;
}

std::string data_text(const RunView& run) {
  std::string text = run.data.config_value("data.source");
  const std::string path = run.data.config_value("data.path"), height = run.data.config_value("data.height"),
                    width = run.data.config_value("data.width");
  if (!height.empty() && !width.empty()) text += fmt::format(" {}x{}", height, width);
  return path.empty() ? text : text + ", " + path;
}

std::string batch_text(const RunView& run) {
  const std::string shard = run.data.config_value("batch.shard_batch");
  if (run.figures.global_batch == 0) return "-";
  return count_text(run.figures.global_batch) + (shard.empty() ? "" : ", shards of " + shard);
}

std::string place_text(const RunView& run) {
  if (run.data.host.empty()) return "-";
  return fmt::format("{}, {} rank{}{}", run.data.host, run.data.ranks, run.data.ranks == 1 ? "" : "s",
                     run.data.processor.empty() ? "" : ", " + run.data.processor);
}

std::string progress_text(const RunView& run) {
  if (run.figures.steps == 0) return run.figures.state;
  return fmt::format("{} of {} epochs, {}", number_text(run.figures.epochs, 3),
                     run.figures.planned_epochs > 0 ? number_text(run.figures.planned_epochs) : "?", run.figures.state);
}

std::string best_text(const RunView& run) {
  if (!run.figures.best_top1) return "-";
  return fmt::format("{} (epoch {})", percent_text(*run.figures.best_top1), number_text(*run.figures.best_epoch, 3));
}

std::string energy_text(const RunFigures& figures) {
  if (!figures.joules) return "unknown: " + figures.energy_source;
  return number_text(*figures.joules / 3.6e6, 3) + " kWh (" + figures.energy_source + ")";
}

std::string digest_text(const RunView& run) {
  return run.data.digest.empty() ? "-" : fmt::format("{} (step {})", run.data.digest, count_text(run.data.checkpoint_step));
}

// "run18: 87.83 % top-1, ... ": the answer, before all tables.
std::string sentence(const RunView& run) {
  const RunFigures& figures = run.figures;
  std::string text = run.data.name + ": ";
  if (figures.final_top1) {
    text += percent_text(*figures.final_top1) + " top-1";
    if (*figures.best_top1 > *figures.final_top1)
      text += fmt::format(" (best {} at epoch {})", percent_text(*figures.best_top1), number_text(*figures.best_epoch, 3));
    if (!figures.band.empty()) text += ", " + figures.band;
  } else {
    text += "not evaluated";
  }
  text += "; " + figures.state;
  if (figures.images_per_second)
    text += fmt::format("; {} images/s, {} of training", number_text(*figures.images_per_second, 3), duration_text(*figures.train_seconds));
  if (figures.noise_scale && figures.global_batch > 0)
    text += fmt::format("; critical batch at the end about {} (it used {})", round_batch(*figures.noise_scale), count_text(figures.global_batch));
  return text + ".";
}

}  // namespace

FactTable::FactTable(const std::vector<RunView>& runs) : runs_(runs) {}

void FactTable::add(const std::string& name, std::vector<TableCell> cells) {
  const bool empty = std::all_of(cells.begin(), cells.end(), [](const TableCell& cell) { return cell.text.empty() || cell.text == "-"; });
  if (empty) return;
  names_.push_back(name);
  rows_.push_back(std::move(cells));
}

Table FactTable::table(const std::string& caption) const {
  Table table{.header = {""}, .rows = {}, .caption = caption};
  if (runs_.size() <= kMostColumns) {
    for (const RunView& run : runs_) table.header.push_back(run.data.name);
    for (std::size_t i = 0; i < names_.size(); ++i) {
      table.rows.push_back({{.text = names_[i], .strong = true}});
      table.rows.back().insert(table.rows.back().end(), rows_[i].begin(), rows_[i].end());
    }
    return table;
  }
  table.header[0] = "run";
  table.header.insert(table.header.end(), names_.begin(), names_.end());
  for (std::size_t run = 0; run < runs_.size(); ++run) {
    table.rows.push_back({{.text = runs_[run].data.name, .strong = true}});
    for (const auto& cells : rows_) table.rows.back().push_back(cells[run]);
  }
  return table;
}

void add_run_summary(Page& page, const std::vector<RunView>& runs) {
  page.heading(runs.size() == 1 ? "The run" : "The runs");
  if (runs.size() <= kMostColumns)
    for (const RunView& run : runs) page.verdict(sentence(run));
  FactTable table(runs);
  table.row("network", model_text);
  table.row("data", data_text);
  table.row("global batch", batch_text);
  table.row("where", place_text);
  table.row("progress", progress_text);
  table.row("top-1, last", [](const RunView& run) { return run.figures.final_top1 ? percent_text(*run.figures.final_top1) : "-"; });
  table.row("top-1, best", best_text);
  table.row("top-5, last", [](const RunView& run) { return run.figures.final_top5 ? percent_text(*run.figures.final_top5) : "-"; });
  table.row("against the recipe", [](const RunView& run) { return run.figures.band; });
  table.row("training loss, last", [](const RunView& run) { return number_or_dash(run.figures.train_loss); });
  table.row("images/s", [](const RunView& run) { return number_or_dash(run.figures.images_per_second, 3); });
  table.row("training time", [](const RunView& run) { return run.figures.train_seconds ? duration_text(*run.figures.train_seconds) : "-"; });
  table.row("first step to last record",
            [](const RunView& run) { return run.figures.wall_seconds ? duration_text(*run.figures.wall_seconds) : "-"; });
  table.row("energy", [](const RunView& run) { return energy_text(run.figures); });
  table.row("critical batch, last", [](const RunView& run) { return run.figures.noise_scale ? round_batch(*run.figures.noise_scale) : "-"; });
  table.row("newest start", [](const RunView& run) { return run.data.started; });
  table.row("lockstep", [](const RunView& run) { return run.data.build; });
  table.row("digest of the training state", digest_text);
  table.row("digest of the settings", [](const RunView& run) { return run.data.config_digest; });
  table.row("folder", [](const RunView& run) { return run.data.path; });
  page.table(table.table(""));
}

}  // namespace lockstep
