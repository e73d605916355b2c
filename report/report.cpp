// SPDX-License-Identifier: Apache-2.0
#include "report/report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <exception>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include "charts/page.h"
#include "core/error.h"
#include "report/figures.h"
#include "report/run_data.h"
#include "report/sections.h"
#include "sweep/sweep_result.h"
#include "train/build_info.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

struct NamedSweep {
  std::string name;
  SweepResult result;
};

class Collection {
 public:
  void add(const std::string& given) {
    std::error_code error;
    const fs::path path = fs::is_regular_file(given, error) ? fs::path(given).parent_path() : fs::path(given);
    const std::string folder = path.empty() ? "." : path.string();
    if (!fs::is_directory(folder, error)) return warn(given, "there is no such folder.");
    any_exists_ = true;
    const fs::path identity = fs::weakly_canonical(folder, error);
    if (!seen_.insert(error ? folder : identity.string()).second) return;
    if (is_sweep_folder(folder)) return add_sweep(folder);
    if (!is_run_folder(folder))
      return warn(given, "is no run folder and no sweep folder: it has no run.json, metrics.jsonl, config.effective.pbtxt, ckpt or sweep.json." +
                             inside(folder));
    RunData run = read_run(folder);
    if (!run.problems.empty()) warn(folder, fmt::format("{}", fmt::join(run.problems, " ")));
    if (!run.readable()) return;
    RunFigures figures = figures_of(run);
    runs_.push_back({std::move(run), std::move(figures)});
  }

  void make_names_unique() {
    std::map<std::string, int> count;
    for (const RunView& run : runs_) ++count[run.data.name];
    for (RunView& run : runs_)
      if (count[run.data.name] > 1) run.data.name = run.data.path;
  }

  std::vector<RunView>& runs() { return runs_; }
  std::vector<NamedSweep>& sweeps() { return sweeps_; }
  const std::vector<std::string>& warnings() const { return warnings_; }
  bool any_exists() const { return any_exists_; }

 private:
  void warn(const std::string& path, const std::string& what) { warnings_.push_back(path + ": " + what); }

  void add_sweep(const std::string& folder) {
    try {
      sweeps_.push_back({fs::path(folder + "/.").lexically_normal().parent_path().filename().string(), load_sweep(folder)});
    } catch (const std::exception& failure) {
      warn(folder, std::string("its sweep can't be read: ") + failure.what());
    }
  }

  // A folder of runs was named: the runs in it are what was meant.
  static std::string inside(const std::string& folder) {
    std::vector<std::string> found;
    std::error_code error;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
      if (is_run_folder(entry->path().string()) || is_sweep_folder(entry->path().string())) found.push_back(entry->path().string());
    if (found.empty()) return "";
    std::sort(found.begin(), found.end());
    std::string text = " Did you mean";
    for (std::size_t i = 0; i < std::min<std::size_t>(found.size(), 3); ++i) text += (i == 0 ? " " : ", ") + found[i];
    return text + (found.size() > 3 ? fmt::format(", ... ({} in it)?", found.size()) : "?");
  }

  std::vector<RunView> runs_;
  std::vector<NamedSweep> sweeps_;
  std::vector<std::string> warnings_;
  std::set<std::string> seen_;
  bool any_exists_ = false;
};

std::string title_of(Collection& all) {
  if (all.sweeps().size() == 1 && all.runs().empty()) return "Sweep " + all.sweeps().front().name;
  if (all.runs().size() == 1 && all.sweeps().empty()) return "Run " + all.runs().front().data.name;
  std::string title = all.sweeps().empty() ? "" : fmt::format("{} sweep{}", all.sweeps().size(), all.sweeps().size() == 1 ? "" : "s");
  if (!all.runs().empty()) title += fmt::format("{}{} run{}", title.empty() ? "" : " and ", all.runs().size(), all.runs().size() == 1 ? "" : "s");
  return title;
}

[[noreturn]] void nothing_readable(const Collection& all) {
  std::string text = "report: nothing to report";
  for (const std::string& warning : all.warnings()) text += "\n  " + warning;
  text += "\n  Give the run folders of `lockstep train` (runs/NAME) or the folders of `lockstep tune`.";
  throw UserError(text, all.any_exists() ? ExitCode::kData : ExitCode::kNoInput);
}

}  // namespace

Report make_report(const std::vector<std::string>& paths) {
  Collection all;
  for (const std::string& path : paths) all.add(path);
  if (all.runs().empty() && all.sweeps().empty()) nothing_readable(all);
  all.make_names_unique();
  Page page(title_of(all));
  for (const std::string& warning : all.warnings()) page.warning(warning);
  for (const NamedSweep& sweep : all.sweeps()) add_sweep(page, sweep.result, sweep.name, all.sweeps().size() == 1 && all.runs().empty());
  if (!all.runs().empty()) {
    add_run_summary(page, all.runs());
    add_curves(page, all.runs());
    add_resources(page, all.runs());
    add_incidents(page, all.runs());
    add_settings(page, all.runs());
  }
  page.paragraph("Written by lockstep report, " + build_id() + ".");
  return {
      .html = page.html(), .warnings = all.warnings(), .runs = static_cast<int>(all.runs().size()), .sweeps = static_cast<int>(all.sweeps().size())};
}

}  // namespace lockstep
