// SPDX-License-Identifier: Apache-2.0
#include "tests/data/archives.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>

namespace lockstep::test {
namespace {

void put(Bytes& block, std::size_t at, std::string_view text) {
  std::copy(text.begin(), text.end(), block.begin() + static_cast<std::ptrdiff_t>(at));
}

// noinline: gcc 12 otherwise takes growing a vector of known size for an access beyond it
[[gnu::noinline]] void append(Bytes& to, const Bytes& more) { to.insert(to.end(), more.begin(), more.end()); }

void append_number(Bytes& to, std::uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8) to.push_back(static_cast<std::uint8_t>(value >> shift));
}

// A data element: up to 4 bytes lie beside their length, as MATLAB writes them.
Bytes element(std::uint32_t type, const Bytes& content) {
  Bytes out;
  if (type != 14 && !content.empty() && content.size() <= 4) {
    append_number(out, type | static_cast<std::uint32_t>(content.size()) << 16);
    append(out, content);
    out.resize(8);
    return out;
  }
  append_number(out, type);
  append_number(out, static_cast<std::uint32_t>(content.size()));
  append(out, content);
  out.resize((out.size() + 7) / 8 * 8);
  return out;
}

Bytes matrix(std::uint32_t kind, std::uint32_t rows, std::uint32_t columns, const std::string& name, const Bytes& rest) {
  Bytes flags, extents, content;
  append_number(flags, kind);
  append_number(flags, 0);
  append_number(extents, rows);
  append_number(extents, columns);
  append(content, element(6, flags));
  append(content, element(5, extents));
  append(content, element(1, bytes_of(name)));
  append(content, rest);
  return element(14, content);
}

Bytes number_matrix(int value) {  // double, stored as the smallest type that holds it
  Bytes stored{static_cast<std::uint8_t>(value), static_cast<std::uint8_t>(value >> 8)};
  return matrix(6, 1, 1, "", element(4, stored));
}

Bytes text_matrix(const std::string& text) {  // characters of 16 bits
  Bytes wide;
  for (const char c : text) wide.push_back(static_cast<std::uint8_t>(c)), wide.push_back(0);
  return matrix(4, 1, static_cast<std::uint32_t>(text.size()), "", element(4, wide));
}

}  // namespace

Bytes bytes_of(std::string_view text) { return {text.begin(), text.end()}; }

void fix_checksum(Bytes& archive, std::size_t header) {
  put(archive, header + 148, "        ");
  unsigned sum = 0;
  for (std::size_t i = 0; i < 512; ++i) sum += archive[header + i];
  put(archive, header + 148, fmt::format("{:06o}", sum));
  archive[header + 154] = 0;
}

TarBuilder& TarBuilder::add(const std::string& name, const Bytes& content, const Header& header) {
  Bytes block(512);
  put(block, 0, name.substr(0, 100));
  put(block, 100, "0000644");
  put(block, 124, header.size_field.empty() ? fmt::format("{:011o}", header.size.value_or(content.size())) : header.size_field);
  put(block, 136, "00000000000");
  block[156] = static_cast<std::uint8_t>(header.type);
  put(block, 257, header.gnu ? std::string_view("ustar  ") : std::string_view("ustar\00000", 8));
  put(block, 345, header.prefix);
  const std::size_t at = bytes_.size();
  append(bytes_, block);
  fix_checksum(bytes_, at);
  append(bytes_, content);
  bytes_.resize((bytes_.size() + 511) / 512 * 512);
  return *this;
}

TarBuilder& TarBuilder::pax(const std::vector<std::pair<std::string, std::string>>& records, char type) {
  std::string text;
  for (const auto& [key, value] : records) {
    const std::size_t rest = key.size() + value.size() + 3;
    std::size_t length = rest + 1;
    while (length != rest + fmt::format("{}", length).size()) ++length;
    text += fmt::format("{} {}={}\n", length, key, value);
  }
  return add("pax", bytes_of(text), {.type = type});
}

TarBuilder& TarBuilder::long_name(const std::string& name) {
  Bytes content = bytes_of(name);
  content.push_back(0);
  return add("././@LongLink", content, {.type = 'L', .gnu = true});
}

Bytes TarBuilder::finish(int zero_blocks) const {
  Bytes out = bytes_;
  out.resize(out.size() + 512 * static_cast<std::size_t>(zero_blocks));
  return out;
}

Bytes make_meta(const std::vector<Synset>& synsets, bool deflated) {
  const std::vector<std::string> fields{"ILSVRC2012_ID", "WNID", "words", "num_children"};
  Bytes width, names, rest;
  append_number(width, 14);
  for (const std::string& field : fields) {
    Bytes name = bytes_of(field);
    name.resize(14);
    append(names, name);
  }
  append(rest, element(5, width));
  append(rest, element(1, names));
  for (const Synset& synset : synsets) {
    append(rest, number_matrix(synset.id));
    append(rest, text_matrix(synset.wnid));
    append(rest, text_matrix("a thing, " + synset.wnid));
    append(rest, number_matrix(synset.children));
  }
  const Bytes variable = matrix(2, static_cast<std::uint32_t>(synsets.size()), 1, "synsets", rest);
  Bytes file = bytes_of(fmt::format("{:<124}", "MATLAB 5.0 MAT-file, made for a test"));
  append(file, {0, 1, 'I', 'M'});
  if (!deflated) {
    append(file, variable);
    return file;
  }
  Bytes packed(compressBound(variable.size()));
  uLongf size = packed.size();
  compress(packed.data(), &size, variable.data(), variable.size());
  packed.resize(size);
  append_number(file, 15);
  append_number(file, static_cast<std::uint32_t>(size));
  append(file, packed);
  return file;
}

Bytes make_devkit(const std::vector<Synset>& synsets, const std::vector<int>& truth) {
  std::string lines;
  for (const int id : truth) lines += fmt::format("{}\n", id);
  TarBuilder tar;
  tar.add("ILSVRC2012_devkit_t12/data/", {}, {.type = '5'});
  tar.add("ILSVRC2012_devkit_t12/data/meta.mat", make_meta(synsets, true));
  tar.add("ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", bytes_of(lines));
  return gzip(tar.finish());
}

}  // namespace lockstep::test
