// `lockstep data scan`: decodes every image once and lists what is bad or odd.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "data/scan.h"
#include "data/tar_writer.h"
#include "data/work_crew.h"
#include "tools/data.h"

namespace lockstep {
namespace {

constexpr int kListedPerKind = 10;

struct Flags {
  DataFlags data;
  ScanOptions options;
  std::string report;
  bool json = false;
};

// A scan and what it is of; finding f is about image f.index of splits[f.split].
struct Result {
  const std::vector<OpenedSplit>& splits;
  const std::vector<const Source*>& sources;
  const ScanReport& report;
  double seconds;
  int threads;

  const std::string& split_of(const ScanFinding& finding) const { return splits[static_cast<std::size_t>(finding.split)].name; }
  std::string name_of(const ScanFinding& finding) const { return sources[static_cast<std::size_t>(finding.split)]->name(finding.index); }
};

// "truncated 9, not an image 8"
std::string counts_text(const ScanReport& report, bool unreadable) {
  std::string text;
  for (int i = 0; i < kScanKinds; ++i) {
    const auto kind = static_cast<ScanKind>(i);
    const std::int64_t count = report.counts[static_cast<std::size_t>(i)];
    if (is_unreadable(kind) != unreadable || count == 0) continue;
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", scan_kind_name(kind), count);
  }
  return text.empty() ? "none" : text;
}

void print_text(const Result& result) {
  const ScanReport& report = result.report;
  for (const OpenedSplit& split : result.splits) std::puts(fmt::format("{:<11} {}", split.name, split.source->describe()).c_str());
  std::puts(fmt::format("{:<11} {} images, {:.1f} MB in {:.1f} s: {:.0f} images/s on {} thread{}", "scanned", report.images,
                        static_cast<double>(report.bytes) * 1e-6, result.seconds, static_cast<double>(report.images) / result.seconds, result.threads,
                        result.threads == 1 ? "" : "s")
                .c_str());
  std::puts(fmt::format("{:<11} {}\n{:<11} {}", "unreadable", counts_text(report, true), "notes", counts_text(report, false)).c_str());
  bool cut = false;
  for (int i = 0; i < kScanKinds; ++i) {
    int listed = 0;
    for (const ScanFinding& finding : report.findings) {
      if (finding.kind != static_cast<ScanKind>(i)) continue;
      if (++listed > kListedPerKind) {
        std::puts(fmt::format("  ... and {} more", report.counts[static_cast<std::size_t>(i)] - kListedPerKind).c_str());
        cut = true;
        break;
      }
      std::puts(fmt::format("  {:<13} {}: {}", scan_kind_name(finding.kind), result.name_of(finding), describe(finding, result.sources)).c_str());
    }
  }
  if (cut) std::puts("All of them: --report FILE.tsv");
  if (report.unreadable() > 0)
    std::puts("Training replaces unreadable images by others as long as there are at most data.max_bad_samples; replace or remove them.");
}

void print_json(const Result& result) {
  nlohmann::ordered_json object{{"images", result.report.images},         {"bytes", result.report.bytes},
                                {"seconds", result.seconds},              {"threads", result.threads},
                                {"unreadable", result.report.unreadable()}, {"counts", nlohmann::ordered_json::object()},
                                {"findings", nlohmann::ordered_json::array()}};
  for (int i = 0; i < kScanKinds; ++i)
    object["counts"][std::string(scan_kind_name(static_cast<ScanKind>(i)))] = result.report.counts[static_cast<std::size_t>(i)];
  for (const ScanFinding& finding : result.report.findings)
    object["findings"].push_back({{"kind", scan_kind_name(finding.kind)},
                                  {"unreadable", is_unreadable(finding.kind)},
                                  {"split", result.split_of(finding)},
                                  {"index", finding.index},
                                  {"name", result.name_of(finding)},
                                  {"reason", describe(finding, result.sources)}});
  std::puts(object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());  // names of files may be no UTF-8
}

// Tabs, line ends and backslashes are written as \t, \n, \r, \\.
std::string tsv_field(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const std::size_t special = std::string_view("\t\n\r\\").find(c);
    if (special == std::string_view::npos)
      out += c;
    else
      out += std::string("\\") + "tnr\\"[special];
  }
  return out;
}

void write_tsv(const Result& result, PartialFile& file) {
  const auto write = [&](const std::string& text) { file.write({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}); };
  std::string text = "kind\tunreadable\tsplit\tindex\tname\treason\n";
  for (const ScanFinding& finding : result.report.findings) {
    text += fmt::format("{}\t{}\t{}\t{}\t{}\t{}\n", scan_kind_name(finding.kind), is_unreadable(finding.kind) ? 1 : 0, result.split_of(finding),
                        finding.index, tsv_field(result.name_of(finding)), tsv_field(describe(finding, result.sources)));
    if (text.size() < (1u << 16)) continue;
    write(text);
    text.clear();
  }
  write(text);
  file.finish();
}

int run_scan(const Flags& flags) {
  const std::vector<OpenedSplit> splits = open_splits(flags.data);
  std::vector<const Source*> sources;
  for (const OpenedSplit& split : splits) sources.push_back(split.source.get());
  ScanOptions options = flags.options;
  std::optional<PartialFile> table;  // before hours of work
  if (!flags.report.empty()) table.emplace(flags.report);
  const double begin = seconds_now();
  const ScanReport report = [&] {
    ProgressLine line("scan");
    options.progress = [&](std::int64_t done, std::int64_t images) { line.show(done, images); };
    return scan(sources, options);
  }();
  const Result result{splits, sources, report, seconds_now() - begin, crew_size(options.threads)};
  flags.json ? print_json(result) : print_text(result);
  if (table) write_tsv(result, *table);
  return static_cast<int>(report.unreadable() > 0 ? ExitCode::kData : ExitCode::kOk);
}

}  // namespace

void add_data_scan(CLI::App& data, Run& run) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = data.add_subcommand("scan", "Decode every image once; list what is unreadable (exit code 65), odd or there twice");
  add_data_options(*command, flags->data);
  command->add_option("--threads", flags->options.threads, "Threads; 0: one per processor")->check(CLI::Range(0, 1024))->capture_default_str();
  command->add_option("--report", flags->report, "Write all findings to this file, tab-separated");
  command->add_flag("--json", flags->json, "As one JSON object");
  command->callback([=, &run] {
    run = [=] { return run_scan(*flags); };
  });
}

}  // namespace lockstep
