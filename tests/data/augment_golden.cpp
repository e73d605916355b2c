// SPDX-License-Identifier: Apache-2.0
#include "tests/data/augment_golden.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace lockstep::test {

std::vector<std::vector<std::string>> golden_lines(const std::string& kind) {
  std::ifstream in(source_dir() + "/tests/golden/augment/augment.txt");
  std::vector<std::vector<std::string>> out;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string word;
    words >> word;
    if (word != kind) continue;
    out.emplace_back();
    while (words >> word) out.back().push_back(word);
  }
  return out;
}

double number(const std::string& text) { return std::strtod(text.c_str(), nullptr); }

Bytes test_image(const std::string& kind, int height, int width) {
  const std::size_t count = 3 * static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
  if (kind == "noise") return pattern(7, count);
  Bytes out = pattern(8, count);
  const std::uint8_t flat[3] = {200, 31, 77};
  std::size_t i = 0;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < 3; ++c, ++i)
        out[i] = kind == "dim"    ? static_cast<std::uint8_t>(64 + (out[i] >> 2))
                 : kind == "flat" ? flat[c]
                                  : static_cast<std::uint8_t>((x * 5 + y * 3 + c * 40) / 2);
  return out;
}

Bytes every_colour() {
  Bytes out(std::size_t{3} << 24);
  for (std::uint32_t i = 0; i < 1u << 24; ++i)
    for (std::uint32_t c = 0; c < 3; ++c) out[3 * std::size_t{i} + c] = static_cast<std::uint8_t>(i >> (16 - 8 * c));
  return out;
}

std::string digest_of_rows(const Bytes& image) {
  const std::size_t row = image.size() / 4096;
  std::string text;
  for (std::size_t y = 0; y < 4096; ++y) text += fnv(image.data() + y * row, row);
  return fnv(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
}

}  // namespace lockstep::test
