// Walks a tensor's bytes in row-major order (the order of files and digests) in pieces of about a megabyte, so that no
// second copy of a tensor is ever made.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "core/tensor.h"

namespace lockstep {

// Calls `sink(bytes, nbytes)` with consecutive pieces. `scratch` is grown as needed and may be reused.
void for_each_row_major_piece(const ConstView& tensor, std::vector<std::byte>& scratch,
                              const std::function<void(const void*, std::size_t)>& sink);

// The reverse: calls `source(bytes, nbytes)`, which must fill the piece with the next row-major bytes.
void fill_from_row_major(const View& tensor, std::vector<std::byte>& scratch,
                         const std::function<void(void*, std::size_t)>& source);

}  // namespace lockstep
