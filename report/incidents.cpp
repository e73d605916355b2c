// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cmath>
#include <string>

#include "charts/number_text.h"
#include "report/sections.h"

namespace lockstep {
namespace {

struct Incident {
  std::string when, kind, text;
  int times = 1;
};

class IncidentList {
 public:
  void add(std::string when, std::string kind, std::string text) {
    if (!list_.empty() && list_.back().kind == kind && list_.back().text == text) return static_cast<void>(++list_.back().times);
    list_.push_back({std::move(when), std::move(kind), std::move(text)});
  }
  const std::vector<Incident>& list() const { return list_; }

 private:
  std::vector<Incident> list_;
};

std::string step_text(std::int64_t step) { return fmt::format("step {}", number_text(static_cast<double>(step))); }

IncidentList incidents_of(const RunView& run) {
  IncidentList list;
  for (const LogEvent& event : run.data.log) {
    if (event.level != "start") list.add(event.when, event.level, event.text);
    else if (event.text.starts_with("resume")) list.add(event.when, "resumed", event.text);
  }
  if (run.data.more_log_events > 0)
    list.add("", "log", fmt::format("{} more warnings and starts are in {}/logs/rank0000.log", run.data.more_log_events, run.data.path));
  if (run.data.log.empty())  // then the metrics' copies are all there is
    for (const MetricText& warning : run.data.notes("warn.message")) list.add(step_text(warning.step), "warning", warning.text);
  for (const MetricSample& loss : run.data.samples("train.loss")) {
    if (std::isfinite(loss.value)) continue;
    list.add(step_text(loss.step), "diverged", "the loss is not finite");
    break;
  }
  if (run.figures.skipped_steps > 0)
    list.add(
        "", "skipped",
        fmt::format("{} steps were skipped because a gradient overflowed in FP16; the loss scale was halved each time", run.figures.skipped_steps));
  for (const BadSample& bad : run.data.bad_samples) list.add("", "bad sample", bad.name + ": " + bad.reason);
  if (run.data.more_bad_samples > 0)
    list.add("", "bad sample", fmt::format("{} more are in {}/bad_samples.tsv", run.data.more_bad_samples, run.data.path));
  return list;
}

}  // namespace

void add_incidents(Page& page, const std::vector<RunView>& runs) {
  page.heading("Incidents");
  Table table{.header = {"run", "when", "what", "", "times"}, .rows = {}, .caption = ""};
  for (const RunView& run : runs) {
    const IncidentList incidents = incidents_of(run);
    for (const Incident& incident : incidents.list())
      table.rows.push_back({{.text = run.data.name}, {.text = incident.when}, {.text = incident.kind, .strong = true}, {.text = incident.text},
                            {.text = incident.times > 1 ? std::to_string(incident.times) : "", .number = true}});
  }
  if (table.rows.empty()) page.paragraph("None: no resume, no warning, no bad sample, no skipped step.");
  else page.table(table);
}

}  // namespace lockstep
