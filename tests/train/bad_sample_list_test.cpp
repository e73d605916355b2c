// The budget for unreadable samples counts over all ranks and resumes.
// SPDX-License-Identifier: Apache-2.0
#include "train/bad_sample_list.h"

#include <gtest/gtest.h>

#include <limits>

#include "core/error.h"
#include "distributed/local_group.h"

namespace lockstep {
namespace {

constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

TEST(BadSampleList, IsTheUnionOfAllRanks) {
  LocalGroup group(2);
  group.run([&](Communicator& comm) {
    BadSamples mine(kUnlimited);
    mine.add({7, "shared.jpg", "shared.jpg: truncated"});
    mine.add({comm.rank(), "own" + std::to_string(comm.rank()) + ".jpg", "bad\nsecond line"});
    BadSampleList list(2);
    list.restore({}, comm);
    EXPECT_FALSE(list.over_budget());
    const std::vector<std::string> news = list.collect(mine, comm);
    EXPECT_EQ(list.count(), 3) << "each sample once, on every rank";
    EXPECT_TRUE(list.over_budget());
    EXPECT_EQ(news.size(), comm.rank() == 0 ? 3u : 0u);
    EXPECT_EQ(list.samples().size(), comm.rank() == 0 ? 3u : 0u);
    if (comm.rank() == 0) {
      EXPECT_EQ(list.samples().at("own1.jpg"), "bad");
    }
    EXPECT_TRUE(list.collect(mine, comm).empty()) << "nothing new";
    EXPECT_EQ(list.count(), 3);
    EXPECT_FALSE(list.alone_over_budget(mine));
  });
}

TEST(BadSampleList, WhatACheckpointListsCounts) {
  LocalGroup group(2);
  group.run([&](Communicator& comm) {
    BadSamples mine(kUnlimited);
    BadSampleList list(1);
    list.restore(comm.rank() == 0 ? std::map<std::string, std::string>{{"old.jpg", "truncated"}} : std::map<std::string, std::string>{}, comm);
    EXPECT_EQ(list.count(), 1);
    EXPECT_FALSE(list.over_budget());
    mine.add({1, "old.jpg", "truncated"});
    list.collect(mine, comm);
    EXPECT_EQ(list.count(), 1) << "known already";
    mine.add({2, "new.jpg", "truncated"});
    list.collect(mine, comm);
    EXPECT_EQ(list.count(), 2);
    EXPECT_TRUE(list.over_budget());
  });
}

TEST(BadSampleList, NamesWithControlCharactersDoNotBreakIt) {
  LocalGroup group(1);
  group.run([&](Communicator& comm) {
    BadSamples mine(kUnlimited);
    mine.add({1, "a\tb\nc.jpg", "a\tb\nc.jpg: bad"});
    BadSampleList list(0);
    list.collect(mine, comm);
    EXPECT_EQ(list.count(), 1);
    EXPECT_EQ(list.samples().begin()->first, "a?b?c.jpg");
  });
}

TEST(BadSampleList, TheErrorSaysWhatIsBadAndWhatToDo) {
  LocalGroup group(2);
  group.run([&](Communicator& comm) {
    BadSamples mine(kUnlimited);
    if (comm.rank() == 1) mine.add({1, "x.jpg", "x.jpg: truncated"});
    BadSampleList list(0);
    list.collect(mine, comm);
    try {
      list.throw_over_budget("State saved.");
      ADD_FAILURE() << "must throw";
    } catch (const UserError& error) {
      EXPECT_EQ(error.code(), ExitCode::kData);
      const std::string text = error.what();
      for (const char* word : {"x.jpg: truncated", "1 training sample could", "allows 0", "State saved.", "--resume auto"})
        EXPECT_NE(text.find(word), std::string::npos) << word << " in " << text;
    }
  });
}

}  // namespace
}  // namespace lockstep
