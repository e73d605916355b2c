// Made-up archives for tests: tars member by member, with every field in the test's hand, and a MAT-file of synsets.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/data/test_support.h"

namespace lockstep::test {

// Writes ustar members one after the other.
class TarBuilder {
 public:
  struct Header {
    char type = '0';
    std::string prefix = {};              // ustar's
    std::string size_field = {};          // 12 bytes instead of the octal size
    std::optional<std::uint64_t> size = {};  // instead of the content's
    bool gnu = false;                     // GNU's magic
  };
  TarBuilder& add(const std::string& name, const Bytes& content) { return add(name, content, Header()); }
  TarBuilder& add(const std::string& name, const Bytes& content, const Header& header);
  TarBuilder& pax(const std::vector<std::pair<std::string, std::string>>& records, char type = 'x');
  TarBuilder& long_name(const std::string& name);  // GNU's 'L'
  Bytes finish(int zero_blocks = 2) const;
  std::size_t size() const { return bytes_.size(); }

 private:
  Bytes bytes_;
};

void fix_checksum(Bytes& archive, std::size_t header);  // of the header at this offset

Bytes bytes_of(std::string_view text);

struct Synset {
  int id;
  std::string wnid;
  int children = 0;
};
// A MAT-file of level 5 as MATLAB writes meta.mat: a struct array "synsets" (ILSVRC2012_ID, WNID, words, num_children).
Bytes make_meta(const std::vector<Synset>& synsets, bool deflated);

// ILSVRC2012_devkit_t12.tar.gz: meta.mat and the ground truth, ids of the images 1, 2, ...
Bytes make_devkit(const std::vector<Synset>& synsets, const std::vector<int>& truth);

}  // namespace lockstep::test
