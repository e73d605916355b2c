// `lockstep analyze` and `lockstep bench device` as a user runs them.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/tools/command.h"

namespace lockstep::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using nlohmann::json;

json analysis(std::vector<std::string> args) {
  args.insert(args.begin(), "analyze");
  args.emplace_back("--json");
  return json::parse(expect_ok(run(lockstep(args))).out);
}

TEST(Analyze, ResNet50InBothVariants) {
  const json v15 = analysis({"--model", "resnet50", "--batch", "1"});
  const json v1 = analysis({"--model", "resnet50", "--batch", "1", "--set", "model.variant=V1"});
  EXPECT_EQ(v15["forward"]["weights"], 25502912);
  EXPECT_EQ(v15["forward"]["operations"], 8178368512);
  EXPECT_NEAR(v1["forward"]["operations"].get<double>(), 7.7e9, 0.03e9);
  EXPECT_EQ(v1["parameters"], v15["parameters"]);
}

TEST(Analyze, AConfigGivesNetworkBatchImagesPrecisionAndTraining) {
  const json fashion = analysis({(source_dir() / "configs/fashion_mnist.pbtxt").string(), "--device", "h100", "--training"});
  EXPECT_EQ(fashion["images"][1], 1);
  EXPECT_EQ(fashion["images"][2], 28);
  EXPECT_EQ(fashion["samples"], 60000);
  EXPECT_GT(fashion["devices"][0]["training_s"].get<double>(), 0);
  EXPECT_GT(fashion["devices"][0]["kernels_s"].get<double>(), fashion["devices"][0]["arithmetic_s"].get<double>());
}

TEST(Analyze, DrawsARoofline) {
  const TempDir folder;
  const std::string file = folder / "roofline.svg";
  const CommandResult result = expect_ok(run(lockstep({"analyze", "--model", "resnet18", "--device", "h100,p40", "--svg", file})));
  EXPECT_THAT(result.out, AllOf(HasSubstr("H100 SXM"), HasSubstr("P40"), HasSubstr("layer4.1.conv2")));
  EXPECT_THAT(read_file(file), AllOf(HasSubstr("<svg"), HasSubstr("layer4.0.conv2, layer4.1.conv1 and 1 more"), HasSubstr("H100 SXM")));
}

TEST(Analyze, RecurrentLayersByFormula) {
  const json two = analysis({"--recurrent", "512,512,4,1,100,2", "--recurrent", "512,256,3,2,100,1", "--batch", "8", "--device", "a100"});
  EXPECT_EQ(two["layers"].size(), 2u);
  EXPECT_EQ(two["forward"]["weights"], (512 + 512) * 512 * 4 + (512 + 256) * 256 * 3 * 2);
}

TEST(Analyze, SaysWhatIsWrong) {
  const auto refused = [](std::vector<std::string> args, const ::testing::Matcher<const std::string&>& message, int code = 64) {
    args.insert(args.begin(), "analyze");
    const CommandResult result = run(lockstep(args));
    EXPECT_EQ(result.exit_code, code) << result.err;
    EXPECT_THAT(result.err, message);
  };
  refused({}, HasSubstr("want one of a config, --model NAME and --recurrent"));
  refused({"--model", "resnet18", "--recurrent", "1,1,1,1,1,1"}, HasSubstr("got 2"));
  refused({"--model", "resnet51"}, AllOf(HasSubstr("resnet51"), HasSubstr("did you mean \"resnet50\"")));
  refused({"--model", "resnet18", "--device", "h101"}, AllOf(HasSubstr("no device \"h101\""), HasSubstr("did you mean \"h100\"")));
  refused({"--model", "resnet18", "--dtype", "fp15"}, HasSubstr("did you mean \"fp16\""));
  refused({"--model", "resnet18", "--device", "p40", "--dtype", "bf16"}, HasSubstr("none of the devices has BF16"));
  refused({"--model", "resnet18", "--image", "224x"}, HasSubstr("--image: got \"224x\""));
  refused({"--model", "resnet18", "--image", "99999999"}, HasSubstr("--image"));
  refused({"--model", "resnet18", "--batch", "0"}, HasSubstr("--batch"));
  refused({"--model", "resnet18", "--batch", "9000000000000000"}, HasSubstr("2^63"));
  refused({"--model", "resnet18", "--bits", "0"}, HasSubstr("--bits"));
  refused({"--model", "resnet18", "--svg", "x.svg"}, HasSubstr("needs a device"));
  refused({"--model", "resnet18", "--device", "h100", "--svg", "/nowhere/x.svg"}, HasSubstr("/nowhere/x.svg"), 73);
  refused({"/nowhere/config.pbtxt"}, HasSubstr("/nowhere/config.pbtxt"), 66);
  refused({(source_dir() / "configs/resnet50_cosine90.pbtxt").string(), "--set", "model.classes=0"}, HasSubstr("--classes"));
}

TEST(BenchDevice, WritesAFileThatAnalyzeReads) {
  const TempDir folder;
  const std::string file = folder / "cpu.pbtxt";
  const CommandResult bench = run(lockstep({"bench", "device", "--cores", "1", "--name", "this one", "--power", "20", "-o", file, "--json"}));
  const json measured = json::parse(expect_ok(bench).out);
  EXPECT_GT(measured["peaks"]["FP32"].get<double>(), 1e9);
  const json seen = analysis({"--model", "resnet18", "--batch", "1", "--device", file});
  EXPECT_EQ(seen["devices"][0]["name"], "this one");
  EXPECT_NEAR(seen["devices"][0]["peak"].get<double>(), measured["peaks"]["FP32"].get<double>(), 1e-9 * measured["peaks"]["FP32"].get<double>());
  EXPECT_GT(seen["devices"][0]["joules"].get<double>(), 0);
}

}  // namespace
}  // namespace lockstep::testing
