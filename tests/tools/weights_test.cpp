// Weights in and out as a user does it: export, eval --weights, infer, training that begins with a file; and onnxruntime and
// PyTorch on what was exported.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "tests/tools/command.h"

namespace lockstep::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;
using nlohmann::json;
using Args = std::vector<std::string>;

Args operator+(Args args, const Args& more) {
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

std::string golden(const std::string& name) { return (source_dir() / "tests/golden/images" / name).string(); }
Args pictures() { return {golden("jpeg_420.jpg"), golden("png_rgb.png"), golden("jpeg_cmyk.jpg"), golden("png_palette.png")}; }

std::string digest(const std::string& run_dir) { return expect_ok(run(lockstep({"inspect", run_dir, "--digest"}))).out; }

// One run of seconds that all tests look at.
class Weights : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TempDir>();
    expect_ok(run(lockstep({"train", tiny(), "--run-dir", run_dir()})));
    expect_ok(run(lockstep({"export", run_dir(), "--output", weights()})));
  }
  static void TearDownTestSuite() { folder_.reset(); }
  static std::string run_dir() { return *folder_ / "run"; }
  static std::string weights() { return *folder_ / "w.safetensors"; }
  static std::string file(const std::string& name) { return *folder_ / name; }

  // A Python that can import `modules`; else the test is skipped and this is empty.
  static std::string python_with(const std::string& modules) {
    const char* chosen = std::getenv("LOCKSTEP_PYTHON");
    const std::string python = chosen != nullptr ? chosen : "python3";
    return run({python, "-c", "import " + modules}).exit_code == 0 ? python : "";
  }
  static std::string script(const std::string& name) { return (source_dir() / "tests/tools" / name).string(); }

 private:
  static std::unique_ptr<TempDir> folder_;
};
std::unique_ptr<TempDir> Weights::folder_;

TEST_F(Weights, AnExportedRunEvaluatesAsTheRun) {
  const json of_run = json::parse(expect_ok(run(lockstep({"eval", run_dir(), "--json"}))).out);
  const json of_file = json::parse(expect_ok(run(lockstep({"eval", "--weights", weights(), "--config", tiny(), "--json"}))).out);
  EXPECT_EQ(of_file.at("weights"), weights());
  for (const char* value : {"top1_count", "top5_count", "loss", "images"}) EXPECT_EQ(of_run.at(value), of_file.at(value)) << value;
}

TEST_F(Weights, AnExistingFileIsOnlyReplacedByForce) {
  const std::string output = file("twice.safetensors");
  expect_ok(run(lockstep({"export", run_dir(), "--output", output})));
  write_file(output, "mine");
  const CommandResult refused = run(lockstep({"export", run_dir(), "--output", output}));
  EXPECT_EQ(refused.exit_code, 73);
  EXPECT_THAT(refused.err, HasSubstr("--force"));
  EXPECT_EQ(read_file(output), "mine");
  expect_ok(run(lockstep({"export", run_dir(), "--output", output, "--force"})));
  EXPECT_EQ(read_file(output), read_file(weights()));
  for (const auto& entry : fs::directory_iterator(fs::path(output).parent_path()))
    EXPECT_THAT(entry.path().filename().string(), Not(HasSubstr(".tmp."))) << "left behind";
  EXPECT_EQ(run(lockstep({"export", run_dir(), "--output", file("none/w.safetensors")})).exit_code, 73);
}

TEST_F(Weights, WhatIsNotClearIsAskedFor) {
  const auto refusal = [](const Args& args) {
    const CommandResult result = run(lockstep(args));
    EXPECT_EQ(result.exit_code, 64) << result.out;
    return result.err;
  };
  EXPECT_THAT(refusal({"eval"}), HasSubstr("no model is named"));
  EXPECT_THAT(refusal({"eval", run_dir(), "--weights", weights()}), HasSubstr("want one of them"));
  EXPECT_THAT(refusal({"eval", "--weights", weights()}), HasSubstr("--config"));
  EXPECT_THAT(refusal({"eval", run_dir(), "--config", tiny()}), HasSubstr("--set"));
  EXPECT_THAT(refusal({"export", run_dir(), "--output", file("w.bin")}), HasSubstr("--format"));
  EXPECT_THAT(refusal({"export", run_dir(), "--output", file("x.safetensors"), "--fold-batch-norm"}), HasSubstr("ONNX"));
  EXPECT_THAT(refusal({"infer", golden("png_rgb.png"), "--weights", weights(), "--config", tiny()}), HasSubstr("model.classes"));
}

TEST_F(Weights, InferShowsTheMostProbableClasses) {
  const std::string names = file("names.txt");
  write_file(names, "ant\nbee\r\ncat\ndog\n");
  const json object = json::parse(expect_ok(run(lockstep(Args{"infer", "--run", run_dir(), "--classes", names, "--json"} + pictures()))).out);
  ASSERT_EQ(object.at("images").size(), 4u);
  for (const json& image : object.at("images")) {
    ASSERT_EQ(image.at("top").size(), 4u) << "all four classes, though five are asked for";
    double sum = 0, last = 1;
    for (const json& guess : image.at("top")) {
      EXPECT_LE(guess.at("probability").get<double>(), last);
      last = guess.at("probability");
      sum += last;
      EXPECT_EQ(guess.at("name"), (Args{"ant", "bee", "cat", "dog"}.at(guess.at("class"))));
    }
    EXPECT_NEAR(sum, 1, 1e-12);
  }
  const CommandResult text = expect_ok(run(lockstep({"infer", "--run", run_dir(), "--top", "1", golden("png_rgb.png")})));
  const int best = object.at("images").at(1).at("top").at(0).at("class");
  EXPECT_THAT(text.out, HasSubstr("%  class " + std::to_string(best)));
  write_file(names, "ant\nbee\n");
  EXPECT_EQ(run(lockstep({"infer", "--run", run_dir(), "--classes", names, golden("png_rgb.png")})).exit_code, 65);
}

TEST_F(Weights, ABadImageIsNamedAndTheOthersAreClassified) {
  write_file(file("bad.jpg"), "not an image");
  const Args images{golden("png_rgb.png"), file("bad.jpg"), file("none.jpg"), golden("jpeg_grey.jpg")};
  const CommandResult result = run(lockstep(Args{"infer", "--run", run_dir()} + images));
  EXPECT_EQ(result.exit_code, 65);
  EXPECT_THAT(result.err, HasSubstr("bad.jpg"));
  EXPECT_THAT(result.err, HasSubstr("none.jpg"));
  EXPECT_THAT(result.out, HasSubstr(images[0] + "\n"));
  EXPECT_THAT(result.out, HasSubstr(images[3] + "\n"));
  const CommandResult as_json = run(lockstep(Args{"infer", "--json", "--run", run_dir()} + images));
  EXPECT_EQ(as_json.exit_code, 65);
  EXPECT_TRUE(json::parse(as_json.out).at("images").at(1).contains("error"));
  EXPECT_EQ(json::parse(as_json.out).at("images").at(3).at("top").size(), 4u);
}

TEST_F(Weights, ATrainingBeginsWithThemAtAnyNumberOfRanksAndGoesOnWithout) {
  const std::string begin = file("begin.safetensors");
  fs::copy_file(weights(), begin);
  const Args train{"train", tiny(), "--set", "model.weights=\"" + begin + "\"", "--max-steps", "8"};
  expect_ok(run(lockstep(train + Args{"--run-dir", file("one")})));
  expect_ok(run(mpi(2, train + Args{"--run-dir", file("two")})));
  expect_ok(run(lockstep({"train", tiny(), "--max-steps", "8", "--run-dir", file("fresh")})));
  EXPECT_EQ(digest(file("one")), digest(file("two")));
  EXPECT_NE(digest(file("one")), digest(file("fresh")));
  fs::remove(begin);
  const Args longer{"train", tiny(), "--set", "model.weights=\"" + begin + "\"", "--max-steps", "12"};
  EXPECT_EQ(run(lockstep(longer + Args{"--run-dir", file("three")})).exit_code, 66);
  expect_ok(run(lockstep(longer + Args{"--run-dir", file("one"), "--resume", "auto"})));
}

TEST_F(Weights, AnAverageOfTheWeightsIsWhatIsExported) {
  const std::string averaged = file("averaged");
  expect_ok(run(lockstep({"train", tiny(), "--set", "average.decay=0.9", "--run-dir", averaged})));
  EXPECT_THAT(expect_ok(run(lockstep({"export", averaged, "--output", file("average.safetensors")}))).out, HasSubstr("averaged weights"));
  EXPECT_NE(read_file(file("average.safetensors")), read_file(averaged + "/ckpt/step_00000020/model.safetensors"));
  const json of_run = json::parse(expect_ok(run(lockstep({"eval", averaged, "--json"}))).out);
  const json of_file = json::parse(expect_ok(run(lockstep({"eval", "--weights", file("average.safetensors"), "--config", tiny(), "--json"}))).out);
  EXPECT_EQ(of_run.at("averaged"), true);
  EXPECT_EQ(of_run.at("loss"), of_file.at("loss"));
}

// Every kind of block, batch norm kept and folded; the weights are those after one step of training.
TEST_F(Weights, OnnxruntimeComputesOurLogits) {
  const std::string python = python_with("onnx, onnxruntime, safetensors.numpy");
  if (python.empty()) GTEST_SKIP() << "no Python with onnx, onnxruntime and safetensors (set LOCKSTEP_PYTHON)";
  const auto check = [&](const std::string& name, const Args& settings) {
    const std::string trained = file(name);
    expect_ok(run(lockstep(Args{"train", tiny(), "--max-steps", "1", "--run-dir", trained} + settings)));
    expect_ok(run(lockstep({"export", trained, "--output", trained + ".onnx", "--opset", "15"})));
    const Args folded{"--output", trained + "_folded.onnx", "--fold-batch-norm", "--opset", "20", "--input-name", "pixels"};
    expect_ok(run(lockstep(Args{"export", trained} + folded)));
    const Args wide{"--set", "precision=FP32", "--logits", trained + ".safetensors"};  // as the file's
    expect_ok(run(lockstep(Args{"infer", "--run", trained} + wide + pictures())));
    const CommandResult compared =
        expect_ok(run({python, script("check_onnx.py"), trained + ".safetensors", trained + ".onnx", trained + "_folded.onnx"}));
    std::fputs(compared.out.c_str(), stdout);
  };
  check("resnet20", {"--set", "model.name=resnet20"});
  check("resnet18", {"--set", "model.name=resnet18", "--set", "model.base_width=16", "--set", "data.height=64", "--set", "data.width=48"});
  check("resnet50", {"--set", "model.name=resnet50", "--set", "model.base_width=8", "--set", "data.height=64", "--set", "data.width=64"});
  check("resnet50_v1", {"--set", "model.name=resnet50", "--set", "model.variant=V1", "--set", "model.base_width=8", "--set", "precision=BF16",
                        "--set", "model.stem=SMALL"});
}

// With the real networks, photos and preprocessing; needs torch and torchvision, which CI has not. ResNet-50 sees all photos, the others
// four pictures.
TEST_F(Weights, PyTorchAgreesInBothDirections) {
  const std::string python = python_with("torch, torchvision, onnxruntime, safetensors.torch, PIL");
  if (python.empty()) GTEST_SKIP() << "no Python with torch, torchvision, pillow, onnxruntime and safetensors (set LOCKSTEP_PYTHON)";
  Args photos = pictures();
  const char* given = std::getenv("LOCKSTEP_SAMPLE_IMAGES");
  const fs::path samples = given != nullptr ? fs::path(given) : source_dir() / "../shared/data/imagenet_sample";
  if (fs::is_directory(samples / "train")) {
    photos.clear();
    for (const auto& entry : fs::recursive_directory_iterator(samples / "train"))
      if (entry.is_regular_file()) photos.push_back(entry.path().string());
    std::sort(photos.begin(), photos.end());
  }
  const auto compare = [&](const std::string& network, const Args& images) {
    const Args command{python, script("compare_torch.py"), lockstep_binary(), file("torch_" + network), network};
    std::fputs(expect_ok(run(command + images, {}, 900)).out.c_str(), stdout);
  };
  compare("resnet50", photos);
  for (const char* network : {"resnet18", "alexnet", "vgg11", "vgg16_bn", "googlenet", "inception_v3", "squeezenet1_0", "squeezenet1_1", "mobilenet_v2",
                              "densenet121"})
    compare(network, pictures());
}

}  // namespace
}  // namespace lockstep::testing
