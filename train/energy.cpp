// The counters' files and library, and the sum over a run's hosts.
// SPDX-License-Identifier: Apache-2.0
#include "train/energy.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "cuda/cuda_backend.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

// A whole number in a file of its own.
std::optional<std::uint64_t> read_number(const fs::path& path) {
  std::ifstream file(path);
  std::uint64_t number = 0;
  if (file >> number) return number;
  return std::nullopt;
}

std::string read_word(const fs::path& path) {
  std::ifstream file(path);
  std::string word;
  file >> word;
  return word;
}

// Microjoules that begin again at zero beyond `range`.
class RaplCounter final : public EnergyCounter {
 public:
  RaplCounter(fs::path file, std::uint64_t range, std::uint64_t now) : file_(std::move(file)), range_(range), last_(now) {}

  std::optional<double> joules() override {
    const std::optional<std::uint64_t> now = read_number(file_);
    if (!now) return std::nullopt;
    total_ += *now >= last_ ? *now - last_ : *now + (range_ >= last_ ? range_ - last_ : 0);
    last_ = *now;
    return static_cast<double>(total_) * 1e-6;
  }

 private:
  const fs::path file_;
  const std::uint64_t range_;
  std::uint64_t last_, total_ = 0;
};

// intel-rapl:0 is a package, intel-rapl:0:1 a part of it; memory is counted apart from its package, cores and graphics within.
bool counts(const std::string& zone, const std::string& name) {
  const bool part = std::count(zone.begin(), zone.end(), ':') > 1;
  return part ? name == "dram" : name.starts_with("package");
}

struct Nvml {
  using Device = void*;
  int (*init)() = nullptr;
  int (*by_pci)(const char*, Device*) = nullptr;
  int (*energy)(Device, unsigned long long*) = nullptr;  // millijoules since the driver was loaded
  std::string problem;

  explicit Nvml(const std::string& library) {
    void* handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);  // stays open: counters use it to the end
    if (handle == nullptr) {
      const char* reason = ::dlerror();
      problem = reason == nullptr ? library : reason;
      return;
    }
    init = reinterpret_cast<decltype(init)>(::dlsym(handle, "nvmlInit_v2"));
    by_pci = reinterpret_cast<decltype(by_pci)>(::dlsym(handle, "nvmlDeviceGetHandleByPciBusId_v2"));
    energy = reinterpret_cast<decltype(energy)>(::dlsym(handle, "nvmlDeviceGetTotalEnergyConsumption"));
    if (init == nullptr || by_pci == nullptr || energy == nullptr) problem = library + " is too old to count energy";
  }
};

class NvmlCounter final : public EnergyCounter {
 public:
  NvmlCounter(Nvml nvml, Nvml::Device device, double start) : nvml_(std::move(nvml)), device_(device), start_(start) {}
  std::optional<double> joules() override {
    unsigned long long now = 0;
    if (nvml_.energy(device_, &now) != 0) return std::nullopt;
    return (static_cast<double>(now) - start_) * 1e-3;
  }

 private:
  const Nvml nvml_;
  const Nvml::Device device_;
  const double start_;
};

}  // namespace

EnergyCounters open_rapl(const std::string& powercap) {
  EnergyCounters counters;
  std::error_code code;
  std::vector<fs::path> zones;
  for (fs::directory_iterator each(powercap, code), end; !code && each != end; each.increment(code)) zones.push_back(each->path());
  std::ranges::sort(zones);  // source and order of sums don't depend on the folder's order
  std::string unreadable;
  for (const fs::path& zone : zones) {
    const std::string folder = zone.filename().string(), name = read_word(zone / "name");
    if (!folder.starts_with("intel-rapl:") || !counts(folder, name)) continue;
    const auto now = read_number(zone / "energy_uj");
    if (!now) {
      unreadable = (zone / "energy_uj").string();
      continue;
    }
    counters.source += (counters.source.empty() ? "" : ", ") + name;
    counters.list.push_back(std::make_unique<RaplCounter>(zone / "energy_uj", read_number(zone / "max_energy_range_uj").value_or(0), *now));
  }
  if (!unreadable.empty()) {  // a part would pass for the whole
    counters = {};
    counters.why_not = unreadable + " is not readable (it is root's: chmod a+r)";
  } else if (counters.list.empty()) {
    counters.why_not = powercap + " has no package's counter (virtual machines and containers hide them)";
  } else {
    counters.source = "RAPL (" + counters.source + ")";
  }
  return counters;
}

EnergyCounters open_nvml(const std::string& pci_bus_id, const std::string& library) {
  EnergyCounters counters;
  Nvml nvml(library);
  Nvml::Device device = nullptr;
  unsigned long long now = 0;
  if (!nvml.problem.empty()) {
    counters.why_not = nvml.problem;
  } else if (const int error = nvml.init(); error != 0) {
    counters.why_not = fmt::format("nvmlInit fails with {}", error);
  } else if (const int found = nvml.by_pci(pci_bus_id.c_str(), &device); found != 0) {
    counters.why_not = fmt::format("NVML does not know the GPU {} (error {})", pci_bus_id, found);
  } else if (const int read = nvml.energy(device, &now); read != 0) {
    counters.why_not = fmt::format("the GPU {} does not count its energy (error {})", pci_bus_id, read);
  } else {
    counters.source = "NVML";
    counters.list.push_back(std::make_unique<NvmlCounter>(std::move(nvml), device, static_cast<double>(now)));
  }
  return counters;
}

class EnergyMeter::Impl {
 public:
  explicit Impl(EnergyCounters counters) : counters_(std::move(counters)) {
    if (counters_.list.empty()) return;
    for (const auto& counter : counters_.list) start_ += counter->joules().value_or(0);
    reader_ = std::thread([this] { read_now_and_then(); });
  }
  ~Impl() {
    {
      const std::lock_guard lock(mutex_);
      ends_ = true;
    }
    wakes_.notify_all();
    if (reader_.joinable()) reader_.join();
  }

  std::optional<double> joules() {
    const std::lock_guard lock(mutex_);
    read();
    if (lost_ || counters_.list.empty()) return std::nullopt;
    return now_ - start_;
  }

  const EnergyCounters& counters() const { return counters_; }

 private:
  void read() {
    now_ = 0;
    for (const auto& counter : counters_.list) {
      const std::optional<double> joules = counter->joules();
      lost_ = lost_ || !joules;
      now_ += joules.value_or(0);
    }
  }

  void read_now_and_then() {
    std::unique_lock lock(mutex_);
    while (!wakes_.wait_for(lock, std::chrono::seconds(30), [this] { return ends_; })) read();
  }

  EnergyCounters counters_;
  double start_ = 0, now_ = 0;
  bool lost_ = false, ends_ = false;
  std::mutex mutex_;  // guards all above
  std::condition_variable wakes_;
  std::thread reader_;
};

EnergyMeter::EnergyMeter(EnergyCounters counters) : impl_(std::make_unique<Impl>(std::move(counters))) {}
EnergyMeter::~EnergyMeter() = default;
std::optional<double> EnergyMeter::joules() { return impl_->joules(); }
const std::string& EnergyMeter::source() const { return impl_->counters().source; }
const std::string& EnergyMeter::why_not() const { return impl_->counters().why_not; }

std::string gpu_bus_id(const Network& network) {
  const Device device = network.kernels->device();
  return device == Device{} ? "" : cuda_report().gpus.at(static_cast<std::size_t>(device.index)).pci_bus_id;
}

// ---- over all ranks

RunEnergyMeter::RunEnergyMeter(Communicator& comm, const std::string& gpu, const std::string& powercap) : comm_(comm) {
  const std::vector<std::string> gpus = comm.all_gather_strings(gpu, "whose GPU's energy is whose");
  const auto same_host = [&](int rank) { return comm.host_of(rank) == comm.host_of(comm.rank()); };
  bool first_of_host = true, first_of_gpu = !gpu.empty();
  for (int rank = 0; rank < comm.rank(); ++rank) {
    first_of_host = first_of_host && !same_host(rank);
    first_of_gpu = first_of_gpu && !(same_host(rank) && gpus[static_cast<std::size_t>(rank)] == gpu);
  }
  if (first_of_host) processors_ = std::make_unique<EnergyMeter>(open_rapl(powercap));
  if (first_of_gpu) gpu_ = std::make_unique<EnergyMeter>(open_nvml(gpu));
}

RunEnergyMeter::~RunEnergyMeter() = default;

namespace {

struct Share {
  double joules = 0;
  std::int64_t meters = 0, readable = 0;
};

Share share_of(EnergyMeter* meter) {
  if (meter == nullptr) return {};
  const std::optional<double> joules = meter->joules();
  return {joules.value_or(0), 1, joules ? 1 : 0};
}

// The sum over ranks, in their order; `text`: the first meter's source or reason, which stands for all.
Share sum_over_ranks(Communicator& comm, EnergyMeter* meter, std::string& text) {
  Share sum;
  for (const Share& each : comm.all_gather_values(share_of(meter), "energy")) {
    sum.joules += each.joules;
    sum.meters += each.meters;
    sum.readable += each.readable;
  }
  std::string mine;
  if (meter != nullptr) mine = meter->joules() ? meter->source() : meter->why_not().empty() ? "a counter was lost" : meter->why_not();
  const bool all = sum.readable == sum.meters;
  const std::vector<std::string> texts = comm.all_gather_strings((meter != nullptr && meter->joules().has_value()) == all ? mine : "", "energy");
  for (const std::string& each : texts)
    if (text.empty()) text = each;
  return sum;
}

}  // namespace

// GPUs alone are told without the processors; a part of the GPUs, or of the hosts, is not told.
RunEnergy RunEnergyMeter::total() {
  std::string processors, gpus;
  const Share cpu = sum_over_ranks(comm_, processors_.get(), processors), gpu = sum_over_ranks(comm_, gpu_.get(), gpus);
  const bool has_cpu = cpu.readable == cpu.meters, has_gpu = gpu.readable == gpu.meters;
  if (gpu.meters > 0 && !has_gpu) return {std::nullopt, "GPUs not readable: " + gpus};
  if (gpu.meters == 0 && !has_cpu) return {std::nullopt, "not readable: " + processors};
  RunEnergy energy{.joules = gpu.joules + (has_cpu ? cpu.joules : 0), .source = ""};
  if (gpu.meters > 0) energy.source = fmt::format("NVML ({} GPU{})", gpu.meters, gpu.meters == 1 ? "" : "s");
  if (has_cpu)
    energy.source += fmt::format("{}{}{}", gpu.meters > 0 ? ", " : "", processors, cpu.meters > 1 ? fmt::format(" on {} hosts", cpu.meters) : "");
  else
    energy.source += ", processors not readable: " + processors;
  return energy;
}

}  // namespace lockstep
