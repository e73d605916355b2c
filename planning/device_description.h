// DeviceDescription: what a machine can do at most, by its datasheet or measured (configs/devices/*.pbtxt, proto/device.proto).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

// Formats of arithmetic. kTf32 reads 32-bit numbers; kBinary is 1 bit.
enum class NumberFormat : std::uint8_t { kFp64, kFp32, kTf32, kBf16, kFp16, kFp8, kInt8, kInt4, kBinary };
inline constexpr std::size_t kNumberFormats = 9;

std::string_view format_name(NumberFormat format);          // "FP32", ...
int format_bits(NumberFormat format);                       // of one number in memory: TF32 has 32
// Names as above or as dtypes ("f32", "bf16"), in any case. Throws UserError with a suggestion and the list.
NumberFormat format_from_name(std::string_view name);

struct DeviceEfficiency {
  double arithmetic = 1, memory = 1;   // shares of the peaks that a training step reaches
  double step_overhead_s = 0;          // of each step, beside its kernels
  double kernel_overhead_s = 0;        // of each kernel, beside its work
  double winograd_gain = 1;            // of FP32 3x3 convolutions with stride 1, over direct sums
  std::string source;                  // empty: not given, and the shares are 1
};

struct DeviceDescription {
  std::string name, about;
  std::vector<std::string> sources;
  std::string file;                                 // that it was read from; empty: made by bench device
  std::array<double, kNumberFormats> peaks{};       // operations/s; 0: the device has no such arithmetic
  double memory_bytes_per_second = 0, memory_bytes = 0;
  double cache_bytes = 0, near_memory_bytes = 0;    // 0: not known
  int cores = 0;                                    // 0: not known
  double power_w = 0, idle_power_w = 0;             // 0: not known
  DeviceEfficiency efficiency;
  bool host = false;                                // all cores of a host, which its ranks share; else a device of one rank

  double peak(NumberFormat format) const { return peaks[static_cast<std::size_t>(format)]; }
  bool has(NumberFormat format) const { return peak(format) > 0; }
  std::string formats() const;                      // "FP64, FP32, BF16"
  // Operations per byte at which arithmetic takes as long as memory. 0 if it has no such arithmetic.
  double ridge(NumberFormat format) const { return peak(format) / memory_bytes_per_second; }
};

// A name ("h100": configs/devices/h100.pbtxt, planning/shipped_files.h) or a path (with a '/' or ending in .pbtxt). Throws UserError:
// unknown (with a suggestion and the list), unreadable, misspelt or out of range, with the file and the line.
DeviceDescription load_device(const std::string& name_or_path);
DeviceDescription parse_device(std::string_view text, const std::string& file);

// As the text of a device file; parse_device gives the same back.
std::string device_text(const DeviceDescription& device);

}  // namespace lockstep
