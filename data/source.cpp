// SPDX-License-Identifier: Apache-2.0
#include "data/source.h"

#include "core/error.h"

namespace lockstep {

std::span<const std::uint8_t> Source::fetch(std::int64_t index, ReadScratch&) const {
  LS_CHECK(encoded(), name(index) + ": the images of this source aren't encoded");
  return {};
}

}  // namespace lockstep
