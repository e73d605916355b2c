// The parts of `lockstep data`: one file per sub-command, and the options that they share.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/source.h"
#include "tools/commands.h"

namespace lockstep {

void add_data_index(CLI::App& data, Run& run);
void add_data_scan(CLI::App& data, Run& run);
void add_data_show(CLI::App& data, Run& run);
void add_data_pack(CLI::App& data, Run& run);

// Which data: PATH, --source, --eval, --index-cache.
struct DataFlags {
  std::string path;
  std::string source = "AUTO";
  std::string index_cache;
  bool index_cache_given = false;
  bool eval_only = false;
};
void add_data_options(CLI::App& command, DataFlags& flags);

struct OpenedSplit {
  std::string name;  // "train", "val"
  std::unique_ptr<Source> source;
  double seconds = 0;  // that opening took
};

// The splits that are there, training first; at least one. Throws UserError when there is none, and for whatever is wrong with one
// that is there.
std::vector<OpenedSplit> open_splits(const DataFlags& flags);

// "n01440764 (0)"; "7" for a set without names.
std::string class_label(const Source& source, int label);

// A progress line on stderr for people: drawn over itself, and only where stderr is a terminal.
class ProgressLine {
 public:
  explicit ProgressLine(std::string what);
  ~ProgressLine();  // leaves the line empty
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  void show(std::int64_t done, std::int64_t all);

 private:
  std::string what_;
  bool terminal_;
  double begin_s_;
};

double seconds_now();  // of a clock that never goes back

}  // namespace lockstep
