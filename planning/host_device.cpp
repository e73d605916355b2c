// SPDX-License-Identifier: Apache-2.0
#include "planning/host_device.h"

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <set>
#include <vector>

#include "core/error.h"
#include "cpu/fast/fast_kernels.h"
#include "distributed/local_group.h"
#include "train/bench_peaks.h"
#include "train/build_info.h"
#include "train/clock.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr double kGiga = 1e9;

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The processors that this process may run on.
std::vector<int> allowed_cpus() {
  std::vector<int> cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  if (cpus.empty()) cpus.push_back(0);
  return cpus;
}

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "CPU";
}

// "512K", "32M" -> bytes; 0 for anything else.
double cache_size(const std::string& text) {
  std::size_t end = 0;
  double size = 0;
  try {
    size = std::stod(text, &end);
  } catch (const std::exception&) {
    return 0;
  }
  const std::string unit = text.substr(end);
  return size * (unit == "K" ? 1024.0 : unit == "M" ? 1024.0 * 1024 : unit == "G" ? 1024.0 * 1024 * 1024 : 1);
}

struct Caches {
  double last = 0, nearer = 0;  // bytes of the last level, and of all nearer ones that hold data
};

// By the system's own account: every cache once, however many processors share it.
Caches caches_of(const std::vector<int>& cpus) {
  struct Cache {
    int level = 0;
    double nbytes = 0;
  };
  std::set<std::string> seen;
  std::vector<Cache> caches;
  int last_level = 0;
  for (const int cpu : cpus) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(fmt::format("/sys/devices/system/cpu/cpu{}/cache", cpu), error)) {
      if (!entry.path().filename().string().starts_with("index") || first_line(entry.path() / "type") == "Instruction") continue;
      const std::string level = first_line(entry.path() / "level");
      if (!seen.insert(level + "/" + first_line(entry.path() / "shared_cpu_list")).second) continue;
      caches.push_back({static_cast<int>(cache_size(level)), cache_size(first_line(entry.path() / "size"))});
      last_level = std::max(last_level, caches.back().level);
    }
  }
  Caches sum;
  for (const Cache& each : caches) (each.level == last_level ? sum.last : sum.nearer) += each.nbytes;
  return sum;
}

double memory_bytes() { return static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE)); }

// Reading what no cache of the core holds, in GB/s: the best of a few passes.
double read_gbytes_per_second() {
  constexpr std::size_t kNumbers = std::size_t{64} << 17;  // 64 MiB
  constexpr int kPasses = 8, kLanes = 16;
  const std::vector<std::uint64_t> numbers(kNumbers, 3);
  std::array<std::uint64_t, kLanes> sums{};
  double best_ns = 1e30;
  for (int pass = 0; pass < kPasses; ++pass) {
    const std::int64_t begin = steady_ns();
    for (std::size_t i = 0; i < kNumbers; i += kLanes)
      for (std::size_t lane = 0; lane < kLanes; ++lane) sums[lane] += numbers[i + lane];
    best_ns = std::min(best_ns, static_cast<double>(steady_ns() - begin));
  }
  volatile std::uint64_t sink = 0;  // so that the sums are wanted
  for (const std::uint64_t sum : sums) sink = sink + sum;
  return static_cast<double>(kNumbers * sizeof(std::uint64_t)) / best_ns;
}

// One core's rates while all others do the same; of the slowest core. In GFLOP/s and GB/s.
struct CoreRates {
  double f64 = 0, f32 = 0, bf16 = 0, copy = 0, read = 0;
};

// 0: this processor's backend does without. All cores agree, being alike.
double bf16_gflops(Kernels& kernels, Communicator& comm) {
  try {
    return measure_peaks(kernels, DType::kBF16, comm).gflops;
  } catch (const EnvironmentError&) {
    return 0;
  }
}

CoreRates measure_core(Communicator& comm) {
  const auto kernels = make_fast_kernels(FastOptions{});
  CoreRates rates;
  rates.f64 = measure_peaks(*kernels, DType::kF64, comm).gflops;
  const Peaks f32 = measure_peaks(*kernels, DType::kF32, comm);
  rates.f32 = f32.gflops;
  rates.copy = f32.gbytes_per_second;
  rates.bf16 = bf16_gflops(*kernels, comm);
  comm.barrier("reading");
  rates.read = read_gbytes_per_second();
  for (const CoreRates& each : comm.all_gather_values(rates, "reading")) rates.read = std::min(rates.read, each.read);
  return rates;
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  return fmt::format("{}-{:02}-{:02}", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday);
}

// Measured figures have four digits.
double rounded(double value) { return std::stod(fmt::format("{:.4g}", value)); }

}  // namespace

HostMeasurement measure_host(int cores, double power_w, double idle_power_w, const std::string& name) {
  const std::vector<int> cpus = allowed_cpus();
  const int there = static_cast<int>(cpus.size());
  if (cores < 0 || cores > there)
    throw UserError(fmt::format("--cores: got {}, want 1 to {}, those that this process may use, or 0 for all of these", cores, there));
  const int used = cores == 0 ? there : cores;
  CoreRates rates;
  LocalGroup group(used);
  group.run([&](Communicator& comm) {
    const CoreRates mine = measure_core(comm);
    if (comm.rank() == 0) rates = mine;
  });
  HostMeasurement result;
  result.read_bytes_per_second = rates.read * used * kGiga;
  result.copy_bytes_per_second = rates.copy * used * kGiga;
  DeviceDescription& device = result.device;
  const std::string processor = processor_name();
  device.name = name.empty() ? processor : name;
  device.about = fmt::format("{} core{} of {}", used, used > 1 ? "s" : "", processor);
  device.sources = {fmt::format("measured by lockstep bench device, {}, {}: matrix products, FMA loops; reading 64 MiB and copying 32 MiB per core",
                                build_id(), today())};
  const auto set = [&](NumberFormat format, double gflops) {
    if (gflops > 0) device.peaks[static_cast<std::size_t>(format)] = rounded(gflops * used) * kGiga;
  };
  set(NumberFormat::kFp64, rates.f64);
  set(NumberFormat::kFp32, rates.f32);
  set(NumberFormat::kBf16, rates.bf16);
  device.memory_bytes_per_second = rounded(std::max(rates.read, rates.copy) * used) * kGiga;
  device.memory_bytes = rounded(memory_bytes());
  const Caches caches = caches_of(cpus);
  device.cache_bytes = caches.last;
  device.near_memory_bytes = caches.nearer;
  device.cores = used;
  device.host = true;
  device.power_w = power_w;
  device.idle_power_w = idle_power_w;
  return result;
}

}  // namespace lockstep
