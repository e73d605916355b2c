// Device files: those that come with lockstep, what is wrong with others, and that they read back as they were written.
// SPDX-License-Identifier: Apache-2.0
#include "planning/device_description.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "core/error.h"
#include "planning/host_device.h"
#include "planning/shipped_files.h"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::HasSubstr;

template <class Call>
std::string refusal(const Call& call, ExitCode code = ExitCode::kUsage) {
  try {
    call();
  } catch (const UserError& error) {
    EXPECT_EQ(static_cast<int>(error.code()), static_cast<int>(code)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

constexpr const char* kSmall = "name: 'small' peak { format: FP32 tera_ops: 2 } memory_gb_per_second: 100 memory_gb: 8 ";

TEST(Device, EveryShippedFileLoadsAndSaysWhereItsFiguresComeFrom) {
  const std::vector<std::string> names = shipped_names("devices");
  for (const char* wanted : {"h100", "h200", "a100", "p40", "v100", "p100"}) EXPECT_THAT(names, testing::Contains(wanted));
  for (const std::string& name : names) {
    const DeviceDescription device = load_device(name);
    EXPECT_FALSE(device.about.empty()) << name;
    EXPECT_FALSE(device.sources.empty()) << name;
    EXPECT_GT(device.cores, 0) << name;
    EXPECT_GT(device.cache_bytes, 0) << name;
    EXPECT_GT(device.ridge(NumberFormat::kFp32), 1) << name;
    EXPECT_LT(device.ridge(NumberFormat::kFp32), 100) << name;
  }
}

TEST(Device, FiguresAreInPlainUnits) {
  const DeviceDescription h100 = load_device("h100");
  EXPECT_EQ(h100.peak(NumberFormat::kBf16), 989.4e12);
  EXPECT_EQ(h100.memory_bytes_per_second, 3350e9);
  EXPECT_EQ(h100.memory_bytes, 80e9);
  EXPECT_EQ(h100.power_w, 700);
  EXPECT_FALSE(h100.has(NumberFormat::kInt4));
  EXPECT_NEAR(h100.ridge(NumberFormat::kBf16), 989.4 / 3.35, 0.01);
}

TEST(Device, ADescriptionReadsBackAsItWasWritten) {
  for (const std::string& name : shipped_names("devices")) {
    DeviceDescription device = load_device(name);
    device.efficiency = {.arithmetic = 0.5, .memory = 0.75, .step_overhead_s = 3e-3, .source = "a test"};
    const DeviceDescription again = parse_device(device_text(device), device.file);
    EXPECT_EQ(device_text(again), device_text(device)) << name;
    for (std::size_t i = 0; i < kNumberFormats; ++i) EXPECT_NEAR(again.peaks[i], device.peaks[i], 1e-15 * device.peaks[i]) << name;
    EXPECT_EQ(again.efficiency.source, "a test");
    EXPECT_DOUBLE_EQ(again.efficiency.step_overhead_s, 3e-3);
    EXPECT_EQ(again.sources, device.sources);
  }
}

TEST(Device, AnUnknownNameGetsASuggestionAndTheList) {
  EXPECT_THAT(refusal([] { load_device("h10"); }),
              AllOf(HasSubstr("no device \"h10\""), HasSubstr("did you mean \"h100\""), HasSubstr("h100, h200, p100")));
  EXPECT_THAT(refusal([] { load_device("abacus"); }), AllOf(HasSubstr("no device \"abacus\""), HasSubstr("devices: "), HasSubstr("configs/devices")));
  EXPECT_THAT(refusal([] { load_device("/nowhere/x.pbtxt"); }, ExitCode::kNoInput), HasSubstr("/nowhere/x.pbtxt"));
  EXPECT_THAT(refusal([] { load_device("/tmp/"); }, ExitCode::kNoInput), HasSubstr("/tmp/"));
}

TEST(Device, MistakesAreNamedWithTheirPlace) {
  const auto parse = [](const std::string& more) { return refusal([&] { parse_device(kSmall + more, "my.pbtxt"); }); };
  EXPECT_THAT(parse("\nmemory_gbs: 3"),
              AllOf(HasSubstr("my.pbtxt:2:"), HasSubstr("unknown field \"memory_gbs\""), HasSubstr("did you mean \"memory_gb\"")));
  EXPECT_THAT(parse("peak { formt: FP16 }"), AllOf(HasSubstr("unknown field \"formt\""), HasSubstr("format")));
  EXPECT_THAT(parse("peak { format: FP17 tera_ops: 1 }"), AllOf(HasSubstr("FP17"), HasSubstr("values: FP64, FP32")));
  EXPECT_THAT(parse("peak { format: FP32 tera_ops: 3 }"), HasSubstr("FP32: tera_ops is given twice"));
  EXPECT_THAT(parse("peak { format: FP16 }"), HasSubstr("peak FP16: tera_ops: got 0, want more than 0"));
  EXPECT_THAT(parse("peak { tera_ops: 3 }"), HasSubstr("there is no format"));
  EXPECT_THAT(parse("power_w: -1"), HasSubstr("power_w: got -1"));
  EXPECT_THAT(parse("power_w: 10 idle_power_w: 20"), HasSubstr("idle_power_w: got 20, want at most power_w, 10"));
  EXPECT_THAT(parse("efficiency { arithmetic: 1.5 }"), HasSubstr("efficiency.arithmetic: got 1.5"));
  EXPECT_THAT(parse("memory_gb: 3"), HasSubstr("my.pbtxt:1:"));
  EXPECT_THAT(parse("cache_mb: nan"), HasSubstr("cache_mb: got nan"));
  EXPECT_THAT(parse("cache_mb: 1e300"), HasSubstr("cache_mb"));
  EXPECT_THAT(parse("}"), HasSubstr("my.pbtxt:1:"));
  EXPECT_THAT(refusal([] { parse_device("", "my.pbtxt"); }), HasSubstr("there is no name"));
  EXPECT_THAT(refusal([] { parse_device("name: 'x' memory_gb: 1 memory_gb_per_second: 1", "my.pbtxt"); }), HasSubstr("there is no peak"));
  EXPECT_THAT(refusal([] { parse_device("name: 'x' memory_gb: 1 peak { format: FP32 tera_ops: 1 }", "my.pbtxt"); }),
              HasSubstr("memory_gb_per_second: got 0"));
}

TEST(NumberFormat, NamesAreReadInAnyCaseAndAsDtypes) {
  for (std::size_t i = 0; i < kNumberFormats; ++i) {
    const auto format = static_cast<NumberFormat>(i);
    EXPECT_EQ(format_from_name(format_name(format)), format);
  }
  EXPECT_EQ(format_from_name("bf16"), NumberFormat::kBf16);
  EXPECT_EQ(format_from_name("f32"), NumberFormat::kFp32);
  EXPECT_EQ(format_from_name("Int8"), NumberFormat::kInt8);
  EXPECT_THAT(refusal([] { format_from_name("fp33"); }), AllOf(HasSubstr("did you mean \"fp32\""), HasSubstr("binary")));
}

TEST(HostDevice, MeasuresThisProcessor) {
  const HostMeasurement host = measure_host(1, 15, 5, "mine");
  const DeviceDescription& device = host.device;
  EXPECT_EQ(device.name, "mine");
  EXPECT_EQ(device.cores, 1);
  EXPECT_GT(device.peak(NumberFormat::kFp32), 1e9);
  EXPECT_GT(device.peak(NumberFormat::kFp64), 1e8);
  EXPECT_GE(device.peak(NumberFormat::kFp32), device.peak(NumberFormat::kFp64));
  EXPECT_GT(device.memory_bytes_per_second, 1e8);
  EXPECT_GT(device.memory_bytes, 1e8);
  const DeviceDescription again = parse_device(device_text(device), "written");
  EXPECT_EQ(device_text(again), device_text(device));
  EXPECT_EQ(again.power_w, 15);
  EXPECT_THAT(refusal([] { measure_host(100000, 0, 0, ""); }), HasSubstr("--cores: got 100000"));
}

}  // namespace
}  // namespace lockstep
