// The span recorder: what is recorded by whom, what is lost, and that nothing happens while no trace is under way.
// SPDX-License-Identifier: Apache-2.0
#include "core/trace.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "core/error.h"

namespace lockstep {
namespace {

TEST(Trace, SpansOfEachThreadComeBackOnATrackOfItsOwnInTheOrderOfTheirEnds) {
  start_trace(16);
  {
    const TraceScope outer(SpanKind::kPhase, "outer", 7);
    const TraceScope inner(SpanKind::kOp, "inner");
  }
  std::thread([] { const TraceScope other(SpanKind::kLoader, "other"); }).join();
  const std::vector<TraceTrack> tracks = stop_trace();
  ASSERT_EQ(tracks.size(), 2u);
  ASSERT_EQ(tracks[0].spans.size(), 2u);
  const TraceSpan &inner = tracks[0].spans[0], &outer = tracks[0].spans[1];
  EXPECT_STREQ(inner.name, "inner");
  EXPECT_STREQ(outer.name, "outer");
  EXPECT_EQ(outer.detail, 7);
  EXPECT_LE(outer.begin_ns, inner.begin_ns);
  EXPECT_LE(inner.begin_ns, inner.end_ns);
  EXPECT_LE(inner.end_ns, outer.end_ns);
  ASSERT_EQ(tracks[1].spans.size(), 1u);
  EXPECT_EQ(tracks[1].spans[0].kind, SpanKind::kLoader);
}

TEST(Trace, NothingIsRecordedOutsideOfATrace) {
  { const TraceScope before(SpanKind::kPhase, "before"); }
  record_span({"before", SpanKind::kPhase, 1, 2});
  start_trace(16);
  EXPECT_TRUE(stop_trace().empty());
  EXPECT_FALSE(trace_enabled());
}

TEST(Trace, ASpanThatBeganOutsideOfTheTraceIsNotInIt) {
  {
    const TraceScope early(SpanKind::kPhase, "early");
    start_trace(16);
  }
  EXPECT_TRUE(stop_trace().empty());
  start_trace(16);
  {
    const TraceScope late(SpanKind::kPhase, "late");
    EXPECT_TRUE(stop_trace().empty());
  }
  start_trace(16);
  EXPECT_TRUE(stop_trace().empty());
}

TEST(Trace, AFullBufferCountsWhatItLost) {
  start_trace(2);
  for (int i = 0; i < 5; ++i) const TraceScope scope(SpanKind::kOp, "op", i);
  const std::vector<TraceTrack> tracks = stop_trace();
  ASSERT_EQ(tracks.size(), 1u);
  EXPECT_EQ(tracks[0].spans.size(), 2u);
  EXPECT_EQ(tracks[0].spans[1].detail, 1);
  EXPECT_EQ(tracks[0].dropped, 3u);
}

TEST(Trace, MoreThreadsThanBuffersMadeAheadAreAllSeenAndALaterTraceIsAFreshOne) {
  for (const int threads : {1, 3}) {
    start_trace(8, 1);
    for (int i = 0; i < threads; ++i) std::thread([] { const TraceScope scope(SpanKind::kLoader, "work"); }).join();
    EXPECT_EQ(stop_trace().size(), static_cast<std::size_t>(threads));
  }
}

TEST(Trace, ThreadsMayRecordWhileATraceStartsAndStops) {  // for the thread sanitizer
  std::atomic<bool> stop = false;
  std::thread worker([&] {
    while (!stop) const TraceScope scope(SpanKind::kLoader, "work");
  });
  for (int i = 0; i < 50; ++i) {
    start_trace(64, 1);
    std::this_thread::yield();
    for (const TraceTrack& track : stop_trace())
      for (const TraceSpan& span : track.spans) EXPECT_LE(span.begin_ns, span.end_ns);
  }
  stop = true;
  worker.join();
}

TEST(Trace, OneTraceAtATime) {
  EXPECT_THROW(stop_trace(), InternalError);
  start_trace(1);
  EXPECT_THROW(start_trace(1), InternalError);
  stop_trace();
}

// Off, a scope is a branch: far below the cost of reading the clock, which recording does twice.
TEST(Trace, OffItCostsLessThanReadingTheClock) {
  constexpr int kScopes = 100'000;
  const auto best_ns = [](const auto& body) {
    std::int64_t best = INT64_MAX;
    for (int i = 0; i < 7; ++i) {
      const std::int64_t begin = trace_clock_ns();
      for (int k = 0; k < kScopes; ++k) body();
      best = std::min(best, trace_clock_ns() - begin);
    }
    return best;
  };
  const std::int64_t scopes = best_ns([] { const TraceScope scope(SpanKind::kOp, "op"); });
  volatile std::int64_t sink = 0;
  const std::int64_t clocks = best_ns([&] { sink = trace_clock_ns(); });
  EXPECT_LT(scopes, clocks);
}

}  // namespace
}  // namespace lockstep
