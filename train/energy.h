// Energy of a run, from the machine's own counters: NVML's of each GPU that the run uses, RAPL's of the processors' packages and memory
// (/sys/class/powercap). What is not readable is said, with the reason; nothing is estimated.
//
// The counters are of whole devices: on a machine that does other work too, theirs is counted as well. A run's energy begins with
// training and ends with it, evaluations and saving included; a resumed run counts its own part.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "distributed/communicator.h"
#include "train/network.h"

namespace lockstep {

// One counter that grows while its device uses energy.
class EnergyCounter {
 public:
  virtual ~EnergyCounter() = default;
  virtual std::optional<double> joules() = 0;  // since some fixed moment; none: can't be read any more
};

struct EnergyCounters {
  std::vector<std::unique_ptr<EnergyCounter>> list;
  std::string source;   // "RAPL (package-0, dram)"; "": none
  std::string why_not;  // "": all there are
};

// The processors' packages and memory, of the folder of powercap. Counters that are parts of others are left out.
EnergyCounters open_rapl(const std::string& powercap = "/sys/class/powercap");
// One GPU; `library`: NVML's shared object.
EnergyCounters open_nvml(const std::string& pci_bus_id, const std::string& library = "libnvidia-ml.so.1");

// Adds up what counters have grown since it was made. RAPL's wrap after minutes: a thread reads them every half minute.
class EnergyMeter {
 public:
  explicit EnergyMeter(EnergyCounters counters);
  ~EnergyMeter();
  EnergyMeter(const EnergyMeter&) = delete;
  EnergyMeter& operator=(const EnergyMeter&) = delete;

  std::optional<double> joules();  // none: no counter, or one was lost
  const std::string& source() const;
  const std::string& why_not() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// The PCI bus id of the network's GPU; "" on a CPU.
std::string gpu_bus_id(const Network& network);

// Of a run on several ranks and hosts.
struct RunEnergy {
  std::optional<double> joules;  // none: not readable
  std::string source;            // "RAPL (package-0) on 2 hosts", "NVML (1 GPU), processors not readable: .."; not readable: why
};

class RunEnergyMeter {
 public:
  // Collective: each host's first rank reads its processors, the first rank of each GPU that GPU. `gpu`: this rank's PCI bus id, "": none.
  RunEnergyMeter(Communicator& comm, const std::string& gpu, const std::string& powercap = "/sys/class/powercap");
  ~RunEnergyMeter();
  RunEnergy total();  // collective; the same on every rank

 private:
  Communicator& comm_;
  std::unique_ptr<EnergyMeter> processors_, gpu_;  // null: another rank's
};

}  // namespace lockstep
