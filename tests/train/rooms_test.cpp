// The rooms of the house: each folder includes only from the folders it may use (docs/architecture.md).
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>

namespace lockstep {
namespace {

namespace fs = std::filesystem;

const std::map<std::string, std::set<std::string>> kMayUse{
    {"core", {"core"}},
    {"ops", {"core", "ops"}},
    {"cpu", {"core", "ops", "cpu"}},
    {"cuda", {"core", "ops", "cuda"}},
    {"models", {"core", "ops", "models"}},
    {"distributed", {"core", "distributed"}},
    {"data", {"core", "data"}},
    {"train", {"core", "ops", "cpu", "cuda", "models", "distributed", "data", "train", "proto"}},
    {"charts", {"core", "charts"}},
    {"planning", {"core", "ops", "cpu", "cuda", "models", "distributed", "data", "train", "charts", "planning", "proto"}},
    {"sweep", {"core", "ops", "models", "distributed", "data", "train", "charts", "planning", "sweep", "proto"}},
    {"report", {"core", "train", "charts", "planning", "sweep", "report", "proto"}},
    {"tools", {"core", "ops", "cpu", "cuda", "models", "distributed", "data", "train", "charts", "planning", "sweep", "report", "tools", "proto"}},
    {"tests/emulated", {"core", "ops", "cpu", "cuda", "distributed", "tests"}},
};
// Libraries that only one room may know.
const std::map<std::string, std::string> kOnlyIn{{"mpi.h", "distributed"}, {"dnnl.hpp", "cpu"}, {"jpeglib.h", "data"}, {"png.h", "data"}};
// NVIDIA's, which the backend knows, and in distributed/ the one file that is NCCL.
const std::set<std::string> kCudaHeaders{"cuda.h", "cuda_runtime.h", "cuda_runtime_api.h", "cuda_bf16.h", "cuda_fp16.h", "cublasLt.h", "cudnn.h",
                                         "cudnn_frontend.h", "nccl.h", "nvrtc.h"};
// Words of device code that only cuda/launch.h and cuda/numeric.h may hold: kernels run on the emulated device too.
const std::set<std::string> kDeviceWords{"threadIdx", "blockIdx", "__syncthreads", "__shared__", "__global__", "__shfl", "atomicAdd", "<<<"};

bool is_source(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".h" || extension == ".cpp" || extension == ".inl" || extension == ".cu";
}

// The included path of a line, or "".
std::string included(const std::string& line) {
  if (line.rfind("#include", 0) != 0) return "";
  const std::size_t open = line.find_first_of("\"<");
  const std::size_t close = line.find_first_of("\">", open + 1);
  return close == std::string::npos ? "" : line.substr(open + 1, close - open - 1);
}

// `room` includes `path` from its file `from` (a path in the source tree; only told apart where rules do).
std::string violation(const std::string& room, const std::string& path, const std::string& from = "") {
  const std::string folder = path.substr(0, path.find('/'));
  if (kCudaHeaders.count(path) > 0 && ((room != "cuda" && from != "distributed/nccl_api.cpp") || from.rfind("cuda/kernels/", 0) == 0))
    return path + " belongs to cuda, not to its kernels";
  if (path.find('/') != std::string::npos && (kMayUse.count(folder) > 0 || folder == "proto" || folder == "tests") && kMayUse.at(room).count(folder) == 0)
    return room + " may not use " + folder;
  for (const auto& [header, owner] : kOnlyIn)
    if ((path == header || path.ends_with("/" + header)) && room != owner) return header + " belongs to " + owner;
  return "";
}

// The word of device code that a line of this file may not hold, or "".
std::string device_word(const std::string& from, const std::string& line) {
  if (from == "cuda/launch.h" || from == "cuda/numeric.h" || line.find("//") < line.find_first_not_of(' ') + 1) return "";
  for (const std::string& word : kDeviceWords)
    if (line.find(word) != std::string::npos) return word;
  return "";
}

TEST(Rooms, EveryIncludeFollowsTheOrderOfTheRooms) {
  const char* source = std::getenv("LOCKSTEP_SOURCE_DIR");
  ASSERT_NE(source, nullptr) << "run the tests through ctest";
  int files = 0;
  for (const auto& [room, unused] : kMayUse) {
    if (!fs::exists(fs::path(source) / room)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(fs::path(source) / room)) {
      if (!is_source(entry.path())) continue;
      ++files;
      std::ifstream file(entry.path());
      for (std::string line; std::getline(file, line);) {
        const std::string from = fs::relative(entry.path(), source).generic_string();
        EXPECT_EQ(violation(room, included(line), from), "") << from << ": " << line;
        EXPECT_EQ(device_word(from, line), "") << from << ": " << line;
      }
    }
  }
  EXPECT_GT(files, 100);
}

TEST(Rooms, AWrongArrowIsSeen) {  // the check can fail
  EXPECT_NE(violation("core", "ops/kernels.h"), "");
  EXPECT_NE(violation("data", "train/trainer.h"), "");
  EXPECT_NE(violation("train", "mpi.h"), "");
  EXPECT_EQ(violation("train", "data/loader.h"), "");
  EXPECT_EQ(violation("distributed", "mpi.h"), "");
  EXPECT_NE(violation("train", "cuda_runtime.h", "train/step.cpp"), "");
  EXPECT_NE(violation("distributed", "nccl.h", "distributed/collectives.cpp"), "");
  EXPECT_NE(violation("cuda", "cuda_fp16.h", "cuda/kernels/pool.cu"), "");
  EXPECT_NE(violation("tests/emulated", "train/trainer.h", "tests/emulated/runtime.cpp"), "");
  EXPECT_EQ(violation("distributed", "nccl.h", "distributed/nccl_api.cpp"), "");
  EXPECT_EQ(violation("cuda", "cuda_runtime.h", "cuda/launch.h"), "");
  EXPECT_EQ(device_word("cuda/kernels/pool.cu", "  if (threadIdx.x == 0) sum = 0;"), "threadIdx");
  EXPECT_EQ(device_word("cuda/kernels/pool.cu", "  // as atomicAdd would"), "");
}

TEST(Rooms, FilesStaySmall) {
  const char* source = std::getenv("LOCKSTEP_SOURCE_DIR");
  ASSERT_NE(source, nullptr);
  for (const auto& [room, unused] : kMayUse) {
    if (!fs::exists(fs::path(source) / room)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(fs::path(source) / room)) {
      if (!is_source(entry.path())) continue;
      std::ifstream file(entry.path());
      int lines = 0;
      for (std::string line; std::getline(file, line);) ++lines;
      EXPECT_LE(lines, 400) << entry.path() << ": one idea per file";
    }
  }
}

}  // namespace
}  // namespace lockstep
