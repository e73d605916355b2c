// tools/gpu_check.sh and tools/gpu_bundle.sh as a user runs them: on the emulated device, where there is no GPU, and with programs
// that fail or take too long.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/tools/command.h"

namespace lockstep::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

fs::path build_dir() { return fs::path(lockstep_binary()).parent_path(); }
std::string script(const char* name) { return (source_dir() / "tools" / name).string(); }

void write_program(const std::string& path, const std::string& text) {
  fs::create_directories(fs::path(path).parent_path());
  write_file(path, "#!/bin/sh\n" + text + "\n");
  fs::permissions(path, fs::perms::owner_all);
}

// A build folder of preset cuda whose programs are these.
void fake_build(const TempDir& folder, const std::string& lockstep, const std::string& tests) {
  write_program(folder / "build/lockstep", lockstep);
  write_program(folder / "build/tests/cuda_gpu_tests", tests);
}

CommandResult check(const TempDir& folder, std::vector<std::string> more) {
  std::vector<std::string> argv{script("gpu_check.sh"), "--out", folder / "out"};
  argv.insert(argv.end(), more.begin(), more.end());
  return run(argv, {"LOCKSTEP_BUILD=" + (folder / "build")}, 500);
}

// The one report in the folder.
std::string report_in(const TempDir& folder) {
  for (const auto& entry : fs::directory_iterator(folder / "out"))
    if (entry.path().extension() == ".md") return read_file(entry.path());
  return "";
}

std::string section(const std::string& report, const std::string& title) {
  const std::size_t begin = report.find("## " + title);
  return begin == std::string::npos ? "" : report.substr(begin, report.find("\n## ", begin) - begin);
}

TEST(GpuReport, ThePythonPartsPassTheirTests) {
  const CommandResult result = run({"python3", (source_dir() / "tests/tools/gpu_report_test.py").string()});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("OK"));
}

TEST(GpuCheck, OnTheEmulatedDeviceEveryPartIsRunOrSkippedByName) {
  TempDir folder;
  const CommandResult result = run({script("gpu_check.sh"), "--emulated", "--out", folder / "out", "--peer-python", "/no/python"},
                                   {"LOCKSTEP_BUILD=" + build_dir().string()}, 550);
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  const std::string report = report_in(folder);
  for (const char* title : {"Machine and software", "Parity and behaviour", "Same bits", "Fashion-MNIST"})
    EXPECT_THAT(section(report, title), HasSubstr("State: **passed**"));
  EXPECT_THAT(section(report, "Same bits"), HasSubstr("| small net, FP16 | 2 ranks on one GPU | `"));
  for (const char* title : {"Training steps", "Kernels against"}) EXPECT_THAT(section(report, title), HasSubstr("State: **measured**"));
  EXPECT_THAT(section(report, "Training steps"), HasSubstr("| 4 | f16 | off | on | "));
  EXPECT_THAT(section(report, "Kernels against"), HasSubstr("finish_step"));
  EXPECT_THAT(section(report, "compute-sanitizer memcheck"), HasSubstr("State: **skipped** (the emulated device"));
  EXPECT_THAT(section(report, "PyTorch"), HasSubstr("State: **skipped** (/no/python has no torch"));
  EXPECT_THAT(report, HasSubstr("State of this report**: complete"));
  EXPECT_FALSE(fs::exists(folder / "out/gpu_check_scratch"));
}

TEST(GpuCheck, WithoutAGpuItSaysWhyAndChecksNothing) {
  TempDir folder;
  fake_build(folder, "[ $1 = version ] && { echo lockstep 0; exit; }; echo 'lockstep: environment error: cuda: no NVIDIA driver' >&2; exit 71", "exit 1");
  const CommandResult result = check(folder, {});
  EXPECT_EQ(result.exit_code, 71) << result.err;
  EXPECT_THAT(result.err, HasSubstr("nothing was checked"));
  EXPECT_THAT(section(report_in(folder), "Machine"), HasSubstr("the GPU can't be used here: lockstep: environment error: cuda: no NVIDIA driver"));
  EXPECT_THAT(section(report_in(folder), "Parity"), HasSubstr("State: **not run**"));
}

TEST(GpuCheck, WithoutABuildItNamesTheCommand) {
  TempDir folder;
  const CommandResult result = check(folder, {});
  EXPECT_EQ(result.exit_code, 66);
  EXPECT_THAT(result.err, HasSubstr("tools/build.sh cuda"));
  fake_build(folder, "", "");
  EXPECT_EQ(check(folder, {"--parts", "digest"}).exit_code, 2) << "an unknown part";
}

TEST(GpuCheck, OtherBitsFailedTestsAndMissedAccuracyFailIt) {
  TempDir folder;
  // Its digest is its process's number: never twice the same.
  fake_build(folder, "[ $1 = train ] && echo \"{\\\"digest\\\": \\\"$$\\\", \\\"best_top1\\\": 92.9, \\\"top1\\\": 92.5}\"; exit 0",
             "printf '[ RUN      ] Pool.X\\n[  FAILED  ] Pool.X (1 ms)\\n'; exit 1");
  const CommandResult result = check(folder, {"--parts", "tests,digests,accuracy"});
  EXPECT_EQ(result.exit_code, 1) << result.out << result.err;
  const std::string report = report_in(folder);
  EXPECT_THAT(section(report, "Parity"), HasSubstr("- failed: `Pool.X`"));
  EXPECT_THAT(section(report, "Same bits"), HasSubstr("| **no** |"));
  EXPECT_THAT(section(report, "Same bits"), HasSubstr("State: **failed** (6 of 9 runs differ"));
  EXPECT_THAT(section(report, "Fashion-MNIST"), HasSubstr("State: **failed** (92.90 %, want 93.0 %)"));
}

TEST(GpuCheck, APartThatTakesTooLongIsCutAndToldAndTheOthersGoOn) {
  TempDir folder;
  fake_build(folder, "case \"$*\" in *'bench step'*) sleep 60;; esac; echo '{\"best_top1\": 94, \"top1\": 94}'", "");
  const CommandResult result = check(folder, {"--parts", "accuracy,steps", "--minutes", "0.3"});
  EXPECT_EQ(result.exit_code, 2) << result.out << result.err;
  EXPECT_LT(result.seconds, 50);
  const std::string report = report_in(folder);
  EXPECT_THAT(section(report, "Fashion-MNIST"), HasSubstr("State: **passed**"));
  EXPECT_THAT(section(report, "Training steps"), HasSubstr("State: **out of time** (cut after"));
  EXPECT_THAT(section(report, "Training steps"), HasSubstr("0 of 18 measured, missing: 256 f16, 256 bf16, 256 f16 unfused"));
}

TEST(PyTorchPeer, RefusesWhatItDoesNotKnowBeforeItLoadsPyTorch) {
  const CommandResult result = run({"python3", (source_dir() / "bench/peers/pytorch_resnet50.py").string(), "--mode", "eager,fast"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("--mode: got 'fast', want some of eager, graphed, compiled"));
}

TEST(GpuLibraries, NamesWhatIsMissing) {
  TempDir folder;
  fs::create_directories(folder / "lib64");
  write_file(folder / "lib64/libcudnn.so.9", "");
  const CommandResult result = run({script("gpu_libraries.sh")}, {"CUDA_HOME=" + folder.path().string(), "LOCKSTEP_CUDA_MAJOR=99", "LOCKSTEP_GPU_PYTHON=false"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out.rfind(folder / "lib64", 0), 0u) << result.out;
  EXPECT_THAT(result.err, HasSubstr("cuBLASLt is missing (libcublasLt.so.99): install CUDA 99's packages, or pip install nvidia-cublas"));
  EXPECT_THAT(result.err, Not(HasSubstr("cuDNN")));
}

// The bundle's own programs and libraries start, also two ranks with its own mpirun.
TEST(GpuBundle, IsSmallAndRunsFromAnyFolder) {
  TempDir folder;
  fs::create_directories(folder / "build/tests");
  fs::create_symlink(build_dir() / "lockstep", folder / "build/lockstep");
  fs::create_symlink(build_dir() / "tests/cuda_tests", folder / "build/tests/cuda_gpu_tests");
  const std::vector<std::string> pack{script("gpu_bundle.sh"), "--build", folder / "build", "--out", folder / "b.tar.xz", "--without-data", "--level", "0"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), pack.begin(), pack.end());
    return run(more, {}, 300);
  };
  EXPECT_THAT(expect_ok(with({})).out, HasSubstr("of at most 60"));
  expect_ok(run({"tar", "-C", folder.path().string(), "-xf", folder / "b.tar.xz"}));
  const std::string root = folder / "lockstep-gpu";
  EXPECT_THAT(expect_ok(run({root + "/bin/lockstep", "version"})).out, HasSubstr("lockstep 0"));
  const CommandResult libraries = expect_ok(run({"bash", "-c", "LD_LIBRARY_PATH=" + root + "/lib ldd " + root + "/programs/lockstep"}));
  for (const char* library : {"libmpi", "libprotobuf", "libdnnl", "libstdc++"}) EXPECT_THAT(libraries.out, HasSubstr(root + "/lib/" + library));
  const std::string two = "cd " + root + " && PATH=" + root + "/bin:$PATH tools/mpi.sh 2 bin/lockstep train " + tiny() + " --run-dir " + (folder / "run") +
                          " --max-steps 2 --json";
  EXPECT_EQ(nlohmann::json::parse(expect_ok(run({"bash", "-c", two})).out)["ranks"], 2);
  EXPECT_THAT(expect_ok(run({root + "/tools/gpu_check.sh", "--help"})).out, HasSubstr("--parts"));

  const CommandResult large = with({"--limit", "1"});
  EXPECT_EQ(large.exit_code, 1);
  EXPECT_THAT(large.err, HasSubstr("libdnnl"));
  fs::remove(folder / "build/tests/cuda_gpu_tests");
  EXPECT_EQ(with({}).exit_code, 66);
}

}  // namespace
}  // namespace lockstep::testing
