// The development kit of ILSVRC2012: which class each evaluation image has. Its numbers of classes (1 to 1000) are not in the order of
// the wnids, which every published network uses: data/meta.mat translates.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "data/flat_folder.h"

namespace lockstep {

// The kit's files in `root`, below it: ILSVRC2012_devkit_t12.tar.gz (or .tar), or meta.mat and the ground truth of the unpacked
// folder (ILSVRC2012_devkit_t12/data or data). Empty when there are none.
std::vector<std::string> devkit_files(const std::string& root);

// Reads them: "ILSVRC2012_val_00000001" has the class of the ground truth's line 1, and so on. Throws UserError.
ImageLabels read_devkit(const std::string& root, const std::vector<std::string>& files);

}  // namespace lockstep
