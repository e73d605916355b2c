// Energy counters: RAPL as files of a made-up machine; NVML where there is none.
// SPDX-License-Identifier: Apache-2.0
#include "train/energy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <mutex>

#include "distributed/local_group.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class EnergyTest : public ::testing::Test {
 protected:
  EnergyTest() : folder_(fs::temp_directory_path() / ("lockstep_energy." + std::to_string(::getpid()))) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~EnergyTest() override { fs::remove_all(folder_); }

  void zone(const std::string& folder, const std::string& name, std::uint64_t microjoules, std::uint64_t range = 1'000'000'000) {
    fs::create_directories(folder_ / folder);
    write(folder + "/name", name);
    write(folder + "/energy_uj", std::to_string(microjoules));
    write(folder + "/max_energy_range_uj", std::to_string(range));
  }
  void write(const std::string& file, const std::string& text) { std::ofstream(folder_ / file) << text << "\n"; }

  // Two sockets as a server has them, and the zones that must not be counted twice.
  void make_server() {
    zone("intel-rapl:0", "package-0", 5'000'000);
    zone("intel-rapl:0:0", "core", 1);
    zone("intel-rapl:0:1", "dram", 100);
    zone("intel-rapl:1", "package-1", 7'000'000);
    zone("intel-rapl:2", "psys", 9);
    zone("intel-rapl-mmio:0", "package-0", 5'000'000);
    fs::create_directories(folder_ / "intel-rapl");
  }
  std::string path() const { return folder_.string(); }

  const fs::path folder_;
};

TEST_F(EnergyTest, AddsPackagesAndMemoryOnce) {
  make_server();
  EnergyMeter meter(open_rapl(path()));
  EXPECT_EQ(meter.source(), "RAPL (package-0, dram, package-1)");
  EXPECT_EQ(meter.joules(), 0);
  zone("intel-rapl:0", "package-0", 15'000'000);
  zone("intel-rapl:0:0", "core", 8'000'000);
  zone("intel-rapl:0:1", "dram", 1'000'100);
  zone("intel-rapl:1", "package-1", 7'500'000);
  zone("intel-rapl:2", "psys", 20'000'000);
  zone("intel-rapl-mmio:0", "package-0", 15'000'000);
  EXPECT_DOUBLE_EQ(meter.joules().value(), 10 + 1 + 0.5);
}

TEST_F(EnergyTest, GoesOnBeyondTheEndOfACounter) {
  zone("intel-rapl:0", "package-0", 900, 1000);
  EnergyMeter meter(open_rapl(path()));
  for (const std::uint64_t now : {950, 50, 40, 990}) {  // +50, +100 (wrapped), +990 (wrapped), +950
    zone("intel-rapl:0", "package-0", now, 1000);
    ASSERT_TRUE(meter.joules());
  }
  EXPECT_NEAR(meter.joules().value(), (50 + 100 + 990 + 950) * 1e-6, 1e-15);
}

TEST_F(EnergyTest, SaysWhatIsNotReadable) {
  EXPECT_THAT(open_rapl((folder_ / "nowhere").string()).why_not, HasSubstr("nowhere has no package's counter"));
  EXPECT_THAT(open_rapl(path()).why_not, HasSubstr("no package's counter"));
  make_server();
  fs::remove(folder_ / "intel-rapl:1/energy_uj");  // as where only root may read it
  const EnergyCounters counters = open_rapl(path());
  EXPECT_THAT(counters.why_not, HasSubstr("intel-rapl:1/energy_uj is not readable"));
  EXPECT_TRUE(counters.list.empty()) << "a part would pass for the whole";
  zone("intel-rapl:1", "package-1", 0);
  write("intel-rapl:1/energy_uj", "lots");
  EXPECT_TRUE(open_rapl(path()).list.empty());
}

TEST_F(EnergyTest, ACounterThatIsLostIsNoZero) {
  make_server();
  EnergyMeter meter(open_rapl(path()));
  EXPECT_TRUE(meter.joules());
  fs::remove_all(folder_ / "intel-rapl:0");
  EXPECT_FALSE(meter.joules());
  zone("intel-rapl:0", "package-0", 5'000'000);
  EXPECT_FALSE(meter.joules()) << "it may have begun anew";
}

TEST_F(EnergyTest, WithoutNvmlTheReasonIsSaid) {
  const EnergyCounters none = open_nvml("0000:00:00.0", "libnvidia-ml-of-nobody.so.1");
  EXPECT_THAT(none.why_not, HasSubstr("libnvidia-ml-of-nobody.so.1"));
  EXPECT_TRUE(none.list.empty());
  EXPECT_THAT(open_nvml("0000:00:00.0", "libm.so.6").why_not, HasSubstr("too old")) << "a library without the functions";
}

// What four ranks on hosts of `per_host` ranks say.
std::vector<RunEnergy> energy_of_ranks(int per_host, const std::string& gpu, const std::string& path, const std::function<void()>& work) {
  std::vector<RunEnergy> all(4);
  LocalGroup group(4, {}, per_host);
  group.run([&](Communicator& comm) {
    RunEnergyMeter meter(comm, gpu, path);
    comm.barrier("begin");
    if (comm.rank() == 0) work();
    comm.barrier("end");
    all[static_cast<std::size_t>(comm.rank())] = meter.total();
  });
  return all;
}

TEST_F(EnergyTest, IsCountedOnceAHost) {
  for (const int per_host : {0, 2}) {
    make_server();
    const auto all = energy_of_ranks(per_host, "", path(), [&] { zone("intel-rapl:0", "package-0", 8'000'000); });
    for (const RunEnergy& each : all) {
      EXPECT_DOUBLE_EQ(each.joules.value(), per_host == 0 ? 3 : 6);
      EXPECT_EQ(each.source, per_host == 0 ? "RAPL (package-0, dram, package-1)" : "RAPL (package-0, dram, package-1) on 2 hosts");
    }
  }
}

TEST_F(EnergyTest, ARunWithoutCountersSaysSoOnEveryRank) {
  for (const RunEnergy& each : energy_of_ranks(0, "", path(), [] {})) {
    EXPECT_FALSE(each.joules);
    EXPECT_THAT(each.source, HasSubstr("not readable: "));
  }
  make_server();
  for (const RunEnergy& each : energy_of_ranks(0, "no such GPU", path(), [] {})) {
    EXPECT_FALSE(each.joules) << "without its GPUs' energy a run's is not known";
    EXPECT_THAT(each.source, HasSubstr("GPUs not readable: "));
  }
}

}  // namespace
}  // namespace lockstep
