// The file of engine choices: what is written is read, damage is found and left out, other machines' lines stay.
// SPDX-License-Identifier: Apache-2.0
#include "cuda/plan_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace lockstep::cuda {
namespace {

std::map<std::string, std::string> some_plans() {
  return {{"forward f16 x1,8,3,3 | H100", "timed eng62_k2=4"}, {"forward f16 x2,8,3,3 | H100", "proposed eng2"}, {"odd = | H200", ""}};
}

class PlanFileOnDisk : public ::testing::Test {
 protected:
  PlanFileOnDisk() { std::filesystem::create_directories(folder_); }
  ~PlanFileOnDisk() override { std::filesystem::remove_all(folder_); }
  static std::string text_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static void put(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

  const std::filesystem::path folder_ = std::filesystem::temp_directory_path() / ("lockstep_plans_" + std::to_string(::getpid()));
  const std::string path_ = folder_ / "plans";
};

TEST(PlanFile, WhatIsWrittenIsRead) {
  const PlanFile file = parse_plan_file(format_plan_file(some_plans()));
  EXPECT_EQ(file.plans, some_plans());
  EXPECT_TRUE(file.ignored.empty());
  EXPECT_FALSE(file.foreign);
}

TEST(PlanFile, BreaksInNamesDoNotBreakLines) {
  const PlanFile file = parse_plan_file(format_plan_file({{"a\tb\nc", "d\re"}}));
  EXPECT_EQ(file.plans, (std::map<std::string, std::string>{{"a b c", "d e"}}));
  EXPECT_TRUE(file.ignored.empty());
}

// Whatever single byte is changed: at most one line is lost, none is wrong, and it is said.
TEST(PlanFile, EveryChangedByteIsFoundAndCostsOneLine) {
  const std::string whole = format_plan_file(some_plans());
  for (std::size_t at = 0; at < whole.size(); ++at)
    for (const int flip : {1, 0x20, 0x80}) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ flip);
      const PlanFile file = parse_plan_file(damaged);
      EXPECT_FALSE(file.ignored.empty()) << "byte " << at << " ^ " << flip;
      EXPECT_TRUE(file.foreign || file.plans.size() + 2 >= some_plans().size()) << "byte " << at;
      for (const auto& [key, value] : file.plans) {
        ASSERT_TRUE(some_plans().contains(key)) << "byte " << at << " ^ " << flip << ": a key that nobody wrote: " << key;
        EXPECT_EQ(value, some_plans()[key]);
      }
    }
}

TEST(PlanFile, EveryCutIsSurvived) {
  const std::string whole = format_plan_file(some_plans());
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const PlanFile file = parse_plan_file(std::string_view(whole).substr(0, length));
    const bool at_a_line = length == 0 || whole[length - 1] == '\n';
    EXPECT_EQ(file.ignored.empty(), at_a_line) << length;
    for (const auto& [key, value] : file.plans) EXPECT_EQ(value, some_plans()[key]);
  }
}

TEST_F(PlanFileOnDisk, AMissingFileIsEmptyAndAFolderIsNoFile) {
  EXPECT_TRUE(read_plan_file(path_).plans.empty());
  EXPECT_TRUE(read_plan_file(path_).ignored.empty());
  EXPECT_NE(write_plan_file(folder_ / "no" / "plans", some_plans()).find("No such file or directory"), std::string::npos);
  EXPECT_NE(write_plan_file(folder_, some_plans()), "");
  EXPECT_TRUE(std::filesystem::is_directory(folder_));
}

TEST_F(PlanFileOnDisk, WritingReplacesAndLeavesNothingElse) {
  EXPECT_EQ(write_plan_file(path_, {{"a", "b"}}), "");
  EXPECT_EQ(write_plan_file(path_, some_plans()), "");
  EXPECT_EQ(read_plan_file(path_).plans, some_plans());
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
}

TEST_F(PlanFileOnDisk, ACacheRemembersAcrossProcessesForItsMachineOnly) {
  PlanCache first(path_, "H100 cc9.0 cudnn9.19.0");
  first.remember("forward a", {"eng1", true});
  first.remember("forward b", {"eng2_k2=3", false});
  first.save();
  const PlanCache second(path_, "H100 cc9.0 cudnn9.19.0"), other(path_, "H100 cc9.0 cudnn9.20.0");
  ASSERT_NE(second.find("forward a"), nullptr);
  EXPECT_EQ(second.find("forward a")->engine, "eng1");
  EXPECT_TRUE(second.find("forward a")->timed);
  EXPECT_EQ(second.find("forward b")->engine, "eng2_k2=3");
  EXPECT_FALSE(second.find("forward b")->timed);
  EXPECT_EQ(other.find("forward a"), nullptr) << "another version's plan";
  EXPECT_TRUE(second.notes().empty());
}

TEST_F(PlanFileOnDisk, TwoWritersKeepEachOthersChoices) {
  PlanCache a(path_, "H100"), b(path_, "H200");
  a.remember("x", {"eng1", true});
  b.remember("y", {"eng2", true});
  a.save();
  b.save();
  EXPECT_NE(PlanCache(path_, "H100").find("x"), nullptr);
  EXPECT_NE(PlanCache(path_, "H200").find("y"), nullptr);
}

TEST_F(PlanFileOnDisk, DamageIsReportedAndRepairedAndAForeignFileIsLeftAlone) {
  PlanCache writer(path_, "H100");
  writer.remember("x", {"eng1", true});
  writer.save();
  std::string text = text_of(path_);
  text[text.size() - 3] ^= 1;
  put(path_, text);
  PlanCache reader(path_, "H100");
  EXPECT_EQ(reader.find("x"), nullptr);
  ASSERT_EQ(reader.notes().size(), 1u);
  EXPECT_NE(reader.notes()[0].find("line 2: checksum"), std::string::npos) << reader.notes()[0];
  reader.remember("x", {"eng3", true});
  reader.save();
  EXPECT_EQ(PlanCache(path_, "H100").find("x")->engine, "eng3");

  put(path_, "dear diary\n");
  PlanCache foreign(path_, "H100");
  foreign.remember("x", {"eng1", true});
  foreign.save();
  EXPECT_EQ(text_of(path_), "dear diary\n");
  EXPECT_EQ(foreign.notes().size(), 2u);
}

TEST_F(PlanFileOnDisk, WithoutAPathNothingIsWritten) {
  PlanCache cache("", "H100");
  cache.remember("x", {"eng1", true});
  cache.save();
  EXPECT_EQ(cache.find("x")->engine, "eng1");
  EXPECT_TRUE(cache.notes().empty());
}

}  // namespace
}  // namespace lockstep::cuda
