// SPDX-License-Identifier: Apache-2.0
#include "core/error.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>

namespace lockstep {
namespace {

TEST(Errors, KindsHaveTheirExitCodes) {
  EXPECT_EQ(UserError("x").code(), ExitCode::kUsage);
  EXPECT_EQ(UserError("x", ExitCode::kData).code(), ExitCode::kData);
  EXPECT_EQ(EnvironmentError("x").code(), ExitCode::kEnvironment);
  EXPECT_EQ(InternalError("x").code(), ExitCode::kInternal);
  EXPECT_EQ(static_cast<int>(ExitCode::kTempFail), 75);
}

TEST(Errors, ErrnoBecomesCallPathAndReason) {
  try {
    throw_errno("open", "/data/x", ENOENT, ExitCode::kNoInput);
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "open /data/x: No such file or directory");
    EXPECT_EQ(error.code(), ExitCode::kNoInput);
    EXPECT_EQ(error.kind(), "environment error");
  }
}

TEST(Errors, AFailedCheckSaysWhereAndAsksForAReport) {
  int evaluated = 0;
  const auto message = [&] {
    ++evaluated;
    return std::string("got 1, want 2");
  };
  LS_CHECK(1 + 1 == 2, message());
  EXPECT_EQ(evaluated, 0) << "the message costs nothing while all is well";
  try {
    LS_CHECK(1 == 2, message());
    FAIL();
  } catch (const InternalError& error) {
    const std::string text = error.what();
    for (const char* part : {"error_test.cpp:", "got 1, want 2", "1 == 2", "please report"})
      EXPECT_NE(text.find(part), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace lockstep
