// CIFAR-10, binary version: records of one label byte and 3072 pixel bytes (planes R, G, B of 32x32), 10,000 a file.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/source.h"

namespace lockstep {

// The folder that holds the .bin files: `directory` or its sub-folder cifar-10-batches-bin; empty when neither does.
std::string find_cifar10(const std::string& directory);

// data_batch_1.bin .. data_batch_5.bin, or test_batch.bin. `classes` must be 0 or 10.
std::unique_ptr<Source> open_cifar10(const std::string& directory, Split split, int classes);

// Any files of the format with exactly `records` records each; labels below `classes`.
std::unique_ptr<Source> open_cifar_files(const std::vector<std::string>& files, std::int64_t records, int classes);

}  // namespace lockstep
