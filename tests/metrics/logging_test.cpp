// The log: which rank writes where, and in which words.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <algorithm>

#include "core/error.h"
#include "tests/metrics/metrics_test_util.h"
#include "train/metrics/logging.h"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class LoggingTest : public MetricsTest {
 protected:
  void SetUp() override {
    MetricsTest::SetUp();
    set_log_console([this](LogLevel, std::string_view line) { console_.emplace_back(line); });
  }
  void TearDown() override {
    close_logging();
    set_log_console(nullptr);
    MetricsTest::TearDown();
  }
  std::vector<std::string> console_;
};

TEST_F(LoggingTest, RankZeroWritesToConsoleAndFile) {
  init_logging(0, folder_);
  log_info("start {}");  // braces are no format
  log_warning("slow");
  log_error("broken");
  EXPECT_THAT(console_, ElementsAre("start {}", "warning: slow", "error: broken"));
  EXPECT_THAT(file_lines(path("logs/rank0000.log")),
              ElementsAre(HasSubstr(" info start {}"), HasSubstr(" warning slow"), HasSubstr(" error broken")));
}

TEST_F(LoggingTest, OtherRanksWriteToTheirFileOnly) {
  init_logging(12, folder_);
  log_info("here");
  EXPECT_THAT(console_, ElementsAre());
  EXPECT_THAT(file_lines(path("logs/rank0012.log")), ElementsAre(HasSubstr(" info here")));
}

TEST_F(LoggingTest, AResumedRunAppends) {
  for (int i = 0; i < 2; ++i) {
    init_logging(3, folder_);
    log_info("start");
    close_logging();
  }
  EXPECT_EQ(file_lines(path("logs/rank0003.log")).size(), 2u);
}

TEST_F(LoggingTest, WithoutRunFolderOnlyTheConsoleIsUsed) {
  init_logging(0, "");
  log_info("a");
  close_logging();
  log_info("b");
  EXPECT_THAT(console_, ElementsAre("a", "b"));
}

TEST_F(LoggingTest, AFolderThatCannotBeMadeIsAnError) {
  std::ofstream(path("file")) << "x";
  try {
    init_logging(0, path("file"));
    FAIL() << "no error";
  } catch (const EnvironmentError& error) {
    EXPECT_EQ(error.code(), ExitCode::kCantCreate);
    EXPECT_THAT(error.what(), HasSubstr("file/logs"));
  }
}

}  // namespace
}  // namespace lockstep
