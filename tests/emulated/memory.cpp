// The emulated device's memory (cuda/runtime.h): address space that is unreadable until it is committed, and then full of
// NaNs. What nobody wrote shows in results; what lies beyond ends in a fault.
//
// LOCKSTEP_EMULATED_GPUS (4) and LOCKSTEP_EMULATED_GPU_MEMORY (bytes of each, 8 GB) change what there is.
// SPDX-License-Identifier: Apache-2.0
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "core/error.h"
#include "cuda/runtime.h"
#include "tests/emulated/device_state.h"

namespace lockstep::cuda {
namespace {

using namespace emulated;

constexpr int kMostDevices = 8;
constexpr std::size_t kGranularity = std::size_t{64} << 10;

std::size_t from_environment(const char* name, std::size_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : static_cast<std::size_t>(std::strtoull(value, nullptr, 10));
}

struct Memory {
  std::mutex mutex;
  std::map<const std::byte*, std::size_t> device, pinned;  // begin -> bytes
  std::array<std::size_t, kMostDevices> committed{};
};
Memory& memory() {
  static auto* all = new Memory;  // never destroyed, as the state of streams
  return *all;
}

std::size_t memory_bytes() { return from_environment("LOCKSTEP_EMULATED_GPU_MEMORY", std::size_t{8} << 30); }

bool holds(const std::map<const std::byte*, std::size_t>& ranges, const std::byte* begin, std::size_t nbytes) {
  auto next = ranges.upper_bound(begin);
  if (next == ranges.begin()) return false;
  --next;
  return begin + nbytes <= next->first + next->second;
}

// Everything that the device was given.
void run_all(int device) {
  std::vector<std::pair<StreamState*, std::uint64_t>> all;
  {
    const std::lock_guard lock(state().mutex);
    for (StreamState& stream : state().streams)
      if (stream.device == device) all.emplace_back(&stream, stream.given);
  }
  for (const auto& [stream, given] : all) run_until(*stream, given);
}

}  // namespace

emulated::MemoryKind emulated::kind_of(const void* address, std::size_t nbytes) {
  const auto* begin = static_cast<const std::byte*>(address);
  const std::lock_guard lock(memory().mutex);
  if (holds(memory().device, begin, nbytes)) return MemoryKind::kDevice;
  return holds(memory().pinned, begin, nbytes) ? MemoryKind::kPinned : MemoryKind::kPageable;
}

namespace runtime {

int device_count() { return static_cast<int>(std::min<std::size_t>(from_environment("LOCKSTEP_EMULATED_GPUS", 4), kMostDevices)); }

GpuFacts gpu_facts(int device) {
  GpuFacts facts;
  facts.name = "emulated device";
  facts.pci_bus_id = "emulated:" + std::to_string(device);
  facts.major = 9;
  facts.multiprocessors = 4;
  facts.memory_bytes = memory_bytes();
  facts.l2_bytes = std::size_t{1} << 20;
  return facts;
}

std::string gpu_problem(int) { return ""; }

std::size_t granularity(int) { return kGranularity; }

std::byte* reserve_addresses(int, std::size_t nbytes) {
  void* mapping = ::mmap(nullptr, nbytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) refuse("no address space for " + std::to_string(nbytes) + " bytes");
  const std::lock_guard lock(memory().mutex);
  memory().device[static_cast<std::byte*>(mapping)] = nbytes;
  return static_cast<std::byte*>(mapping);
}

void release_addresses(int device, std::byte* begin, std::size_t nbytes, std::size_t committed) {
  run_all(device);  // queued work may use it
  const std::lock_guard lock(memory().mutex);
  memory().device.erase(begin);
  memory().committed.at(static_cast<std::size_t>(device)) -= committed;
  ::munmap(begin, nbytes);
}

bool commit(int device, std::byte* begin, std::size_t nbytes) {
  if (thread_records()) refuse("device memory is asked for while work is recorded: run it once before");
  const std::lock_guard lock(memory().mutex);
  std::size_t& committed = memory().committed.at(static_cast<std::size_t>(device));
  if (committed + nbytes > memory_bytes()) return false;
  if (::mprotect(begin, nbytes, PROT_READ | PROT_WRITE) != 0) return false;
  std::memset(begin, 0xff, nbytes);
  committed += nbytes;
  return true;
}

std::size_t free_bytes(int device) {
  const std::lock_guard lock(memory().mutex);
  return memory_bytes() - memory().committed.at(static_cast<std::size_t>(device));
}

void* allocate_pinned(std::size_t nbytes) {
  if (thread_records()) refuse("page-locked memory is asked for while work is recorded: run it once before");
  void* allocated = std::aligned_alloc(4096, (nbytes + 4095) / 4096 * 4096);
  if (allocated == nullptr) refuse("out of host memory: wanted " + std::to_string(nbytes) + " bytes");
  std::memset(allocated, 0xff, nbytes);
  const std::lock_guard lock(memory().mutex);
  memory().pinned[static_cast<std::byte*>(allocated)] = nbytes;
  return allocated;
}

void free_pinned(void* allocated) {
  const std::lock_guard lock(memory().mutex);
  memory().pinned.erase(static_cast<std::byte*>(allocated));
  std::free(allocated);
}

}  // namespace runtime
}  // namespace lockstep::cuda

namespace lockstep {

CudaReport cuda_report() {
  CudaReport report;
  report.built = true;
  report.driver = report.runtime = report.cudnn = report.cublas = report.nccl = "emulated";
  for (int device = 0; device < cuda::runtime::device_count(); ++device) report.gpus.push_back(cuda::runtime::gpu_facts(device));
  if (report.gpus.empty()) report.missing = "no GPU: LOCKSTEP_EMULATED_GPUS is 0";
  return report;
}

}  // namespace lockstep
