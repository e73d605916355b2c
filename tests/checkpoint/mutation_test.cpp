// Bit rot and mix-ups: a stored checkpoint that was changed in any way is refused, or loads bit for bit; it never loads
// other values.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tests/checkpoint/memory_fs.h"
#include "tests/checkpoint/sample_state.h"

namespace lockstep::test {
namespace {

const char* const kFiles[] = {"model.safetensors", "optim.safetensors", "MANIFEST.pb", "manifest.json"};

std::string path_of(std::uint64_t step, const std::string& file) { return "/run/ckpt/" + checkpoint_name(step) + "/" + file; }

std::unique_ptr<MemoryFs> two_checkpoints() {
  auto fs = std::make_unique<MemoryFs>();
  fs->make_directory("/run");
  for (const std::uint64_t step : {10, 20}) CheckpointStore("/run/ckpt", *fs).save(sample_state(step), false);
  return fs;
}

// Changes the newer checkpoint; says how.
std::string mutate(MemoryFs& fs, RandomStream& random) {
  const std::string file = kFiles[random.below(4)];
  std::string& bytes = fs.contents(path_of(20, file));
  const std::size_t at = random.below(bytes.size());
  const std::size_t page = std::min<std::size_t>(bytes.size(), 64);
  switch (random.below(8)) {
    case 0: bytes.resize(at); return "truncate " + file;
    case 1: bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8))); return "flip a bit of " + file;
    case 2: bytes.replace(at / page * page, std::min(page, bytes.size() - at / page * page), page, '\0'); return "zero a page of " + file;
    case 3: {
      const std::size_t pages = bytes.size() / page;
      const std::size_t from = random.below(pages) * page, to = random.below(pages) * page;
      if (from != to) std::swap_ranges(bytes.begin() + from, bytes.begin() + from + page, bytes.begin() + to);
      return "swap two pages of " + file;
    }
    case 4: std::swap(bytes, fs.contents(path_of(10, file))); return "swap " + file + " between two checkpoints";
    case 5: bytes += std::string(1 + random.below(100), static_cast<char>(random.bits())); return "append to " + file;
    case 6: bytes.insert(at, 1, static_cast<char>(random.bits())); return "insert into " + file;
    default: fs.unlink(path_of(20, file)); return "remove " + file;
  }
}

TEST(CheckpointMutation, TwoThousandChangesAreRefusedOrHarmless) {
  const auto original = two_checkpoints();
  RandomStream random({.seed = 2024});
  int refused = 0, identical = 0;
  for (int round = 0; round < 2000; ++round) {
    const auto fs = original->copy();
    const std::string what = mutate(*fs, random) + ", round " + std::to_string(round);
    try {
      const TrainingState loaded = load(*fs, "/run/ckpt/step_00000020");
      EXPECT_TRUE(same_state(loaded, sample_state(20))) << what << ": loaded other values";
      ++identical;
    } catch (const Error& error) {
      EXPECT_NE(error.code(), ExitCode::kInternal) << what << ": " << error.what();
      EXPECT_FALSE(verify_checkpoint(*fs, "/run/ckpt/step_00000020").empty()) << what;
      ++refused;
    }
    // What resume sees: this one or the one before, with its own values; never nothing. Swaps damage both.
    const bool both = what.starts_with("swap ") && what.find("between") != std::string::npos;
    try {
      const auto found = CheckpointStore("/run/ckpt", *fs).find(Resume::kAuto);
      ASSERT_TRUE(found.has_value()) << what;
      EXPECT_TRUE(same_state(load(*fs, found->path), sample_state(found->manifest.facts.step))) << what;
    } catch (const UserError& error) {
      EXPECT_TRUE(both && error.code() == ExitCode::kData) << what << ": " << error.what();
    }
  }
  std::printf("  2000 changes: %d refused, %d loaded bit-identical, 0 wrong wanted\n", refused, identical);
  EXPECT_GT(refused, 1000);
}

TEST(CheckpointMutation, EverySingleBitOfTheManifestCounts) {
  const auto fs = two_checkpoints();
  std::string& bytes = fs->contents(path_of(20, "MANIFEST.pb"));
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
    EXPECT_THROW(read_manifest(*fs, "/run/ckpt/step_00000020"), UserError) << "bit " << bit;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
  }
  read_manifest(*fs, "/run/ckpt/step_00000020");
}

TEST(CheckpointMutation, DamageIsNamedByTensorAndOffset) {
  const auto fs = two_checkpoints();
  const Manifest manifest = read_manifest(*fs, "/run/ckpt/step_00000020");
  for (const ManifestFile& file : manifest.files)
    for (const ManifestTensor& tensor : file.tensors) {
      if (tensor.entry.nbytes == 0) continue;
      char& byte = fs->contents(path_of(20, file.name))[tensor.entry.offset];
      byte = static_cast<char>(byte ^ 1);
      const std::vector<Damage> damages = verify_checkpoint(*fs, "/run/ckpt/step_00000020");
      ASSERT_EQ(damages.size(), 1u);
      EXPECT_EQ(damages[0].file, file.name);
      EXPECT_EQ(damages[0].tensor, tensor.entry.name);
      EXPECT_EQ(damages[0].offset, tensor.entry.offset);
      EXPECT_EQ(damages[0].expected, tensor.hash.hex());
      byte = static_cast<char>(byte ^ 1);
    }
  EXPECT_TRUE(verify_checkpoint(*fs, "/run/ckpt/step_00000020").empty());
}

}  // namespace
}  // namespace lockstep::test
