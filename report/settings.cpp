// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <utility>

#include "report/sections.h"

namespace lockstep {
namespace {

constexpr std::size_t kMostColumns = 5;
constexpr const char* kAbsent = "(not in its config)";

using Leaves = std::map<std::string, const ConfigLeaf*>;

// All paths, in the order in which the configs have them.
std::vector<std::string> all_paths(const std::vector<RunView>& runs) {
  std::vector<std::string> paths;
  std::set<std::string> seen;
  for (const RunView& run : runs)
    for (const ConfigLeaf& leaf : run.data.config)
      if (seen.insert(leaf.path).second) paths.push_back(leaf.path);
  return paths;
}

std::vector<Leaves> leaves_of(const std::vector<RunView>& runs) {
  std::vector<Leaves> all;
  for (const RunView& run : runs) {
    all.emplace_back();
    for (const ConfigLeaf& leaf : run.data.config) all.back().emplace(leaf.path, &leaf);
  }
  return all;
}

std::string value_of(const Leaves& leaves, const std::string& path) {
  const auto found = leaves.find(path);
  return found == leaves.end() ? kAbsent : found->second->value;
}

std::string with_origin(const Leaves& leaves, const std::string& path) {
  const auto found = leaves.find(path);
  if (found == leaves.end()) return kAbsent;
  return found->second->origin.empty() ? found->second->value : found->second->value + "  \u2190 " + found->second->origin;
}

// Where a run lies and what it is called always differ, and say nothing about the training.
bool is_name(const std::string& path) { return path == "name" || path == "run_dir"; }

std::vector<std::string> different_paths(const std::vector<RunView>& known, const std::vector<Leaves>& leaves) {
  std::vector<std::string> paths;
  for (const std::string& path : all_paths(known)) {
    const auto is_same = [&](const Leaves& each) { return value_of(each, path) == value_of(leaves.front(), path); };
    if (!is_name(path) && !std::all_of(leaves.begin(), leaves.end(), is_same)) paths.push_back(path);
  }
  return paths;
}

// A column for each run.
Table side_by_side(const std::vector<RunView>& known, const std::vector<Leaves>& leaves, const std::vector<std::string>& paths) {
  Table table{.header = {"setting"}, .rows = {}, .caption = ""};
  for (const RunView& run : known) table.header.push_back(run.data.name);
  for (const std::string& path : paths) {
    table.rows.push_back({{.text = path, .strong = true}});
    for (const Leaves& each : leaves) table.rows.back().push_back({.text = with_origin(each, path)});
  }
  return table;
}

// A row for each value of a setting, with the runs that have it.
Table by_value(const std::vector<RunView>& known, const std::vector<Leaves>& leaves, const std::vector<std::string>& paths) {
  Table table{.header = {"setting", "value", "runs"}, .rows = {}, .caption = ""};
  for (const std::string& path : paths) {
    std::map<std::string, std::string> runs;
    for (std::size_t i = 0; i < known.size(); ++i) {
      std::string& names = runs[value_of(leaves[i], path)];
      names.append(names.empty() ? "" : ", ").append(known[i].data.name);
    }
    std::string name = path;
    for (const auto& [value, names] : runs)
      table.rows.push_back({{.text = std::exchange(name, ""), .strong = true}, {.text = value}, {.text = names}});
  }
  return table;
}

void add_differences(Page& page, const std::vector<RunView>& known) {
  const std::vector<Leaves> leaves = leaves_of(known);
  const std::vector<std::string> paths = different_paths(known, leaves);
  if (paths.empty()) return page.paragraph("All runs have the same settings.");
  const bool few = known.size() <= kMostColumns;
  page.paragraph(fmt::format("{} setting{} between the runs{}.", paths.size(), paths.size() == 1 ? " differs" : "s differ",
                             few ? "; the arrow names where a value comes from" : ""));
  page.table(few ? side_by_side(known, leaves, paths) : by_value(known, leaves, paths));
}

Table everything(const RunView& run, bool given_only) {
  Table table{.header = {"setting", "value", "from"}, .rows = {}, .caption = ""};
  for (const ConfigLeaf& leaf : run.data.config)
    if (!given_only || leaf.origin != "default") table.rows.push_back({{.text = leaf.path}, {.text = leaf.value}, {.text = leaf.origin}});
  return table;
}

}  // namespace

void add_settings(Page& page, const std::vector<RunView>& runs) {
  std::vector<RunView> known;
  std::copy_if(runs.begin(), runs.end(), std::back_inserter(known), [](const RunView& run) { return !run.data.config.empty(); });
  if (known.empty()) return;
  page.heading("Settings");
  if (known.size() > 1) add_differences(page, known);
  for (const RunView& run : known) {
    const Table given = everything(run, true);
    if (known.size() == 1) page.table(given);
    else page.details(fmt::format("Given to {}: {} settings", run.data.name, given.rows.size()), given);
    if (known.size() <= 3) page.details("All settings of " + run.data.name + ", defaults included", everything(run, false));
  }
}

}  // namespace lockstep
