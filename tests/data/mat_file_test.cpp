// MAT-files: what meta.mat holds, deflated or not; damage of every byte.
// SPDX-License-Identifier: Apache-2.0
#include "data/mat_file.h"

#include <gtest/gtest.h>

#include "tests/data/archives.h"

namespace lockstep {
namespace {

using test::Bytes;
using test::Synset;

const std::vector<Synset> kSynsets{{1, "n02084071"}, {2, "n01440764"}, {300, "n01443537"}, {9, "n00000001", 3}};

TEST(MatFile, ReadsStructs) {
  for (const bool deflated : {false, true}) {
    const Bytes file = test::make_meta(kSynsets, deflated);
    const std::vector<MatRecord> records = read_mat_structs(file, "synsets", "m");
    ASSERT_EQ(records.size(), kSynsets.size());
    for (std::size_t i = 0; i < records.size(); ++i) {
      EXPECT_EQ(records[i].numbers.at("ILSVRC2012_ID"), kSynsets[i].id);
      EXPECT_EQ(records[i].numbers.at("num_children"), kSynsets[i].children);
      EXPECT_EQ(records[i].texts.at("WNID"), kSynsets[i].wnid);
      EXPECT_EQ(records[i].texts.at("words"), "a thing, " + kSynsets[i].wnid);
    }
    EXPECT_TRUE(read_mat_structs(file, "others", "m").empty());
  }
}

TEST(MatFile, DamageIsAnErrorAndNeverACrash) {
  const Bytes good = test::make_meta(kSynsets, false), packed = test::make_meta(kSynsets, true);
  for (const Bytes* file : {&good, &packed}) {
    for (std::size_t i = 0; i < file->size(); ++i)
      for (const int flip : {0x01, 0x80, 0xff}) {
        Bytes bad = *file;
        bad[i] = static_cast<std::uint8_t>(bad[i] ^ flip);
        try {
          read_mat_structs(bad, "synsets", "m");
        } catch (const UserError& error) {
          EXPECT_EQ(error.code(), ExitCode::kData);
        }
      }
    for (std::size_t size = 0; size < file->size(); size += 3) {
      const Bytes cut(file->begin(), file->begin() + static_cast<std::ptrdiff_t>(size));
      try {
        EXPECT_TRUE(read_mat_structs(cut, "synsets", "m").empty()) << size;
      } catch (const UserError&) {
      }
    }
  }
}

}  // namespace
}  // namespace lockstep
