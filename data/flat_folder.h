// Images of an evaluation split that lie without class folders, and the lists that say their classes: ImageNet's.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/layouts.h"

namespace lockstep {

// The class of each image.
struct ImageLabels {
  std::unordered_map<std::string, std::string> class_of;  // base name without extension -> wnid
  std::vector<std::string> classes;                        // all that may occur, in byte order
  std::string from;                                        // for messages: the file that says so
};

// Kaggle's LOC_val_solution.csv: "ImageId,PredictionString", then "ILSVRC2012_val_00048981,n03995372 85 1 499 272 ...".
ImageLabels read_solution(const std::string& path);
// LOC_val_solution.csv in `folder` (below root) or up to three folders above; below root, "" when there is none.
std::string solution_file(const std::string& root, const std::string& folder);
std::string require_solution(const std::string& root, const std::string& folder);  // throws UserError(kNoInput) instead

// Looks up one image after the other, and at the end says which were missing. Each image without a class, and each class without an
// image, is an error that shows examples: half a mapping would give half an accuracy.
class LabelLookup {
 public:
  explicit LabelLookup(const ImageLabels& labels) : labels_(labels) {}
  std::string_view operator()(std::string_view base_name);  // the wnid; "" for an unknown image, of which check_complete speaks
  void check_complete(const std::string& where) const;      // throws UserError(kData)

 private:
  const ImageLabels& labels_;
  std::unordered_map<std::string_view, int> uses_;  // keys of labels_.class_of
  std::vector<std::string> unknown_, twice_;
};

// `classes`: the training data's; empty: labels.classes.
SampleIndex index_flat_folder(const std::string& root, const std::string& folder, const ImageLabels& labels, ClassList classes);

}  // namespace lockstep
