// SPDX-License-Identifier: Apache-2.0
#include "planning/device_description.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "core/error.h"
#include "core/suggest.h"
#include "planning/shipped_files.h"
#include "planning/text_message.h"
#include "proto/device.pb.h"

namespace lockstep {
namespace {

struct FormatFacts {
  std::string_view name, dtype;  // as dtype: what core/dtype.h or common usage calls it
  int bits;
};

// In the order of NumberFormat and of proto::Device::Format.
constexpr std::array<FormatFacts, kNumberFormats> kFormats{{{"FP64", "f64", 64},
                                                            {"FP32", "f32", 32},
                                                            {"TF32", "tf32", 32},
                                                            {"BF16", "bf16", 16},
                                                            {"FP16", "f16", 16},
                                                            {"FP8", "f8", 8},
                                                            {"INT8", "i8", 8},
                                                            {"INT4", "i4", 4},
                                                            {"BINARY", "b1", 1}}};
static_assert(proto::Device::Format_ARRAYSIZE == kNumberFormats);

const FormatFacts& facts(NumberFormat format) { return kFormats[static_cast<std::size_t>(format)]; }

constexpr double kTera = 1e12, kGiga = 1e9, kMega = 1e6;
constexpr double kLargest = 1e9;  // of any figure in a device file, in its own unit: far beyond machines, far from overflow

// One figure of a device file.
class Figures {
 public:
  explicit Figures(std::string file) : file_(std::move(file)) {}

  double positive(double value, std::string_view field) const { return checked(value, field, value > 0 && value <= kLargest, "more than 0"); }
  double not_negative(double value, std::string_view field) const {
    return checked(value, field, value >= 0 && value <= kLargest, "0 (not known) or more");
  }
  double share(double value, std::string_view field) const { return checked(value, field, value > 0 && value <= 1, "more than 0, at most 1"); }

 private:
  double checked(double value, std::string_view field, bool fits, std::string_view want) const {
    if (fits) return value;  // not so for NaN
    throw UserError(fmt::format("{}: {}: got {}, want {}", file_, field, value, want));
  }

  std::string file_;
};

void read_peaks(const proto::Device& message, const Figures& figures, const std::string& file, DeviceDescription& device) {
  for (const proto::Device::Peak& peak : message.peak()) {
    if (!peak.has_format()) throw UserError(file + ": peak: there is no format\n  write peak { format: FP32 tera_ops: 10 }");
    const auto format = static_cast<NumberFormat>(peak.format());
    const std::string field = fmt::format("peak {}: tera_ops", format_name(format));
    if (device.has(format)) throw UserError(fmt::format("{}: {} is given twice\n  keep one of them", file, field));
    device.peaks[static_cast<std::size_t>(format)] = figures.positive(peak.tera_ops(), field) * kTera;
  }
  if (message.peak().empty()) throw UserError(file + ": there is no peak\n  write one line per format: peak { format: FP32 tera_ops: 10 }");
}

// Without the last bits' noise of the division.
double in_units(double value, double unit) { return std::stod(fmt::format("{:.12g}", value / unit)); }

}  // namespace

std::string_view format_name(NumberFormat format) { return facts(format).name; }
int format_bits(NumberFormat format) { return facts(format).bits; }

NumberFormat format_from_name(std::string_view name) {
  std::string lower(name);
  std::ranges::transform(lower, lower.begin(), [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  std::vector<std::string> names;
  for (std::size_t i = 0; i < kNumberFormats; ++i) {
    std::string own(kFormats[i].name);
    std::ranges::transform(own, own.begin(), [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
    if (lower == own || lower == kFormats[i].dtype) return static_cast<NumberFormat>(i);
    names.push_back(std::move(own));
  }
  const std::string near = nearest(lower, names);
  throw UserError(fmt::format("there is no number format \"{}\"{}\n  formats: {}", name,
                              near.empty() ? "" : fmt::format("\n  did you mean \"{}\"?", near), fmt::join(names, ", ")));
}

std::string DeviceDescription::formats() const {
  std::string list;
  for (std::size_t i = 0; i < kNumberFormats; ++i)
    if (peaks[i] > 0) list += (list.empty() ? "" : ", ") + std::string(kFormats[i].name);
  return list;
}

DeviceDescription parse_device(std::string_view text, const std::string& file) {
  proto::Device message;
  parse_text_message(text, file, message);
  const Figures figures(file);
  if (message.name().empty()) throw UserError(file + ": there is no name\n  write name: \"H100 SXM\"");
  DeviceDescription device{.name = message.name(),
                           .about = message.about(),
                           .sources = {message.source().begin(), message.source().end()},
                           .file = file,
                           .memory_bytes_per_second = figures.positive(message.memory_gb_per_second(), "memory_gb_per_second") * kGiga,
                           .memory_bytes = figures.positive(message.memory_gb(), "memory_gb") * kGiga,
                           .cache_bytes = figures.not_negative(message.cache_mb(), "cache_mb") * kMega,
                           .near_memory_bytes = figures.not_negative(message.near_memory_mb(), "near_memory_mb") * kMega,
                           .cores = static_cast<int>(figures.not_negative(message.cores(), "cores")),
                           .power_w = figures.not_negative(message.power_w(), "power_w"),
                           .idle_power_w = figures.not_negative(message.idle_power_w(), "idle_power_w")};
  device.host = message.host();
  read_peaks(message, figures, file, device);
  if (device.power_w > 0 && device.idle_power_w > device.power_w)
    throw UserError(fmt::format("{}: idle_power_w: got {}, want at most power_w, {}", file, device.idle_power_w, device.power_w));
  const proto::Device::Efficiency& efficiency = message.efficiency();
  device.efficiency = {.arithmetic = figures.share(efficiency.arithmetic(), "efficiency.arithmetic"),
                       .memory = figures.share(efficiency.memory(), "efficiency.memory"),
                       .step_overhead_s = figures.not_negative(efficiency.step_overhead_ms(), "efficiency.step_overhead_ms") * 1e-3,
                       .kernel_overhead_s = figures.not_negative(efficiency.kernel_overhead_us(), "efficiency.kernel_overhead_us") * 1e-6,
                       .winograd_gain = figures.positive(efficiency.winograd_gain(), "efficiency.winograd_gain"),
                       .source = efficiency.source()};
  return device;
}

DeviceDescription load_device(const std::string& name_or_path) {
  const NamedText found = read_shipped("device", "devices", name_or_path);
  return parse_device(found.text, found.path);
}

std::string device_text(const DeviceDescription& device) {
  proto::Device message;
  message.set_name(device.name);
  if (!device.about.empty()) message.set_about(device.about);
  for (const std::string& source : device.sources) message.add_source(source);
  for (std::size_t i = 0; i < kNumberFormats; ++i) {
    if (!(device.peaks[i] > 0)) continue;
    proto::Device::Peak& peak = *message.add_peak();
    peak.set_format(static_cast<proto::Device::Format>(i));
    peak.set_tera_ops(in_units(device.peaks[i], kTera));
  }
  message.set_memory_gb_per_second(in_units(device.memory_bytes_per_second, kGiga));
  message.set_memory_gb(in_units(device.memory_bytes, kGiga));
  if (device.cache_bytes > 0) message.set_cache_mb(in_units(device.cache_bytes, kMega));
  if (device.near_memory_bytes > 0) message.set_near_memory_mb(in_units(device.near_memory_bytes, kMega));
  if (device.cores > 0) message.set_cores(device.cores);
  if (device.power_w > 0) message.set_power_w(device.power_w);
  if (device.idle_power_w > 0) message.set_idle_power_w(device.idle_power_w);
  if (device.host) message.set_host(true);
  if (!device.efficiency.source.empty()) {
    message.mutable_efficiency()->set_arithmetic(device.efficiency.arithmetic);
    message.mutable_efficiency()->set_memory(device.efficiency.memory);
    message.mutable_efficiency()->set_step_overhead_ms(device.efficiency.step_overhead_s * 1e3);
    message.mutable_efficiency()->set_kernel_overhead_us(device.efficiency.kernel_overhead_s * 1e6);
    message.mutable_efficiency()->set_winograd_gain(device.efficiency.winograd_gain);
    message.mutable_efficiency()->set_source(device.efficiency.source);
  }
  return print_text_message(message);
}

}  // namespace lockstep
