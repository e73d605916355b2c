// The display: rows elsewhere, one rewritten line on a terminal; with a clock and a width of the test's own.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <utility>

#include "train/metrics/progress.h"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class ProgressTest : public testing::Test {
 protected:
  ProgressDisplay display(ProgressOptions options) {
    options.now = [this] { return now_; };
    options.width = [this] { return width_; };
    return ProgressDisplay([this](std::string_view text) { text_ += text; }, options);
  }
  // What was written since the last call.
  std::string taken() { return std::exchange(text_, ""); }

  double now_ = 1000;
  int width_ = 120;
  std::string text_;
};

TEST_F(ProgressTest, RowsHaveFixedColumnsUnderOneHeader) {
  ProgressDisplay d = display({});
  d.start(0, 4680, 10, 128);
  now_ += 1;
  d.step_done(50, 0.1);
  EXPECT_EQ(taken(), "");
  d.report(50, 0.1, {.loss = 2.25, .top1 = 0.125, .lr = 0.05, .wait_frac = 0.01});
  EXPECT_EQ(taken(),
            "     step    epoch      loss   top-1         lr  images/s    wait       ETA\n"
            "       50     0.10    2.2500  12.50%  5.000e-02     6,400    1.0%      1:33\n");
  now_ += 2;
  d.report(100, 0.21, {});
  EXPECT_EQ(taken(), "      100     0.21         -       -          -     3,200       -      2:17\n");
}

TEST_F(ProgressTest, TimeOfAPauseIsNotCounted) {
  ProgressDisplay d = display({});
  d.start(0, 100, 1, 10);
  now_ += 1;
  d.step_done(10, 0.1);
  d.pause();
  now_ += 500;
  d.resume();
  now_ += 1;
  d.step_done(20, 0.2);
  EXPECT_DOUBLE_EQ(d.images_per_second(), 100);
}

TEST_F(ProgressTest, TheRateFollowsTheLastSeconds) {
  ProgressDisplay d = display({});
  d.start(0, 1000000, 1, 1);
  for (int64_t step = 1; step <= 100; ++step) {
    now_ += 1;
    d.step_done(step, 0);
  }
  for (int64_t step = 101; step <= 300; ++step) {
    now_ += 0.1;
    d.step_done(step, 0);
  }
  EXPECT_NEAR(d.images_per_second(), 10, 1e-6);
}

TEST_F(ProgressTest, ABarShowsAllFigures) {
  ProgressDisplay d = display({.bar = true});
  d.start(0, 1000, 10, 128);
  now_ += 1;
  d.report(500, 5, {.loss = 0.5, .top1 = 0.875});
  EXPECT_EQ(taken(),
            "###############---------------   50 %  ETA 0:01  64,000 img/s  loss 0.5000  top-1 87.50%  epoch 5.0/10");
  now_ += 1;
  d.step_done(600, 6);
  EXPECT_THAT(taken(), AllOf(testing::StartsWith("\r\x1b[J##"), HasSubstr(" 60 %")));
}

TEST_F(ProgressTest, TheBarIsRedrawnAtMostTenTimesASecond) {
  ProgressDisplay d = display({.bar = true});
  d.start(0, 1000, 10, 128);
  int draws = 0;
  for (int64_t step = 1; step <= 1000; ++step) {
    now_ += 0.001;
    d.step_done(step, 0);
    draws += taken().empty() ? 0 : 1;
  }
  EXPECT_GE(draws, 9);
  EXPECT_LE(draws, 11);
}

TEST_F(ProgressTest, TheBarFitsAnyWidth) {
  for (width_ = 1; width_ <= 150; ++width_) {
    ProgressDisplay d = display({.bar = true});
    d.start(0, 1000, 10, 128);
    now_ += 1;
    d.report(999, 9.99, {.loss = 123.456, .top1 = 1});
    EXPECT_LE(static_cast<int>(taken().size()), std::max(1, width_ - 1)) << width_;
    d.finish();
    taken();
  }
}

TEST_F(ProgressTest, ANarrowerTerminalIsClearedOfAllRowsOfTheOldBar) {
  ProgressDisplay d = display({.bar = true});
  width_ = 101;
  d.start(0, 1000, 10, 128);
  d.report(1, 0, {});
  taken();
  width_ = 40;  // the 100 columns now lie on three rows
  now_ += 1;
  d.step_done(2, 0);
  EXPECT_THAT(taken(), testing::StartsWith("\x1b[2A\r\x1b[J"));
}

TEST_F(ProgressTest, MessagesStandAboveTheBar) {
  ProgressDisplay d = display({.bar = true});
  d.start(0, 1000, 10, 128);
  d.message("before");
  EXPECT_EQ(taken(), "before\n");
  d.report(1, 0, {});
  taken();
  d.message("saved");
  EXPECT_THAT(taken(), testing::StartsWith("\r\x1b[Jsaved\n---"));
  d.finish();
  EXPECT_EQ(taken(), "\r\x1b[J");
  d.finish();
  EXPECT_EQ(taken(), "");
}

TEST_F(ProgressTest, MessagesMayComeFromAnotherThread) {
  ProgressDisplay d = display({.bar = true});
  d.start(0, 1000, 10, 128);
  std::thread other([&] {
    for (int i = 0; i < 200; ++i) d.message("saved");
  });
  for (int64_t step = 1; step <= 200; ++step) d.report(step, 0, {});
  other.join();
  d.finish();
  const std::string text = taken();
  size_t lines = 0;
  for (size_t at = text.find("saved\n"); at != std::string::npos; at = text.find("saved\n", at + 1)) ++lines;
  EXPECT_EQ(lines, 200u);
}

TEST_F(ProgressTest, ColourAndBlocksOnlyWhereAllowed) {
  ProgressDisplay plain = display({.bar = true});
  plain.start(0, 2, 1, 1);
  plain.report(1, 0, {});
  EXPECT_THAT(taken(), AllOf(Not(HasSubstr("\x1b[32m")), Not(HasSubstr("█"))));
  plain.finish();
  taken();
  ProgressDisplay coloured = display({.bar = true, .colour = true, .utf8 = true});
  coloured.start(0, 2, 1, 1);
  coloured.report(1, 0, {});
  EXPECT_THAT(taken(), AllOf(HasSubstr("\x1b[32m█"), HasSubstr("\x1b[0m")));
}

// A terminal of our own of the given width.
class Pty {
 public:
  explicit Pty(unsigned short columns) {
    main_ = ::posix_openpt(O_RDWR | O_NOCTTY);
    if (main_ < 0 || ::grantpt(main_) != 0 || ::unlockpt(main_) != 0) return;
    terminal_ = ::open(::ptsname(main_), O_RDWR | O_NOCTTY);
    resize(columns);
  }
  ~Pty() {
    if (terminal_ >= 0) ::close(terminal_);
    if (main_ >= 0) ::close(main_);
  }
  void resize(unsigned short columns) const {
    const winsize size{.ws_row = 24, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
    ::ioctl(terminal_, TIOCSWINSZ, &size);
  }
  int fd() const { return terminal_; }

 private:
  int main_ = -1, terminal_ = -1;
};

TEST(ProgressDetect, ATerminalGetsABarThatFollowsItsWidth) {
  const Pty pty(93);
  if (pty.fd() < 0) GTEST_SKIP() << "no pseudo-terminals here";
  ::setenv("TERM", "xterm", 1);
  ::unsetenv("NO_COLOR");
  const ProgressOptions options = detect_progress_options(pty.fd());
  EXPECT_TRUE(options.bar);
  EXPECT_TRUE(options.colour);
  EXPECT_EQ(options.width(), 93);
  pty.resize(41);
  EXPECT_EQ(options.width(), 41);
  ::setenv("NO_COLOR", "1", 1);
  EXPECT_FALSE(detect_progress_options(pty.fd()).colour);
  ::setenv("TERM", "dumb", 1);
  EXPECT_FALSE(detect_progress_options(pty.fd()).bar);
}

TEST(ProgressDetect, AFileIsNoTerminal) {
  std::FILE* file = std::tmpfile();
  const ProgressOptions options = detect_progress_options(fileno(file));
  EXPECT_FALSE(options.bar);
  EXPECT_FALSE(options.colour);
  EXPECT_EQ(options.width(), 80);
  std::fclose(file);
}

}  // namespace
}  // namespace lockstep
