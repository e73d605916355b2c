// `lockstep data index`: what a path holds, without decoding anything.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/index_cache.h"
#include "data/indexed_source.h"
#include "tools/data.h"

namespace lockstep {
namespace {

// Images of each class, and the classes with the fewest and the most. Of several the first.
struct ClassCounts {
  std::vector<std::int64_t> images;
  int smallest = 0, largest = 0;
};

ClassCounts count_classes(const Source& source) {
  ClassCounts counts{.images = std::vector<std::int64_t>(static_cast<std::size_t>(source.classes()))};
  for (std::int64_t i = 0; i < source.size(); ++i) ++counts.images[static_cast<std::size_t>(source.label(i))];
  counts.smallest = static_cast<int>(std::min_element(counts.images.begin(), counts.images.end()) - counts.images.begin());
  counts.largest = static_cast<int>(std::max_element(counts.images.begin(), counts.images.end()) - counts.images.begin());
  return counts;
}

// The file in which the split's index is kept; "" where there is none: the images are in memory, no folder was given or may be
// written, or the data changed a moment ago.
std::string index_file(const OpenedSplit& split, const DataFlags& flags) {
  const auto* indexed = dynamic_cast<const IndexedSource*>(split.source.get());
  const std::string folder = flags.index_cache_given ? flags.index_cache : default_index_cache();
  if (indexed == nullptr || folder.empty()) return {};
  const std::string file = index_cache_file(folder, indexed->root(), split.name == "train" ? Split::kTrain : Split::kEval, indexed->layout().name);
  std::error_code ignored;
  return std::filesystem::exists(file, ignored) ? file : std::string();
}

void print_text(const std::vector<OpenedSplit>& splits, const DataFlags& flags) {
  for (const OpenedSplit& split : splits) {
    const Source& source = *split.source;
    const ClassCounts counts = count_classes(source);
    const std::string index = index_file(split, flags);
    const auto count_of = [&](int label) {
      return fmt::format("{} with {}", class_label(source, label), counts.images[static_cast<std::size_t>(label)]);
    };
    std::fputs(
        fmt::format(
            "{}\n  set        {}\n  images     {} in {} classes; fewest: {}, most: {}\n  digest     {}\n  index      {}\n  opened in  {:.3f} s\n",
            split.name, source.describe(), source.size(), source.classes(), count_of(counts.smallest), count_of(counts.largest), source.digest(),
            index.empty() ? "not kept" : "kept in " + index, split.seconds)
            .c_str(),
        stdout);
  }
}

void print_json(const std::vector<OpenedSplit>& splits, const DataFlags& flags) {
  nlohmann::ordered_json object{{"path", flags.path}, {"splits", nlohmann::ordered_json::array()}};
  for (const OpenedSplit& split : splits) {
    const Source& source = *split.source;
    const ClassCounts counts = count_classes(source);
    const auto class_json = [&](int label) {
      return nlohmann::ordered_json{
          {"label", label}, {"name", class_label(source, label)}, {"images", counts.images[static_cast<std::size_t>(label)]}};
    };
    object["splits"].push_back({{"split", split.name},
                                {"set", source.describe()},
                                {"images", source.size()},
                                {"classes", source.classes()},
                                {"smallest_class", class_json(counts.smallest)},
                                {"largest_class", class_json(counts.largest)},
                                {"digest", source.digest()},
                                {"index_file", index_file(split, flags)},
                                {"seconds", split.seconds}});
  }
  std::puts(object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
}

}  // namespace

void add_data_index(CLI::App& data, Run& run) {
  struct Flags {
    DataFlags data;
    bool json = false;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* command = data.add_subcommand("index", "Which layout, how many images and classes; the digest; builds the index that training will use");
  add_data_options(*command, flags->data);
  command->add_flag("--json", flags->json, "As one JSON object");
  command->callback([=, &run] {
    run = [=] {
      const std::vector<OpenedSplit> splits = open_splits(flags->data);
      flags->json ? print_json(splits, flags->data) : print_text(splits, flags->data);
      return 0;
    };
  });
}

}  // namespace lockstep
