// Weights files: what goes out comes back, other people's files fit or are refused with a reason, damage never loads.
// SPDX-License-Identifier: Apache-2.0
#include "train/weights_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>

#include "core/error.h"
#include "core/philox.h"
#include "train/checkpoint/safetensors.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class WeightsFile : public ::testing::Test {
 protected:
  WeightsFile() {
    std::string name = (std::filesystem::temp_directory_path() / "lockstep-weights-XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~WeightsFile() override { std::filesystem::remove_all(folder_); }
  std::string path(const std::string& name = "w.safetensors") const { return folder_ + "/" + name; }

  static std::unique_ptr<Model> model(std::uint64_t seed, int classes = 4, DType dtype = DType::kF32) {
    auto result = make_model({.name = "resnet8", .classes = classes, .height = 16, .width = 16, .base_width = 2, .dtype = dtype});
    result->initialise(seed);
    return result;
  }

  // The model's tensors as another program would write them, after `change`.
  void write(Model& model, const std::function<void(std::vector<NamedTensor>&)>& change = [](auto&) {}) const {
    std::vector<NamedTensor> tensors;
    for (Parameter* parameter : model.parameters()) tensors.push_back({parameter->name, parameter->value});
    for (Buffer* buffer : model.buffers()) tensors.push_back({buffer->name, buffer->value});
    change(tensors);
    std::filesystem::remove(path());
    write_safetensors(posix_fs(), path(), views_of(tensors), {});
  }

  // Why the file is refused; empty: it is not.
  std::string refusal(Model& model) const {
    try {
      load_weights(path(), model);
      return "";
    } catch (const UserError& error) {
      EXPECT_EQ(error.code(), ExitCode::kData) << error.what();
      return error.what();
    }
  }

  static bool equal(const Model& a, const Model& b) {
    const auto same = [](const Tensor& x, const Tensor& y) { return std::memcmp(x.ptr(), y.ptr(), x.nbytes()) == 0; };
    for (std::size_t i = 0; i < a.parameters().size(); ++i)
      if (!same(a.parameters()[i]->value, b.parameters()[i]->value)) return false;
    for (std::size_t i = 0; i < a.buffers().size(); ++i)
      if (!same(a.buffers()[i]->value, b.buffers()[i]->value)) return false;
    return true;
  }

  std::string folder_;
};

NamedTensor& named(std::vector<NamedTensor>& tensors, const std::string& name) {
  return *std::ranges::find(tensors, name, &NamedTensor::name);
}

TEST_F(WeightsFile, WhatIsSavedComesBackBitForBit) {
  for (const DType dtype : {DType::kF32, DType::kF64}) {
    std::filesystem::remove(path());
    const auto saved = model(1, 4, dtype), loaded = model(2, 4, dtype);
    save_weights(posix_fs(), path(), *saved, 20, {{"run", "x"}});
    ASSERT_FALSE(equal(*saved, *loaded));
    load_weights(path(), *loaded);
    EXPECT_TRUE(equal(*saved, *loaded));
  }
}

TEST_F(WeightsFile, HasTheNamesThatPyTorchWantsAndSaysWhatItIs) {
  save_weights(posix_fs(), path(), *model(1), 20, {{"run", "x"}});
  const SafetensorsFile file(posix_fs(), path());
  EXPECT_EQ(file.header().metadata.at("format"), "pt");
  EXPECT_EQ(file.header().metadata.at("run"), "x");
  const SafetensorsEntry* counter = file.find("layer1.0.bn1.num_batches_tracked");
  ASSERT_NE(counter, nullptr);
  EXPECT_EQ(file.read(*counter).host<std::int64_t>()[0], 20);
}

TEST_F(WeightsFile, OtherNumberFormatsAreRoundedToTheModels) {
  const auto saved = model(1), loaded = model(2), wide = model(3, 4, DType::kF64);
  write(*saved);
  load_weights(path(), *wide);  // f32 into f64: exact
  const auto narrow = saved->parameters()[0]->value.host<float>();
  EXPECT_EQ(wide->parameters()[0]->value.host<double>()[5], static_cast<double>(narrow[5]));
  write(*wide);
  load_weights(path(), *loaded);  // and back
  EXPECT_TRUE(equal(*saved, *loaded));
  const auto halve = [&](auto type) {
    using Half = decltype(type);
    write(*saved, [&](std::vector<NamedTensor>& tensors) {
      for (NamedTensor& each : tensors) {
        Tensor half = Tensor::empty(each.tensor.shape(), DTypeOf<Half>::value);
        std::ranges::transform(each.tensor.host<float>(), half.host<Half>().begin(), [](float value) { return Half(value); });
        each.tensor = half;
      }
    });
    load_weights(path(), *loaded);
    EXPECT_EQ(loaded->parameters()[0]->value.host<float>()[5], static_cast<float>(Half(narrow[5])));
  };
  halve(bf16{});
  halve(f16{});
}

TEST_F(WeightsFile, APrefixOfAllNamesAndCountersDoNotMatter) {
  const auto saved = model(1), loaded = model(2);
  for (const std::string prefix : {"module.", "state_dict.", "state_dict.module.", "_orig_mod.module."}) {
    write(*saved, [&](std::vector<NamedTensor>& tensors) {
      tensors.push_back({"bn1.num_batches_tracked", Tensor::zeros({}, DType::kI64)});
      for (NamedTensor& each : tensors) each.name = prefix + each.name;
    });
    loaded->initialise(2);
    EXPECT_EQ(refusal(*loaded), "") << prefix;
    EXPECT_TRUE(equal(*saved, *loaded)) << prefix;
  }
}

TEST_F(WeightsFile, PartsThatANetworkLeavesOutArePassedOverAndNamed) {
  const ModelOptions options{.name = "googlenet", .classes = 4, .height = 32, .width = 32, .base_width = 8};
  const auto saved = make_model(options), loaded = make_model(options);
  saved->initialise(1);
  const auto with = [&](const std::string& prefix, const std::string& extra) {
    write(*saved, [&](std::vector<NamedTensor>& tensors) {
      tensors.push_back({"aux1.fc1.weight", Tensor::zeros({2, 3}, DType::kF32)});
      tensors.push_back({"aux2.conv.bn.num_batches_tracked", Tensor::zeros({}, DType::kI64)});
      tensors.push_back({extra, Tensor::zeros({1}, DType::kF32)});
      for (NamedTensor& each : tensors) each.name = prefix + each.name;
    });
  };
  with("module.", "aux2.fc2.bias");
  loaded->initialise(2);
  const std::string note = load_weights(path(), *loaded);
  EXPECT_THAT(note, HasSubstr("3 tensors of aux1.*, aux2.* are passed over"));
  EXPECT_TRUE(equal(*saved, *loaded));
  with("", "aux3.fc2.bias");
  EXPECT_THAT(refusal(*loaded), HasSubstr("not of this model (1): aux3.fc2.bias"));
  write(*saved);
  EXPECT_EQ(load_weights(path(), *loaded), "");
}

TEST_F(WeightsFile, OlderNamesOfDenseNetAreUnderstood) {
  const ModelOptions options{.name = "densenet121", .classes = 4, .height = 32, .width = 32, .base_width = 4};
  const auto saved = make_model(options), loaded = make_model(options);
  saved->initialise(1);
  loaded->initialise(2);
  int renamed = 0;
  write(*saved, [&](std::vector<NamedTensor>& tensors) {
    for (NamedTensor& each : tensors)
      for (const std::string part : {".norm", ".conv"})
        if (const std::size_t at = each.name.find(part, each.name.find("denselayer")); at != std::string::npos) {
          each.name.insert(at + part.size(), 1, '.');  // denselayer1.norm.1.weight
          ++renamed;
        }
  });
  EXPECT_EQ(renamed, 58 * 2 * 5);  // layers, pairs, and what a batch norm and its convolution hold
  EXPECT_EQ(load_weights(path(), *loaded), "");
  EXPECT_TRUE(equal(*saved, *loaded));
}

TEST_F(WeightsFile, OneMessageListsAllThatDoesNotFit) {
  const auto target = model(2);
  write(*model(1), [](std::vector<NamedTensor>& tensors) {
    for (int i = 0; i < 6; ++i) tensors.erase(tensors.begin());
    for (int i = 0; i < 7; ++i) tensors.push_back({"other." + std::to_string(i), Tensor::zeros({1}, DType::kF32)});
    tensors.push_back({"nobody.num_batches_tracked", Tensor::zeros({}, DType::kI64)});
    named(tensors, "layer2.0.conv1.weight").tensor = Tensor::zeros({4, 2, 1, 3}, DType::kF32);
    named(tensors, "layer2.0.bn1.weight").tensor = Tensor::zeros({4}, DType::kI64);
  });
  const std::string text = refusal(*target);
  EXPECT_THAT(text, HasSubstr("missing (6): conv1.weight, bn1.weight"));
  EXPECT_THAT(text, HasSubstr("not of this model (8): nobody.num_batches_tracked, other.0, other.1, other.2, other.3, ..."));
  EXPECT_THAT(text, Not(HasSubstr("other.4")));
  EXPECT_THAT(text, HasSubstr("layer2.0.conv1.weight: got (4, 2, 1, 3), want (4, 2, 3, 3)"));
  EXPECT_THAT(text, HasSubstr("layer2.0.bn1.weight: got i64, want floating point"));
}

TEST_F(WeightsFile, AnotherNumberOfClassesIsNamedAsSuch) {
  write(*model(1, 10));
  EXPECT_THAT(refusal(*model(2, 4)), HasSubstr("The file has 10 classes, the model 4: give the model the file's (--set model.classes=10)"));
}

TEST_F(WeightsFile, ValuesThatNoTrainingLeavesAreRefused) {
  const auto target = model(2);
  const auto spoil = [&](const std::string& name, float value) {
    write(*model(1), [&](std::vector<NamedTensor>& tensors) { named(tensors, name).tensor.host<float>()[1] = value; });
    return refusal(*target);
  };
  EXPECT_THAT(spoil("layer1.0.conv1.weight", NAN), HasSubstr("'layer1.0.conv1.weight' has values that are not finite"));
  EXPECT_THAT(spoil("fc.bias", INFINITY), HasSubstr("'fc.bias'"));
  EXPECT_THAT(spoil("bn1.running_var", -1e-9F), HasSubstr("negative"));
  EXPECT_EQ(spoil("bn1.running_mean", -1), "");
}

TEST_F(WeightsFile, FilesOfTorchSaveAreExplained) {
  for (const std::string& magic : {std::string("PK\x03\x04"), std::string("\x80\x02\x8a\x0a")}) {
    std::ofstream(path(), std::ios::binary) << magic << std::string(100, 'x');
    EXPECT_THAT(refusal(*model(1)), HasSubstr("pth_to_safetensors.py"));
  }
}

TEST_F(WeightsFile, WhatIsNotThereIsNoInput) {
  for (const std::string& missing : {path("none"), folder_}) {
    try {
      load_weights(missing, *model(1));
      ADD_FAILURE() << missing;
    } catch (const UserError& error) {
      EXPECT_EQ(error.code(), ExitCode::kNoInput);
    }
  }
}

TEST_F(WeightsFile, ALinkIsFollowed) {
  const auto saved = model(1), loaded = model(2);
  write(*saved);
  std::filesystem::create_symlink(path(), path("link"));
  load_weights(path("link"), *loaded);
  EXPECT_TRUE(equal(*saved, *loaded));
}

// One change of the file's bytes, by a random number.
std::string mutated(std::string bytes, RandomStream& random) {
  const std::size_t header = 8 + static_cast<std::size_t>(static_cast<unsigned char>(bytes[0]) + 256 * static_cast<unsigned char>(bytes[1]));
  const std::size_t at = random.below(random.below(2) == 0 ? header : bytes.size());  // half of them hit the header
  switch (random.below(5)) {
    case 0: bytes.resize(at); break;
    case 1: bytes.insert(at, 1, static_cast<char>(random.bits())); break;
    case 2: bytes[random.below(8)] = static_cast<char>(random.bits()); break;  // the header's length
    default: bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8)));
  }
  return bytes;
}

TEST_F(WeightsFile, AThousandChangesAreRefusedOrHarmless) {
  const auto saved = model(1), loaded = model(2);
  save_weights(posix_fs(), path(), *saved, 20, {{"note", std::string(2000, 'x')}});  // a change of it is harmless
  std::ifstream in(path(), std::ios::binary);
  const std::string original{std::istreambuf_iterator<char>(in), {}};
  RandomStream random({.seed = 6});
  int refused = 0, harmless = 0;
  for (int round = 0; round < 1000; ++round) {
    std::ofstream(path(), std::ios::binary | std::ios::trunc) << mutated(original, random);
    loaded->initialise(2);
    try {
      load_weights(path(), *loaded);
      EXPECT_TRUE(equal(*saved, *loaded)) << "round " << round << ": loaded other values";
      ++harmless;
    } catch (const UserError& error) {
      EXPECT_EQ(error.code(), ExitCode::kData) << error.what();
      ++refused;
    }
  }
  EXPECT_GT(refused, 500);
  EXPECT_GT(harmless, 10);  // the control: files do load here
}

}  // namespace
}  // namespace lockstep
