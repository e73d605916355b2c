// `lockstep data`: looking at, checking and repacking data sets.
// SPDX-License-Identifier: Apache-2.0
#include "tools/data.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <string_view>

#include "core/error.h"
#include "proto/config.pb.h"
#include "train/network.h"

namespace lockstep {

void add_data(CLI::App& app, Run& run) {
  CLI::App* command = app.add_subcommand("data", "Look at a data set: index, scan, show; pack it into shards");
  command->require_subcommand(1);
  add_data_index(*command, run);
  add_data_scan(*command, run);
  add_data_show(*command, run);
  add_data_pack(*command, run);
}

void add_data_options(CLI::App& command, DataFlags& flags) {
  command.add_option("path", flags.path, "The data: what data.path of a config may be")->required();
  command.add_option("--source", flags.source, "Its format, as data.source of a config")->capture_default_str();
  command.add_flag("--eval", flags.eval_only, "Only the evaluation split");
  command.add_option_function<std::string>(
      "--index-cache",
      [&flags](const std::string& folder) {
        flags.index_cache = folder;
        flags.index_cache_given = true;
      },
      "Folder for indexes, as data.index_cache; '' keeps none");
}

std::vector<OpenedSplit> open_splits(const DataFlags& flags) {
  proto::Config config;
  proto::Data::Source source = proto::Data::AUTO;
  if (!proto::Data::Source_Parse(flags.source, &source) || source == proto::Data::SYNTHETIC)
    throw UserError(fmt::format("--source: got {}, want a format of files that `lockstep help config data.source` names", flags.source));
  config.mutable_data()->set_source(source);
  config.mutable_data()->set_path(flags.path);
  if (flags.index_cache_given) config.mutable_data()->set_index_cache(flags.index_cache);
  std::vector<OpenedSplit> splits;
  int classes = 0;
  std::exception_ptr missing;
  std::string left_out;
  for (const Split split : {Split::kTrain, Split::kEval}) {
    if (split == Split::kTrain && flags.eval_only) continue;
    try {
      const double begin = seconds_now();
      OpenedSplit opened{split == Split::kTrain ? "train" : "val", open_split(config, split, classes), 0};
      opened.seconds = seconds_now() - begin;
      if (split == Split::kTrain) classes = opened.source->classes();
      splits.push_back(std::move(opened));
    } catch (const UserError& error) {
      if (error.code() != ExitCode::kNoInput) throw;
      if (!missing) missing = std::current_exception();
      const bool absent = std::string_view(error.what()).find("Looked for") != std::string_view::npos;
      if (!absent) left_out += fmt::format("{}: left out: {}\n", split == Split::kTrain ? "train" : "val", error.what());
    }
  }
  if (splits.empty()) std::rethrow_exception(missing);
  std::fputs(left_out.c_str(), stderr);  // a split that is not there is no error; one of which something is missing should be known
  return splits;
}

std::string class_label(const Source& source, int label) {
  const auto names = source.class_names();
  return names.empty() ? std::to_string(label) : names[static_cast<std::size_t>(label)];
}

double seconds_now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

ProgressLine::ProgressLine(std::string what) : what_(std::move(what)), terminal_(::isatty(STDERR_FILENO) != 0), begin_s_(seconds_now()) {}

ProgressLine::~ProgressLine() {
  if (terminal_) std::fputs("\r\x1b[K", stderr);
}

void ProgressLine::show(std::int64_t done, std::int64_t all) {
  if (!terminal_ || all == 0) return;
  const double seconds = seconds_now() - begin_s_, rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  std::string left;
  if (rate > 0 && seconds > 1) left = fmt::format(", {:.0f} s left", static_cast<double>(all - done) / rate);
  std::fputs(fmt::format("\r\x1b[K{} {}/{} images ({:.0f} %), {:.0f}/s{}", what_, done, all,
                         100.0 * static_cast<double>(done) / static_cast<double>(all), rate, left)
                 .c_str(),
             stderr);
  std::fflush(stderr);
}

}  // namespace lockstep
