// `lockstep report` as a user runs it: runs of a few seconds, a page that names them.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/tools/command.h"

namespace lockstep::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using nlohmann::json;

TEST(ReportCommand, TellsOfRealRuns) {
  TempDir folder;
  const json one = json::parse(expect_ok(run(lockstep({"train", tiny(), "--run-dir", folder / "one", "--json"}))).out);
  expect_ok(run(lockstep({"train", tiny(), "--run-dir", folder / "two", "--set", "schedule.lr=0.05", "--set", "batch.global_batch=32"})));
  const CommandResult result = expect_ok(run(lockstep({"report", folder / "one", folder / "two", "-o", folder / "page.html"})));
  EXPECT_THAT(result.out, HasSubstr("page.html: 2 runs, 0 sweeps, "));
  EXPECT_EQ(result.err, "");
  const std::string html = read_file(folder / "page.html");
  EXPECT_THAT(html, HasSubstr(one["digest"].get<std::string>()));  // of the newest checkpoint
  for (const char* text :
       {"finished", "schedule.lr", "0.05  \u2190 --set", "batch.global_batch", "Training loss", "Accuracy (top-1) in evaluation", "batch in use: 32"})
    EXPECT_THAT(html, HasSubstr(text));
  EXPECT_THAT(html, Not(HasSubstr("class=\"warning\"")));
}

TEST(ReportCommand, BadInputHasItsExitCode) {
  TempDir folder;
  const CommandResult missing = run(lockstep({"report", folder / "missing"}));
  EXPECT_EQ(missing.exit_code, 66);
  EXPECT_THAT(missing.err, HasSubstr("there is no such folder"));
  EXPECT_EQ(run(lockstep({"report"})).exit_code, 64);
  EXPECT_EQ(run(lockstep({"report", folder / "missing", "--open", "maybe"})).exit_code, 64);
  std::filesystem::create_directory(folder / "empty");
  EXPECT_EQ(run(lockstep({"report", folder / "empty"})).exit_code, 65);
  write_file(folder / "run/metrics.jsonl", "{\"t\":1,\"step\":5,\"epoch\":1,\"kind\":\"train\",\"loss\":1}\n");
  const CommandResult unwritable = run(lockstep({"report", folder / "run", "-o", "/nowhere/at/all/page.html"}));
  EXPECT_EQ(unwritable.exit_code, 73);
  EXPECT_THAT(unwritable.err, HasSubstr("/nowhere/at/all/page.html"));
  const CommandResult damaged = expect_ok(run(lockstep({"report", folder / "run", "-o", folder / "page.html"})));
  EXPECT_THAT(damaged.err, HasSubstr("run.json is missing"));
}

}  // namespace
}  // namespace lockstep::testing
