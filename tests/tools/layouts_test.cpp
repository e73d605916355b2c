// The same images in every layout, archives written by Python's tarfile in its three formats: one run, one digest.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "tests/tools/command.h"

namespace lockstep::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using Args = std::vector<std::string>;

// Twelve photos: real ones where this machine has them, else the golden images.
Args photos() {
  const char* given = std::getenv("LOCKSTEP_SAMPLE_IMAGES");
  const fs::path sample = given != nullptr ? fs::path(given) : source_dir() / "../shared/data/imagenet_sample";
  Args paths;
  for (const fs::path& folder : {sample / "train", source_dir() / "tests/golden/images"}) {
    std::error_code missing;
    if (paths.empty() && fs::is_directory(folder, missing))
      for (const auto& item : fs::recursive_directory_iterator(folder))
        if (item.path().extension() == ".JPEG" || item.path().extension() == ".jpg") paths.push_back(item.path().string());
  }
  std::sort(paths.begin(), paths.end());
  paths.resize(std::min<std::size_t>(paths.size(), 12));
  return paths;
}

class Layouts : public ::testing::Test {
 protected:
  void write_config() {
    write_file(folder_ / "layouts.pbtxt", R"(
      name: "layouts"
      epochs: 1
      model { name: "resnet8" base_width: 4 classes: 4 }
      data { height: 32 width: 32 augment { crop: RANDOM_RESIZED_CROP flip: true } index_cache: "" }
      batch { global_batch: 4 shard_batch: 2 }
      schedule { lr: 0.1 warmup_epochs: 0 }
    )");
  }
  // Trains two steps of four images, evaluates, and returns the state's digest.
  std::string digest_of(const std::string& data, const std::string& name, Args more = {}) {
    write_config();
    Args args{"train", folder_ / "layouts.pbtxt", "--data", data, "--run-dir", folder_ / ("run_" + name), "--max-steps", "2"};
    args.insert(args.end(), more.begin(), more.end());
    expect_ok(run(lockstep(args)));
    return expect_ok(run(lockstep({"inspect", folder_ / ("run_" + name), "--digest"}))).out;
  }
  Args make() {
    Args command{"python3", (source_dir() / "tests/tools/make_layouts.py").string(), folder_ / "data"};
    const Args images = photos();
    command.insert(command.end(), images.begin(), images.end());
    std::istringstream out(expect_ok(run(command)).out);
    Args names;
    for (std::string name; out >> name;) names.push_back(name);
    return names;
  }
  TempDir folder_;
};

TEST_F(Layouts, OfTheSameImagesTrainToTheSameBits) {
  const Args names = make();
  ASSERT_EQ(names.size(), 12u);
  const std::string golden = digest_of(folder_ / "data/folder", "golden");
  for (const std::string& name : names) EXPECT_EQ(digest_of(folder_ / ("data/" + name), name), golden) << name;
  const fs::path train = folder_ / "data/folder/train/n01440764";  // the negative control: another order of the same images
  fs::rename(train / "n01440764_1000.JPEG", train / "zzz.JPEG");
  EXPECT_NE(digest_of(folder_ / "data/folder", "other"), golden);
}

TEST_F(Layouts, OtherClassesOrAnotherNumberOfImagesAreRefused) {
  make();
  const auto refused = [&](Args more) {
    write_config();
    Args args{"train", folder_ / "layouts.pbtxt", "--data", folder_ / "data/folder", "--run-dir", folder_ / "run"};
    args.insert(args.end(), more.begin(), more.end());
    const CommandResult result = run(lockstep(args));
    EXPECT_EQ(result.exit_code, 65) << result.out << result.err;
    return result.err;
  };
  EXPECT_THAT(refused({"--set", "data.train_images=1281167"}), HasSubstr("data.train_images: got 12 images, want 1281167"));
  EXPECT_THAT(refused({"--set", "data.eval_images=5"}), HasSubstr("data.eval_images: got 6 images, want 5"));
  fs::rename(folder_ / "data/folder/train/n01440764", folder_ / "data/folder/train/n01440765");
  EXPECT_THAT(refused({"--set", "data.eval_path=" + (folder_ / "data/tar_pax")}), HasSubstr("0: n01440765 and n01440764"));
  EXPECT_THAT(refused({"--set", "model.classes=5"}), HasSubstr("got 4, want 5"));
}

}  // namespace
}  // namespace lockstep::testing
