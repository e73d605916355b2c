// Checks of a trace file: do spans nest, what lies inside of what.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace lockstep::testing {

struct FileSpan {
  std::string name, category;
  std::int64_t begin_ns = 0, end_ns = 0;
};
using SpansByTrack = std::map<std::pair<int, int>, std::vector<FileSpan>>;  // by process and thread; outer spans first

inline SpansByTrack spans_of(const nlohmann::json& trace) {
  SpansByTrack tracks;
  for (const auto& event : trace.at("traceEvents")) {
    if (event.at("ph") != "X") continue;
    const std::int64_t begin = std::llround(event.at("ts").get<double>() * 1e3);  // us with three digits: whole ns
    const std::int64_t end = begin + std::llround(event.at("dur").get<double>() * 1e3);
    tracks[{event.at("pid"), event.at("tid")}].push_back({event.at("name"), event.at("cat"), begin, end});
  }
  for (auto& [track, spans] : tracks)
    std::stable_sort(spans.begin(), spans.end(), [](const FileSpan& a, const FileSpan& b) {
      return a.begin_ns != b.begin_ns ? a.begin_ns < b.begin_ns : a.end_ns > b.end_ns;
    });
  return tracks;
}

// "" if on every track a span lies inside or beside any other and the children of a span take no longer than it does.
inline std::string nesting_error(const nlohmann::json& trace) {
  for (const auto& [track, spans] : spans_of(trace)) {
    std::vector<std::pair<FileSpan, std::int64_t>> open;  // and the time of its children
    for (const FileSpan& span : spans) {
      if (span.end_ns < span.begin_ns) return span.name + " ends before it begins";
      while (!open.empty() && open.back().first.end_ns <= span.begin_ns) open.pop_back();
      if (!open.empty()) {
        auto& [parent, children_ns] = open.back();
        children_ns += span.end_ns - span.begin_ns;
        if (span.end_ns > parent.end_ns) return span.name + " reaches out of " + parent.name;
        if (children_ns > parent.end_ns - parent.begin_ns) return "the parts of " + parent.name + " take longer than it does";
      }
      open.emplace_back(span, 0);
    }
  }
  return "";
}

inline int count_spans(const nlohmann::json& trace, const std::string& category, const std::string& name) {
  int count = 0;
  for (const auto& [track, spans] : spans_of(trace))
    count += static_cast<int>(std::count_if(spans.begin(), spans.end(), [&](const FileSpan& s) { return s.category == category && s.name == name; }));
  return count;
}

inline bool lies_inside(const FileSpan& inner, const FileSpan& outer) { return outer.begin_ns <= inner.begin_ns && inner.end_ns <= outer.end_ns; }

// How many spans `inner` lie inside a phase `phase` of their own track.
inline int count_inside(const nlohmann::json& trace, const std::string& inner, const std::string& phase) {
  int count = 0;
  for (const auto& [track, spans] : spans_of(trace))
    for (const FileSpan& span : spans)
      if (span.name == inner)
        count += std::any_of(spans.begin(), spans.end(), [&](const FileSpan& outer) {
          return outer.category == "phase" && outer.name == phase && lies_inside(span, outer);
        });
  return count;
}

inline int ops_outside_of_phases(const nlohmann::json& trace) {
  int count = 0;
  for (const auto& [track, spans] : spans_of(trace))
    for (const FileSpan& span : spans)
      if (span.category == "op")
        count += std::none_of(spans.begin(), spans.end(), [&](const FileSpan& outer) {
          return outer.category == "phase" && outer.name != "step" && lies_inside(span, outer);
        });
  return count;
}

}  // namespace lockstep::testing
