// `lockstep version` about CUDA: what is built in, what is there, what is missing and the fix. Run with the product's binary of each
// build and with the emulated device.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/tools/command.h"

namespace lockstep::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using nlohmann::json;

json components(const std::vector<std::string>& env = {}) { return json::parse(expect_ok(run(lockstep({"version", "--json"}), env)).out); }
bool built() { return components()["CUDA"].get<std::string>().rfind("not built", 0) != 0; }
bool emulated() { return components().value("GPUs", "").find("emulated") != std::string::npos; }

// The error of a run on a GPU holds what `version` says is missing.
void expect_refused(const std::string& missing, const std::vector<std::string>& env = {}) {
  const TempDir folder;
  const CommandResult result = run(lockstep({"train", tiny(), "--run-dir", folder / "run", "--set", "backend=CUDA"}), env);
  EXPECT_EQ(result.exit_code, 71) << result.err;
  EXPECT_THAT(result.err, HasSubstr(missing));
}

TEST(Version, ABuildWithoutCudaSaysHowToEnableIt) {
  if (built()) GTEST_SKIP() << "this build has CUDA";
  const std::string cuda = components()["CUDA"];
  EXPECT_THAT(cuda, AllOf(HasSubstr("preset cuda"), HasSubstr("tools/setup.sh --cuda")));
  EXPECT_THAT(expect_ok(run(lockstep({"version"}))).out, HasSubstr(cuda));
  expect_refused(cuda.substr(cuda.find("this binary")));
}

TEST(Version, ABuildWithCudaNamesItsLibrariesTheGpusAndWhatIsMissing) {
  if (!built()) GTEST_SKIP() << "this build has no CUDA";
  const json all = components();
  const std::string text = expect_ok(run(lockstep({"version"}))).out;
  for (const char* name : {"CUDA", "driver", "cuDNN", "cuBLASLt", "NCCL", "GPUs"}) {
    ASSERT_TRUE(all.contains(name)) << name;
    EXPECT_THAT(text, AllOf(HasSubstr(name), HasSubstr(all[name].get<std::string>())));
  }
  EXPECT_EQ(all.contains("no GPU run"), all["GPUs"] == "none") << all.dump(2);
  if (all.contains("no GPU run")) expect_refused(all["no GPU run"]);
}

TEST(Version, ABuildWithCudaTrainsOnTheCpuWithoutAGpu) {
  if (!built()) GTEST_SKIP() << "this build has no CUDA";
  const TempDir folder;
  expect_ok(run(lockstep({"train", tiny(), "--run-dir", folder / "run"}), {"CUDA_VISIBLE_DEVICES=", "LOCKSTEP_EMULATED_GPUS=0"}));
}

TEST(Version, TheEmulatedDevicesAreListedOrMissing) {
  if (!emulated()) GTEST_SKIP() << "not the emulated device";
  EXPECT_THAT(components({"LOCKSTEP_EMULATED_GPUS=2"})["GPUs"],
              "emulated device (9.0, 4 SMs, 9 GB); emulated device (9.0, 4 SMs, 9 GB)");
  const json none = components({"LOCKSTEP_EMULATED_GPUS=0"});
  EXPECT_EQ(none["GPUs"], "none");
  expect_refused(none["no GPU run"], {"LOCKSTEP_EMULATED_GPUS=0"});
}

}  // namespace
}  // namespace lockstep::testing
