// Cluster files: all that are shipped, and what is wrong with others.
// SPDX-License-Identifier: Apache-2.0
#include "planning/cluster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "planning/shipped_files.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;

std::string message_of(const std::string& text) {
  try {
    parse_cluster(text, "mine.pbtxt");
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Cluster, EveryShippedClusterIsReadAndSaysWhereItsFiguresComeFrom) {
  const std::vector<std::string> names = shipped_names("clusters");
  EXPECT_GE(names.size(), 8u);
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    const ClusterDescription cluster = load_cluster(name);
    EXPECT_FALSE(cluster.about.empty());
    EXPECT_FALSE(cluster.sources.empty());
    EXPECT_TRUE(cluster.between || cluster.ranks_per_host > 1);
  }
}

TEST(Cluster, EfficiencyLowersTheRate) {
  const ClusterDescription cluster = parse_cluster(
      "name: \"x\" ranks_per_host: 2 inside { kind: NVLINK gb_per_second: 100 efficiency: 0.5 latency_us: 3 } straggler_percent: 2", "f");
  EXPECT_DOUBLE_EQ(cluster.inside.bytes_per_second, 50e9);
  EXPECT_DOUBLE_EQ(cluster.inside.latency_s, 3e-6);
  EXPECT_DOUBLE_EQ(cluster.straggler_share, 0.02);
}

TEST(Cluster, AnUnknownNameGetsASuggestionAndTheList) {
  try {
    load_cluster("dgx_h10");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("did you mean \"dgx_h100\""));
    EXPECT_THAT(error.what(), HasSubstr("ethernet_10g"));
  }
  try {
    load_cluster("/nowhere/x.pbtxt");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_EQ(error.code(), ExitCode::kNoInput);
  }
}

TEST(Cluster, WhatIsWrongIsSaid) {
  EXPECT_THAT(message_of("nam: \"x\""), HasSubstr("did you mean \"name\""));
  EXPECT_THAT(message_of("ranks_per_host: 2"), HasSubstr("there is no name"));
  EXPECT_THAT(message_of("name: \"x\" ranks_per_host: 2"), HasSubstr("no link inside"));
  EXPECT_THAT(message_of("name: \"x\""), HasSubstr("there is no link"));
  EXPECT_THAT(message_of("name: \"x\" between { gb_per_second: 1 }"), HasSubstr("there is no kind"));
  EXPECT_THAT(message_of("name: \"x\" between { kind: NETWORK }"), HasSubstr("between.gb_per_second: got 0"));
  EXPECT_THAT(message_of("name: \"x\" between { kind: NETWORK gb_per_second: nan }"), HasSubstr("between.gb_per_second"));
  EXPECT_THAT(message_of("name: \"x\" between { kind: NETWORK gb_per_second: 1 efficiency: 1.5 }"), HasSubstr("between.efficiency: got 1.5"));
  EXPECT_THAT(message_of("name: \"x\" between { kind: NETWORK gb_per_second: 1 latency_us: -1 }"), HasSubstr("between.latency_us: got -1"));
  EXPECT_THAT(message_of("name: \"x\" between { kind: MEMORY gb_per_second: 1 }"), HasSubstr("hosts share no memory"));
  EXPECT_THAT(message_of("name: \"x\" between { kind: NETWORK gb_per_second: 1 } straggler_percent: 99"), HasSubstr("straggler_percent: got 99"));
  EXPECT_THAT(message_of("name: \"x\" ranks_per_host: 0 between { kind: NETWORK gb_per_second: 1 }"), HasSubstr("ranks_per_host: got 0"));
}

TEST(Cluster, RanksMustSitEvenly) {
  const ClusterDescription dgx = load_cluster("dgx_h100");
  EXPECT_EQ(with_shape(dgx, 64, 0).hosts(64), 8);
  EXPECT_EQ(with_shape(dgx, 64, 16).ranks_per_host, 4);
  EXPECT_EQ(with_shape(dgx, 4, 0).hosts(4), 1);
  EXPECT_THROW(with_shape(dgx, 12, 0), UserError);
  EXPECT_THROW(with_shape(dgx, 64, 3), UserError);
  EXPECT_THROW(with_shape(load_cluster("pcie_8"), 16, 0), UserError);
  EXPECT_THROW(with_shape(load_cluster("ethernet_10g"), 8, 4), UserError) << "two ranks on a host, and no link inside";
}

}  // namespace
}  // namespace lockstep
