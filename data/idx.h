// IDX: the format of MNIST and Fashion-MNIST. A magic number (two zero bytes, element type, rank), big-endian extents,
// then the elements. Files may be gzip-compressed.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "data/source.h"

namespace lockstep {

// True when `directory` has a file with one of the conventional names of the split's images.
bool has_idx_files(const std::string& directory, Split split);

// Finds {train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz] (also with '.' for the second '-') in `directory` and loads
// them. Images are (N, H, W) or (N, H, W, C) of u8, labels (N) of u8. `classes` 0: the largest label + 1.
std::unique_ptr<Source> open_idx(const std::string& directory, Split split, int classes);

// The same from two named files.
std::unique_ptr<Source> open_idx_files(const std::string& images, const std::string& labels, int classes);

}  // namespace lockstep
