// The README's commands, run as they stand there, but for what makes them quick and keeps the source tree clean.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>

#include "tests/tools/command.h"

namespace lockstep::testing {
namespace {

namespace fs = std::filesystem;

// The lines of all ```sh blocks.
std::vector<std::string> documented_commands(const fs::path& file) {
  std::istringstream text(read_file(file));
  std::vector<std::string> commands;
  bool inside = false;
  for (std::string line; std::getline(text, line);) {
    if (line.rfind("```", 0) == 0)
      inside = line == "```sh";
    else if (inside && !line.empty())
      commands.push_back(line);
  }
  return commands;
}

void replace(std::string& text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) text.replace(at, from.size(), to);
}

// The GPU page's commands on the emulated device, small; where they would build or need a GPU, only as far as they can be checked.
std::string without_gpu(std::string command, const std::string& scratch) {
  if (command == "tools/setup.sh --cuda") return "bash -n tools/setup_cuda.sh";
  if (command.rfind("tools/build.sh", 0) == 0) return "bash -n tools/build.sh";
  if (command == "tools/gpu_check.sh --emulated") return command + " --parts machine,steps --out " + scratch;
  if (command.rfind("tools/gpu_check.sh", 0) == 0 || command == "tools/gpu_bundle.sh") return command + " --help";
  if (command.find("build/cuda/lockstep") == std::string::npos) return command;
  replace(command, "build/cuda/lockstep", "build/cpu/lockstep_emulated");
  replace(command, "--model resnet50 --batch 256", "--model resnet8 --size 16 --classes 10 --batch 4 --steps 1 --warmup 1");
  if (command.find(" train ") != std::string::npos)
    command += " --set batch.global_batch=8 --set batch.shard_batch=4 --set data.source=SYNTHETIC --set data.height=12 --set data.width=12"
               " --set data.channels=1 --set data.synthetic.size=32 --set data.synthetic.eval_size=16";
  return command;
}

// Same command, less work, nothing written outside `scratch`.
std::string shortened(std::string command, const std::string& scratch) {
  if (command == "tools/run_tests.sh") return "bash -n tools/run_tests.sh";  // it is what runs this test
  command = without_gpu(command, scratch);
  if (command == "tools/quickstart.sh") command += " --max-steps 2 --run-dir " + scratch + "/quickstart";
  if (command.find("configs/resnet50_synthetic.pbtxt") != std::string::npos)
    command += " --max-steps 1 --set batch.global_batch=4 --set batch.shard_batch=2 --run-dir " + scratch + "/resnet50";
  replace(command, "--batch 16", "--batch 2 --steps 1 --warmup 1");
  replace(command, "--steps 20", "--steps 3");
  replace(command, "--max-steps 20", "--max-steps 2");
  replace(command, "--max-steps 30", "--max-steps 3");
  replace(command, "runs/", scratch + "/");
  return command;
}

void expect_commands_work(const fs::path& file, std::size_t at_least) {
  TempDir scratch;
  const std::vector<std::string> commands = documented_commands(file);
  ASSERT_GE(commands.size(), at_least);
  for (const std::string& command : commands) {
    const std::string quick = shortened(command, scratch.path().string());
    const CommandResult result = run({"bash", "-c", "cd '" + source_dir().string() + "' && " + quick},
                                     {"OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"}, 300);
    EXPECT_EQ(result.exit_code, 0) << command << "\nrun as: " << quick << "\n" << result.out << result.err;
  }
}

TEST(Readme, EveryCommandWorks) {
  if (lockstep_binary() != (source_dir() / "build/cpu/lockstep").string()) GTEST_SKIP() << "the README is about build/cpu";
  expect_commands_work(source_dir() / "README.md", 10);
}

TEST(Readme, EveryCommandOfTheBenchmarksPageWorks) {
  if (lockstep_binary() != (source_dir() / "build/cpu/lockstep").string()) GTEST_SKIP() << "the page is about build/cpu";
  expect_commands_work(source_dir() / "docs/benchmarks.md", 7);
}

TEST(Readme, EveryCommandOfTheGpuPageWorks) {
  if (lockstep_binary() != (source_dir() / "build/cpu/lockstep").string()) GTEST_SKIP() << "its commands are run with build/cpu/lockstep_emulated";
  expect_commands_work(source_dir() / "docs/gpu.md", 10);
}

TEST(Readme, EveryCommandOfThePlanningPagesWorks) {
  if (lockstep_binary() != (source_dir() / "build/cpu/lockstep").string()) GTEST_SKIP() << "the pages are about build/cpu";
  expect_commands_work(source_dir() / "docs/analyze.md", 7);
  expect_commands_work(source_dir() / "docs/plan.md", 5);
  expect_commands_work(source_dir() / "docs/tune.md", 1);
}

TEST(Readme, LinksLeadSomewhere) {
  const std::string text = read_file(source_dir() / "README.md");
  int links = 0;
  for (std::size_t at = text.find("]("); at != std::string::npos; at = text.find("](", at + 1)) {
    const std::string target = text.substr(at + 2, text.find(')', at) - at - 2);
    if (target.rfind("http", 0) == 0) continue;
    ++links;
    EXPECT_TRUE(fs::exists(source_dir() / target)) << target;
  }
  EXPECT_GE(links, 5);
}

TEST(Install, ABinaryAndItsConfigsLandUnderThePrefix) {
  TempDir prefix;
  const fs::path build = fs::path(lockstep_binary()).parent_path();
  const CommandResult result = run({"cmake", "--install", build.string(), "--prefix", prefix.path().string()});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(run({(prefix.path() / "bin/lockstep").string(), "version"}).exit_code, 0);
  EXPECT_TRUE(fs::exists(prefix.path() / "share/lockstep/configs/fashion_mnist.pbtxt"));
}

}  // namespace
}  // namespace lockstep::testing
