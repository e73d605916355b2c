// `lockstep bench device`: what this processor can do at most, as a device file for `lockstep analyze` and `lockstep plan`.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "charts/chart.h"
#include "planning/host_device.h"
#include "planning/units.h"
#include "tools/bench.h"

namespace lockstep {
namespace {

struct Flags {
  int cores = 0;
  double power_w = 0, idle_power_w = 0;
  std::string name, output;
  bool json = false;
};

void print_text(const HostMeasurement& host) {
  const DeviceDescription& device = host.device;
  std::string text = fmt::format("{}: {}\n", device.name, device.about);
  for (std::size_t i = 0; i < kNumberFormats; ++i)
    if (device.peaks[i] > 0) text += fmt::format("  {:<7} {}\n", format_name(static_cast<NumberFormat>(i)), quantity(device.peaks[i], "OP/s"));
  text += fmt::format("  read    {}\n  copy    {} (read and written)\n", quantity(host.read_bytes_per_second, "B/s"),
                      quantity(host.copy_bytes_per_second, "B/s"));
  text += fmt::format("  memory  {}; caches {} in the last level, {} nearer\n", quantity(device.memory_bytes, "B"), quantity(device.cache_bytes, "B"),
                      quantity(device.near_memory_bytes, "B"));
  std::fputs(text.c_str(), stdout);
}

void print_json(const HostMeasurement& host) {
  const DeviceDescription& device = host.device;
  nlohmann::ordered_json object{{"name", device.name}, {"about", device.about}, {"cores", device.cores}, {"peaks", nlohmann::ordered_json::object()}};
  for (std::size_t i = 0; i < kNumberFormats; ++i)
    if (device.peaks[i] > 0) object["peaks"][std::string(format_name(static_cast<NumberFormat>(i)))] = device.peaks[i];
  object.update({{"read_bytes_per_second", host.read_bytes_per_second},
                 {"copy_bytes_per_second", host.copy_bytes_per_second},
                 {"memory_bytes", device.memory_bytes},
                 {"cache_bytes", device.cache_bytes},
                 {"near_memory_bytes", device.near_memory_bytes}});
  std::puts(object.dump(2).c_str());
}

int measure(const Flags& flags) {
  const HostMeasurement host = measure_host(flags.cores, flags.power_w, flags.idle_power_w, flags.name);
  if (!flags.output.empty()) write_page(flags.output, device_text(host.device));
  flags.json ? print_json(host) : print_text(host);
  return 0;
}

}  // namespace

void add_bench_device(CLI::App& bench, Run& run) {
  auto flags = std::make_shared<Flags>();
  CLI::App* device = bench.add_subcommand("device", "Measure this processor's peaks and memory, and describe it in a device file");
  device->add_option("--cores", flags->cores, "Cores that work at the same time; 0: all that this process may use");
  device->add_option("--power", flags->power_w, "Watts that the processor takes when working, for estimates of energy")
      ->check(CLI::NonNegativeNumber);
  device->add_option("--idle-power", flags->idle_power_w, "Watts when doing nothing")->check(CLI::NonNegativeNumber);
  device->add_option("--name", flags->name, "Name in tables and charts; default: the processor's");
  device->add_option("-o,--output", flags->output, "Write the device file here");
  device->add_flag("--json", flags->json, "As one JSON object");
  device->callback([=, &run] { run = [=] { return measure(*flags); }; });
}

}  // namespace lockstep
