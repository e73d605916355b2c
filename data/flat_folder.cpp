// SPDX-License-Identifier: Apache-2.0
#include "data/flat_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "core/error.h"
#include "data/files.h"

namespace lockstep {
namespace {

constexpr std::size_t kMaxListBytes = 64u << 20;
constexpr const char* kSolution = "LOC_val_solution.csv";
constexpr std::string_view kAgain = "Fetch the file again.";

}  // namespace

std::string solution_file(const std::string& root, const std::string& folder) {
  std::string place = folder;
  for (int levels = 0; levels < 4; ++levels, place = join_path(place, ".."))
    if (const std::string path = join_path(place, kSolution); is_file(join_path(root, path))) return path;
  return {};
}

std::string require_solution(const std::string& root, const std::string& folder) {
  const std::string path = solution_file(root, folder);
  if (path.empty())
    throw UserError(fmt::format("{}: no {}: nothing says which class an image of val/ has.\n"
                                "It is part of Kaggle's imagenet-object-localization-challenge; put it beside ILSVRC/.",
                                join_path(root, folder), kSolution),
                    ExitCode::kNoInput);
  return path;
}

ImageLabels read_solution(const std::string& path) {
  std::vector<std::uint8_t> bytes;
  const std::size_t size = read_file(path, kMaxListBytes, bytes);
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), size);
  ImageLabels labels{.from = path};
  for (std::int64_t line_number = 1; !text.empty(); ++line_number) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || (line_number == 1 && line.starts_with("ImageId"))) continue;
    const std::size_t comma = line.find(',');
    const std::string_view rest = comma == std::string_view::npos ? std::string_view() : line.substr(comma + 1);
    const std::string_view wnid = rest.substr(0, rest.find(' '));
    if (comma == 0 || wnid.empty())
      bad_data(path, fmt::format("line {}", line_number), fmt::format("\"{}\"", line.substr(0, 60)), "an image, a comma and a wnid", kAgain);
    if (!labels.class_of.emplace(std::string(line.substr(0, comma)), std::string(wnid)).second)
      bad_data(path, fmt::format("line {}", line_number), fmt::format("{} a second time", line.substr(0, comma)), "each image once", kAgain);
  }
  for (const auto& [image, wnid] : labels.class_of) labels.classes.push_back(wnid);
  std::sort(labels.classes.begin(), labels.classes.end());
  labels.classes.erase(std::unique(labels.classes.begin(), labels.classes.end()), labels.classes.end());
  if (labels.classes.empty()) bad_data(path, "images", "none", "one a line", kAgain);
  return labels;
}

std::string_view LabelLookup::operator()(std::string_view base_name) {
  const auto found = labels_.class_of.find(std::string(base_name.substr(0, base_name.rfind('.'))));
  if (found == labels_.class_of.end()) {
    unknown_.emplace_back(base_name);
    return {};
  }
  if (++uses_[found->first] == 2) twice_.emplace_back(base_name);
  return found->second;
}

void LabelLookup::check_complete(const std::string& where) const {
  const std::string want = fmt::format("the {} images that {} lists", labels_.class_of.size(), labels_.from);
  if (!unknown_.empty())
    bad_data(where, "images without a class", examples(unknown_), want, "Remove these images, or use the list that belongs to them.");
  if (!twice_.empty()) bad_data(where, "images that are there twice", examples(twice_), want, "Remove one of each.");
  if (uses_.size() == labels_.class_of.size()) return;
  std::vector<std::string> missing;
  for (const auto& [image, wnid] : labels_.class_of)
    if (!uses_.contains(image)) missing.push_back(image);
  std::sort(missing.begin(), missing.end());
  bad_data(where, "missing images", examples(missing), want, "Fetch or unpack the evaluation images again (a partial download?).");
}

SampleIndex index_flat_folder(const std::string& root, const std::string& folder, const ImageLabels& labels, ClassList classes) {
  const std::string where = join_path(root, folder);
  std::vector<Container> containers{{.path = folder}};
  LabelLookup lookup(labels);
  IndexBuilder builder;
  add_files(root, containers[0], 0, std::ref(lookup), builder);
  lookup.check_complete(where);
  const std::string wanted_from = classes.names.empty() ? labels.from : "the training data";
  if (classes.names.empty()) classes.names = labels.classes;
  return builder.finish(std::move(classes.names), classes.numbered, std::move(containers), where, wanted_from);
}

}  // namespace lockstep
