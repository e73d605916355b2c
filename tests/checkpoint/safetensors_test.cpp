// safetensors: round trip, layout, every kind of malformed header, and agreement with the reference library.
// SPDX-License-Identifier: Apache-2.0
#include "train/checkpoint/safetensors.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "tests/checkpoint/memory_fs.h"
#include "tests/checkpoint/sample_state.h"

namespace lockstep::test {
namespace {

std::string refusal(const std::string& header, std::uint64_t data_nbytes) {
  try {
    parse_safetensors_header(header, 8 + header.size() + data_nbytes, "f");
  } catch (const UserError& error) {
    EXPECT_EQ(error.code(), ExitCode::kData);
    return error.what();
  }
  return "accepted";
}

std::string file_bytes(const std::string& header, const std::string& data) {
  std::string bytes(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(std::uint64_t{header.size()} >> (8 * i));
  return bytes + header + data;
}

TEST(Safetensors, RoundTripsEveryDTypeAndRank) {
  MemoryFs fs;
  const TrainingState state = sample_state(3);
  const auto written = write_safetensors(fs, "/f", views_of(state.model), {{"format", "pt"}});
  EXPECT_EQ(written.nbytes, fs.contents("/f").size());
  EXPECT_EQ(written.hash, hash_128(fs.contents("/f")));
  const SafetensorsFile file(fs, "/f");
  EXPECT_EQ(file.header().metadata.at("format"), "pt");
  std::vector<NamedTensor> loaded;
  for (std::size_t i = 0; i < file.header().entries.size(); ++i) {
    const SafetensorsEntry& entry = file.header().entries[i];
    Tensor tensor = Tensor::empty(entry.shape, entry.dtype);
    EXPECT_EQ(file.read(entry, tensor), written.hashes[i]) << entry.name;
    loaded.push_back({entry.name, tensor});
  }
  EXPECT_TRUE(same_tensors(state.model, loaded));
  EXPECT_EQ(fs.open_files(), 1u);
}

TEST(Safetensors, Rank4LiesRowMajorInTheFile) {
  MemoryFs fs;
  Tensor filter = Tensor::empty({1, 2, 1, 3}, DType::kU8);  // memory order is (n, h, w, c)
  for (std::uint8_t c = 0; c < 2; ++c)
    for (std::uint8_t w = 0; w < 3; ++w) filter.host<std::uint8_t>()[w * 2u + c] = static_cast<std::uint8_t>(10 * c + w);
  const std::vector<NamedTensor> tensors = {{"w", filter}};
  write_safetensors(fs, "/f", views_of(tensors), {});
  const std::string& bytes = fs.contents("/f");
  EXPECT_EQ(bytes.substr(bytes.size() - 6), std::string("\x00\x01\x02\x0a\x0b\x0c", 6));
}

TEST(Safetensors, LargeTensorsAreConvertedInPieces) {
  MemoryFs fs;
  const std::vector<NamedTensor> tensors = {{"w", random_tensor({300, 64, 3, 9}, DType::kF32, 1)},
                                            {"x", random_tensor({2, 3, 400, 400}, DType::kF32, 2)},
                                            {"y", random_tensor({1 << 19}, DType::kF32, 3)}};
  write_safetensors(fs, "/f", views_of(tensors), {});
  const SafetensorsFile file(fs, "/f");
  for (const NamedTensor& tensor : tensors) {
    const Tensor loaded = file.read(*file.find(tensor.name));
    EXPECT_EQ(std::memcmp(loaded.ptr(), tensor.tensor.ptr(), loaded.nbytes()), 0);
    std::vector<std::byte> row_major(loaded.nbytes());
    channels_last_to_row_major(tensor.tensor.ptr(), row_major.data(), loaded.shape(), 4);
    const SafetensorsEntry& entry = *file.find(tensor.name);
    EXPECT_EQ(std::memcmp(fs.contents("/f").data() + entry.offset, row_major.data(), row_major.size()), 0);
  }
}

TEST(Safetensors, RefusesAnotherShapeOrDType) {
  MemoryFs fs;
  const std::vector<NamedTensor> tensors = {{"fc.weight", random_tensor({3, 5}, DType::kF32, 1)}};
  write_safetensors(fs, "/f", views_of(tensors), {});
  const SafetensorsFile file(fs, "/f");
  Tensor wrong = Tensor::empty({5, 3}, DType::kF32);
  try {
    file.read(*file.find("fc.weight"), wrong);
    FAIL();
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(), "/f: tensor 'fc.weight': got (3, 5) f32, want (5, 3) f32 (another model?)");
  }
  EXPECT_EQ(file.find("nothing"), nullptr);
}

TEST(SafetensorsHeader, AcceptsWhatTheFormatAllows) {
  EXPECT_EQ(refusal("{}", 0), "accepted");
  EXPECT_EQ(refusal("{}      ", 0), "accepted");
  EXPECT_EQ(refusal(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})", 4), "accepted");
  EXPECT_EQ(refusal(R"({"a":{"dtype":"F32","shape":[0,7],"data_offsets":[4,4]},"b":{"shape":[1],"data_offsets":[0,4],"dtype":"I32"}})", 4),
            "accepted");
}

TEST(SafetensorsHeader, RefusesEachMalformationWithItsReason) {
  const auto has = [](const std::string& header, std::uint64_t nbytes, const std::string& reason) {
    const std::string message = refusal(header, nbytes);
    EXPECT_NE(message.find(reason), std::string::npos) << header << "\n  -> " << message;
  };
  has("", 0, "doesn't begin with {");
  has(" {}", 0, "doesn't begin with {");
  has("{", 0, "not JSON");
  has("{} x", 0, "not JSON");
  has("{\"a\xff\":1}", 0, "not UTF-8");
  has(R"({"a":3})", 0, "a number");
  has(R"({"a":[]})", 0, "a list");
  has(R"({"a":null})", 0, "null");
  has(R"({"a":{}})", 0, "lacks dtype");
  has(R"({"a":{"dtype":"F32","shape":[1]}})", 4, "lacks dtype, shape or data_offsets");
  has(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4, "unknown key 'x'");
  has(R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, "twice");
  has(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "appears twice");
  has(R"({"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}})", 1, "F8_E4M3");
  has(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "a negative number");
  has(R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4, "a fraction");
  has(R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4, "a list");
  has(R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1],"data_offsets":[0,4]}})", 4, "6 dimensions");
  has(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0, "exceeds 2^64");
  has(R"({"a":{"dtype":"F32","shape":[18446744073709551615,0],"data_offsets":[0,0]}})", 0, "exceeds 2^64");
  has(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "don't span");
  has(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 4, "don't span");
  has(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[18446744073709551608,18446744073709551612]}})", 4, "exceed 2^64");
  has(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "hole or overlap");
  has(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "hole or overlap");
  has(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 3, "truncated");
  has(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 5, "the file has");
  has(R"({"__metadata__":{"x":{"y":"z"}}})", 0, "an object inside");
  has(R"({"__metadata__":{"x":1}})", 0, "a number");
  has(R"({"a":{"dtype":"F32","shape":)" + std::string(100000, '['), 0, "a list");
}

TEST(Safetensors, HugeHeaderLengthIsRefusedBeforeAllocating) {
  MemoryFs fs;
  const int file = fs.open_new("/f");
  const std::string bytes = file_bytes("{}", "");
  fs.write(file, bytes.data(), bytes.size());
  for (const char high : {'\x01', '\x7f', '\xff'}) {
    fs.contents("/f")[6] = high;
    EXPECT_THROW(SafetensorsFile(fs, "/f"), UserError);
  }
  fs.contents("/f").resize(7);
  EXPECT_THROW(SafetensorsFile(fs, "/f"), UserError);
}

TEST(Safetensors, EverySingleBitFlipOfTheHeaderIsRefusedOrHarmless) {
  MemoryFs fs;
  const TrainingState state = sample_state(3);
  write_safetensors(fs, "/f", views_of(state.model), {});
  const std::uint64_t data_begin = SafetensorsFile(fs, "/f").header().entries.front().offset;
  int refused = 0;
  for (std::size_t bit = 0; bit < data_begin * 8; ++bit) {
    char& byte = fs.contents("/f")[bit / 8];
    byte = static_cast<char>(byte ^ (1 << bit % 8));
    try {
      const SafetensorsFile file(fs, "/f");  // a name or an equally wide dtype may have changed: the manifest's part
      std::uint64_t sum = data_begin;
      for (const SafetensorsEntry& entry : file.header().entries) sum += entry.nbytes;
      EXPECT_EQ(sum, fs.contents("/f").size());
    } catch (const UserError&) {
      ++refused;
    }
    byte = static_cast<char>(byte ^ (1 << bit % 8));
  }
  EXPECT_GT(refused, static_cast<int>(data_begin * 8 / 2));
}

// The reference library reads our file and says what it sees; it writes the same tensors and the files are equal.
TEST(Safetensors, AgreesWithTheReferenceLibrary) {
  const char* chosen = std::getenv("LOCKSTEP_PYTHON");
  const std::string python = chosen != nullptr ? chosen : "python3";
  if (std::system((python + " -c 'import safetensors.numpy, numpy' >/dev/null 2>&1").c_str()) != 0)
    GTEST_SKIP() << "no Python with the packages safetensors and numpy (set LOCKSTEP_PYTHON): not compared with the reference library";
  const char* source = std::getenv("LOCKSTEP_SOURCE_DIR");
  ASSERT_NE(source, nullptr);
  TemporaryFolder folder;
  const std::vector<NamedTensor> tensors = {
      {"conv.weight", random_tensor({4, 3, 2, 5}, DType::kU8, 1)}, {"b", random_tensor({7}, DType::kI64, 2)},
      {"a", random_tensor({2, 3}, DType::kI32, 3)},                {"scalar", random_tensor({}, DType::kF64, 4)},
      {"f", random_tensor({2, 5, 3, 1}, DType::kF32, 5)},          {"half \"quoted\" é", random_tensor({3}, DType::kF16, 6)},
      {"none", random_tensor({0, 2}, DType::kF32, 7)}};
  write_safetensors(posix_fs(), folder / "ours.safetensors", views_of(tensors), {{"format", "pt"}});
  const std::string command = python + " " + source + "/tests/golden/check_safetensors.py " + (folder / "ours.safetensors") + " " +
                              (folder / "theirs.safetensors");
  ASSERT_EQ(std::system(command.c_str()), 0);
  const auto bytes = [](const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return std::string((std::istreambuf_iterator<char>(in)), {});
  };
  EXPECT_EQ(bytes(folder / "ours.safetensors"), bytes(folder / "theirs.safetensors"));
  const SafetensorsFile theirs(posix_fs(), folder / "theirs.safetensors");
  for (const NamedTensor& tensor : tensors) {
    ASSERT_NE(theirs.find(tensor.name), nullptr) << tensor.name;
    const Tensor loaded = theirs.read(*theirs.find(tensor.name));
    EXPECT_EQ(std::memcmp(loaded.ptr(), tensor.tensor.ptr(), loaded.nbytes()), 0) << tensor.name;
  }
}

}  // namespace
}  // namespace lockstep::test
