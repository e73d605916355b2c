// Bucket plans as tables: entries and caps in, buckets out.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "distributed/bucket_plan.h"
#include "distributed_test_util.h"

namespace lockstep {
namespace {

ReduceEntry entry(const std::string& name, std::int64_t numel, DType dtype = DType::kF32, EntryKind kind = EntryKind::kGradient) {
  return {name, Shape{numel}, dtype, kind};
}

// "b a | c": buckets separated by bars, names in order.
std::string picture(const BucketPlan& plan, const std::vector<ReduceEntry>& entries) {
  std::string text;
  for (const Bucket& bucket : plan.buckets) {
    if (!text.empty()) text += " | ";
    for (std::size_t i = 0; i < bucket.slices.size(); ++i)
      text += (i == 0 ? "" : " ") + entries[static_cast<std::size_t>(bucket.slices[i].entry)].name;
  }
  return text;
}

TEST(BucketPlan, Tables) {
  struct Case {
    std::vector<ReduceEntry> entries;
    std::size_t first_cap, cap;
    std::string want;
  };
  const std::vector<Case> cases = {
      {{}, 64, 64, ""},
      {{entry("a", 1)}, 1, 1, "a"},                                        // larger than the cap: alone
      {{entry("a", 16), entry("b", 16), entry("c", 16)}, 1024, 1024, "c b a"},  // reverse order
      {{entry("a", 16), entry("b", 16), entry("c", 16)}, 64, 1024, "c | b | a"},  // small first and last buckets
      {{entry("a", 16), entry("b", 16), entry("c", 16)}, 128, 128, "c | b a"},  // what fits into the last bucket is there
      {{entry("a", 1), entry("b", 1), entry("c", 1)}, 128, 128, "c | b a"},     // padding counts
      {{entry("a", 16), entry("b", 16), entry("c", 16), entry("d", 16), entry("e", 16)}, 64, 128, "e | d c | b | a"},
      {{entry("a", 1000), entry("b", 1), entry("c", 1000)}, 64, 64, "c | b | a"},
      {{entry("a", 1), entry("b", 1, DType::kF64), entry("c", 1)}, 4096, 4096, "c | b | a"},  // dtypes never mix
      {{entry("w", 1), entry("mean", 1, DType::kF32, EntryKind::kObservation), entry("loss", 1, DType::kF64, EntryKind::kTotal),
        entry("var", 1, DType::kF32, EntryKind::kObservation), entry("v", 1)},
       64, 4096, "loss | mean var | v | w"},
      {{entry("a", 16), entry("b", 16), entry("c", 16), entry("norms", 2, DType::kF64, EntryKind::kLateTotal),
        entry("loss", 1, DType::kF64, EntryKind::kTotal)},
       64, 1024, "loss | c | b | a | norms"},  // late totals travel last, and leave the gradients' buckets as they are
  };
  for (const Case& c : cases) EXPECT_EQ(picture(plan_buckets(c.entries, c.first_cap, c.cap), c.entries), c.want);
}

TEST(BucketPlan, OffsetsAreAlignedAndDisjointAndLabelsNameTensors) {
  std::vector<ReduceEntry> entries;
  for (int i = 0; i < 40; ++i) entries.push_back(entry(fmt::format("p{}", i), 1 + i % 50));
  const BucketPlan plan = plan_buckets(entries, 256, 1024);
  std::vector<int> seen(entries.size(), 0);
  for (std::size_t b = 0; b < plan.buckets.size(); ++b) {
    std::size_t end = 0;
    for (std::size_t s = 0; s < plan.buckets[b].slices.size(); ++s) {
      const BucketSlice& slice = plan.buckets[b].slices[s];
      EXPECT_EQ(slice.offset_bytes % 64, 0u);
      EXPECT_GE(slice.offset_bytes, end);
      end = slice.offset_bytes + static_cast<std::size_t>(slice.numel) * 4;
      const auto e = static_cast<std::size_t>(slice.entry);
      ++seen[e];
      EXPECT_EQ(plan.bucket_of[e], static_cast<int>(b));
      EXPECT_EQ(plan.slice_of[e], static_cast<int>(s));
    }
    EXPECT_LE(end, plan.buckets[b].nbytes);
    EXPECT_LE(plan.buckets[b].nbytes, b == 0 ? 256u : 1024u);
  }
  EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), 40);
  EXPECT_EQ(plan.buckets[0].label, fmt::format("bucket 1 of {} (p39)", plan.buckets.size()));
  EXPECT_NE(plan.buckets[1].label.find("(p38 .. p"), std::string::npos) << plan.buckets[1].label;
}

TEST(BucketPlan, HashSeesEveryDifference) {
  const std::vector<ReduceEntry> base = {entry("a", 100), entry("b", 200)};
  const auto hash = [](std::vector<ReduceEntry> entries, std::size_t cap = 4096) { return plan_buckets(entries, cap, cap).hash; };
  EXPECT_EQ(hash(base), hash(base));
  EXPECT_NE(hash(base), hash({entry("a", 100), entry("c", 200)}));
  EXPECT_NE(hash(base), hash({entry("a", 101), entry("b", 200)}));
  EXPECT_NE(hash(base), hash({entry("b", 200), entry("a", 100)}));
  EXPECT_NE(hash(base), hash({entry("a", 100, DType::kF64), entry("b", 200)}));
  EXPECT_NE(hash(base), hash(base, 512));
}

TEST(BucketPlan, RefusesWhatCannotBeReduced) {
  const std::vector<ReduceEntry> half = {entry("layer1.weight", 3, DType::kF16)};
  EXPECT_NE(testing::message_of<InternalError>([&] { plan_buckets(half, 64, 64); }).find("layer1.weight"), std::string::npos);
  EXPECT_THROW(plan_buckets({}, 0, 64), UserError);
}

}  // namespace
}  // namespace lockstep
