// SPDX-License-Identifier: Apache-2.0
#include "core/digits.h"

#include <algorithm>

namespace lockstep {

std::string grouped_digits(std::string text) {
  const std::size_t begin = text.starts_with('-') ? 1 : 0;
  std::size_t at = std::min(text.find('.'), text.size());
  while (at > begin + 3) text.insert(at -= 3, 1, ',');
  return text;
}

}  // namespace lockstep
