// CheckpointStore on a healthy disk: what is stored, found, kept and refused.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/checkpoint.pb.h"
#include "tests/checkpoint/fault_fs.h"
#include "tests/checkpoint/memory_fs.h"
#include "tests/checkpoint/sample_state.h"

namespace lockstep::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Fixture {
  MemoryFs fs;
  CheckpointOptions options;
  std::vector<std::string> warnings;

  Fixture() {
    fs.make_directory("/run");
    options.warn = [this](const std::string& text) { warnings.push_back(text); };
  }
  CheckpointStore store() { return {"/run/ckpt", fs, options}; }
  std::vector<std::string> names() {
    std::vector<std::string> out;
    for (const auto& entry : fs.list("/run/ckpt")) out.push_back(entry.name);
    return out;
  }
  void damage(std::uint64_t step) { fs.contents("/run/ckpt/" + checkpoint_name(step) + "/model.safetensors").back() ^= 1; }
};

template <class Function>
std::pair<ExitCode, std::string> error_of(Function function) {
  try {
    function();
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {ExitCode::kOk, ""};
}

TEST(CheckpointStore, LoadsWhatWasSavedBitForBit) {
  Fixture f;
  const SaveReport report = f.store().save(sample_state(12), false);
  EXPECT_EQ(report.path, "/run/ckpt/step_00000012");
  EXPECT_EQ(report.digest, state_digest(sample_state(12)));
  EXPECT_THAT(f.names(), ElementsAre("step_00000012"));
  const TrainingState loaded = load(f.fs, report.path);
  EXPECT_TRUE(same_state(loaded, sample_state(12)));
  EXPECT_EQ(state_digest(loaded), report.digest);
  EXPECT_TRUE(verify_checkpoint(f.fs, report.path).empty());
  EXPECT_EQ(f.fs.open_files(), 0u);
  std::uint64_t nbytes = 0;
  for (const auto& entry : f.fs.list(report.path)) nbytes += f.fs.status(report.path + "/" + entry.name)->nbytes;
  EXPECT_EQ(report.nbytes, nbytes);
}

TEST(CheckpointStore, ShortWritesAndReadsMakeNoDifference) {
  Fixture f;
  FaultFs short_fs(f.fs);
  short_fs.most_written = 7;
  CheckpointStore("/run/ckpt", short_fs, f.options).save(sample_state(12), false);
  EXPECT_TRUE(same_state(load(short_fs, "/run/ckpt/step_00000012"), sample_state(12)));
  EXPECT_TRUE(same_state(load(f.fs, "/run/ckpt/step_00000012"), sample_state(12)));
}

TEST(CheckpointStore, WorksOnTheRealFileSystem) {
  TemporaryFolder folder;
  CheckpointStore store(folder / "ckpt", posix_fs());
  EXPECT_FALSE(store.find(Resume::kAuto).has_value());
  store.save(sample_state(1), false);
  store.save(sample_state(2), true);
  EXPECT_EQ(store.find(Resume::kAuto)->manifest.facts.step, 2u);
  EXPECT_TRUE(same_state(load(posix_fs(), folder / "ckpt/step_00000002"), sample_state(2)));
  store.save(sample_state(3), false);
  CheckpointOptions second;
  second.generation = 2;
  CheckpointStore again(folder / "ckpt", posix_fs(), second);
  again.save(sample_state(2), false);  // rolled back: swaps with the old one
  EXPECT_EQ(again.find(Resume::kAuto)->manifest.generation, 2u);
  EXPECT_EQ(posix_fs().list(folder / "ckpt").size(), 4u);  // three steps and the best hint
}

TEST(CheckpointStore, FillsTensorsInPlace) {
  Fixture f;
  f.store().save(sample_state(12), false);
  TrainingState destination = sample_state(99);
  const void* before = destination.model[0].tensor.ptr();
  load_checkpoint(f.fs, "/run/ckpt/step_00000012", destination);
  EXPECT_EQ(destination.model[0].tensor.ptr(), before);
  EXPECT_TRUE(same_state(destination, sample_state(12)));
}

TEST(CheckpointStore, RefusesAnotherModelBeforeTouchingIt) {
  Fixture f;
  f.store().save(sample_state(12), false);
  const auto refused = [&](const std::function<void(TrainingState&)>& change, const std::string& reason) {
    TrainingState destination = sample_state(99);
    change(destination);
    const auto [code, message] = error_of([&] { load_checkpoint(f.fs, "/run/ckpt/step_00000012", destination); });
    EXPECT_EQ(code, ExitCode::kData);
    EXPECT_THAT(message, HasSubstr(reason));
    EXPECT_EQ(std::memcmp(destination.model[0].tensor.ptr(), sample_state(99).model[0].tensor.ptr(), 16), 0);
  };
  refused([](auto& s) { s.model.pop_back(); }, "has the tensor 'empty', which this model doesn't have");
  refused([](auto& s) { s.model.push_back({"more", Tensor::zeros({1}, DType::kF32)}); }, "has no tensor 'more'");
  refused([](auto& s) { s.optimizer[1].tensor = Tensor::zeros({5, 3}, DType::kF32); }, "got (3, 5) f32, want (5, 3) f32");
  refused([](auto& s) { s.optimizer[1].tensor = Tensor::zeros({3, 5}, DType::kF64); }, "got (3, 5) f32, want (3, 5) f64");
}

TEST(CheckpointStore, AutoIsAFreshStartOnlyWhenThereIsNothing) {
  Fixture f;
  EXPECT_FALSE(f.store().find(Resume::kAuto).has_value());
  EXPECT_EQ(error_of([&] { f.store().find(Resume::kLatest); }).first, ExitCode::kNoInput);
  f.store().save(sample_state(1), false);
  f.damage(1);
  const auto [code, message] = error_of([&] { f.store().find(Resume::kAuto); });
  EXPECT_EQ(code, ExitCode::kData);
  EXPECT_THAT(message, HasSubstr("none of them whole"));
}

TEST(CheckpointStore, DamagedNewestIsNamedAndPassedOver) {
  Fixture f;
  for (const std::uint64_t step : {1, 2, 3}) f.store().save(sample_state(step), false);
  f.damage(3);
  EXPECT_EQ(f.store().find(Resume::kAuto)->manifest.facts.step, 2u);
  ASSERT_EQ(f.warnings.size(), 1u);
  EXPECT_THAT(f.warnings[0], HasSubstr("step_00000003 is damaged and passed over: model.safetensors, tensor 'bytes' at byte "));
  EXPECT_THAT(f.warnings[0], HasSubstr("expected "));
  f.fs.contents("/run/ckpt/step_00000002/MANIFEST.pb").clear();
  EXPECT_EQ(f.store().find(Resume::kLatest)->manifest.facts.step, 1u);
}

TEST(CheckpointStore, ExplicitPathIsNeverReplacedSilently) {
  Fixture f;
  for (const std::uint64_t step : {1, 2, 3}) f.store().save(sample_state(step), false);
  EXPECT_EQ(f.store().find(Resume::kPath, "/run/ckpt/step_00000001")->manifest.facts.step, 1u);
  EXPECT_EQ(f.store().find(Resume::kPath, "/run/ckpt/step_00000001/")->manifest.facts.step, 1u);
  EXPECT_EQ(f.store().find(Resume::kPath, "/run")->manifest.facts.step, 3u);
  EXPECT_EQ(f.store().find(Resume::kPath, "/run/ckpt")->manifest.facts.step, 3u);
  EXPECT_EQ(error_of([&] { f.store().find(Resume::kPath, "/run/ckpt/step_00000004"); }).first, ExitCode::kNoInput);
  EXPECT_EQ(error_of([&] { f.store().find(Resume::kPath, "/"); }).first, ExitCode::kNoInput);
  f.damage(3);
  const auto [code, message] = error_of([&] { f.store().find(Resume::kPath, "/run/ckpt/step_00000003"); });
  EXPECT_EQ(code, ExitCode::kData);
  EXPECT_THAT(message, HasSubstr("resume from the newest good one, /run/ckpt/step_00000002"));
  f.fs.unlink("/run/ckpt/step_00000003/MANIFEST.pb");
  EXPECT_EQ(error_of([&] { f.store().find(Resume::kPath, "/run/ckpt/step_00000003"); }).first, ExitCode::kData);
}

TEST(CheckpointStore, BestIsTheNewestThatWasBest) {
  Fixture f;
  EXPECT_EQ(error_of([&] { f.store().find(Resume::kBest); }).first, ExitCode::kNoInput);
  f.store().save(sample_state(1), true);
  f.store().save(sample_state(2), true);
  f.store().save(sample_state(3), false);
  EXPECT_EQ(f.store().find(Resume::kBest)->manifest.facts.step, 2u);
  EXPECT_EQ(f.fs.contents("/run/ckpt/best"), "step_00000002\n");
  f.damage(2);
  EXPECT_EQ(f.store().find(Resume::kBest)->manifest.facts.step, 1u);
}

TEST(CheckpointStore, KeepsTheLastOnesEveryNthAndTheBest) {
  Fixture f;
  f.options.keep_last = 2;
  f.options.keep_every = 4;
  CheckpointStore store = f.store();
  for (std::uint64_t step = 1; step <= 9; ++step) store.save(sample_state(step), step == 3 || step == 5);
  EXPECT_THAT(f.names(), ElementsAre("best", "step_00000004", "step_00000005", "step_00000008", "step_00000009"));
}

TEST(CheckpointStore, ADamagedOneDoesNotCountAmongTheKept) {
  Fixture f;
  f.options.keep_last = 2;
  for (std::uint64_t step = 1; step <= 3; ++step) f.store().save(sample_state(step), false);
  f.damage(3);
  f.store().save(sample_state(4), false);
  EXPECT_THAT(f.names(), ElementsAre("step_00000002", "step_00000003", "step_00000004"));
  EXPECT_EQ(error_of([&] { f.options.keep_last = 1, f.store(); }).first, ExitCode::kUsage);
}

TEST(CheckpointStore, SameStateTwiceIsOneSave) {
  Fixture f;
  EXPECT_FALSE(f.store().save(sample_state(1), false).already_there);
  f.options.generation = 2;  // resumed, and asked to stop at once
  EXPECT_TRUE(f.store().save(sample_state(1), false).already_there);
  TrainingState other = sample_state(1);
  other.seed = 43;
  EXPECT_FALSE(f.store().save(other, false).already_there);
  EXPECT_EQ(load(f.fs, "/run/ckpt/step_00000001").seed, 43u);
  f.damage(1);
  EXPECT_FALSE(f.store().save(other, false).already_there);
  EXPECT_TRUE(verify_checkpoint(f.fs, "/run/ckpt/step_00000001").empty());
}

TEST(CheckpointStore, TheSameStateSavedAgainAsTheBestIsMarked) {
  for (const bool can_exchange : {true, false}) {
    Fixture f;
    f.fs.can_exchange = can_exchange;
    f.options.keep_last = 2;
    f.store().save(sample_state(1), true);
    f.store().save(sample_state(2), false);
    EXPECT_EQ(f.store().find(Resume::kBest)->manifest.facts.step, 1u);
    const SaveReport again = f.store().save(sample_state(2), true);
    EXPECT_TRUE(again.already_there);
    EXPECT_EQ(again.digest, state_digest(sample_state(2)));
    const CheckpointInfo best = *f.store().find(Resume::kBest);
    EXPECT_EQ(best.manifest.facts.step, 2u);
    EXPECT_TRUE(same_state(load(f.fs, best.path), sample_state(2)));
    EXPECT_THAT(f.fs.contents(best.path + "/manifest.json"), HasSubstr("\"is_best\": true"));
    EXPECT_EQ(f.fs.contents("/run/ckpt/best"), "step_00000002\n");
    f.store().save(sample_state(2), false);  // not the best by another measure: the mark stays
    EXPECT_TRUE(f.store().find(Resume::kAuto)->manifest.is_best);
    for (const std::uint64_t step : {3, 4, 5}) f.store().save(sample_state(step), false);
    EXPECT_THAT(f.names(), ElementsAre("best", "step_00000002", "step_00000004", "step_00000005"));
    EXPECT_TRUE(f.warnings.empty());
  }
}

TEST(CheckpointStore, AMarkThatCannotBeWrittenIsAWarningAndLosesNothing) {
  for (int at = 1;; ++at) {
    Fixture f;
    f.store().save(sample_state(1), false);
    FaultFs faulty(f.fs);
    faulty.fail_at = at;
    CheckpointStore store("/run/ckpt", faulty, f.options);
    const auto [code, message] = error_of([&] { store.save(sample_state(1), true); });
    EXPECT_TRUE(code == ExitCode::kOk || code == ExitCode::kIo) << message;
    EXPECT_TRUE(same_state(load(f.fs, f.store().find(Resume::kAuto)->path), sample_state(1))) << "call " << at;
    const bool marked = f.store().find(Resume::kAuto)->manifest.is_best;
    EXPECT_TRUE(marked || code == ExitCode::kIo || !f.warnings.empty()) << "silent, call " << at;
    f.store().save(sample_state(1), true);
    EXPECT_EQ(f.store().find(Resume::kBest)->manifest.facts.step, 1u);
    EXPECT_THAT(f.names(), ElementsAre("best", "step_00000001"));
    if (faulty.failures == 0) {
      EXPECT_GT(at, 20) << "calls on the way";
      break;
    }
  }
}

TEST(CheckpointStore, ARolledBackRunWinsOverTheOneItLeft) {
  for (const bool can_exchange : {true, false}) {
    Fixture f;
    f.fs.can_exchange = can_exchange;
    for (const std::uint64_t step : {10, 20, 30}) f.store().save(sample_state(step), false);
    f.options.generation = 2;
    f.options.run_id = "second";
    f.store().save(sample_state(20), false);
    EXPECT_EQ(f.store().find(Resume::kAuto)->manifest.facts.step, 20u);
    EXPECT_EQ(f.store().newest_generation(), 2u);
    EXPECT_THAT(f.names(), ElementsAre("step_00000010", "step_00000020", "step_00000030"));
  }
}

TEST(CheckpointStore, StaleFoldersOfOurNamesAreRemovedAndNothingElse) {
  Fixture f;
  f.store().save(sample_state(1), false);
  for (const char* name : {"step_00000002.tmp.7", "step_00000001.trash.7", "step_0002.tmp.7", "notes.tmp.7", "step_00000003.tmp."})
    f.fs.make_directory(std::string("/run/ckpt/") + name);
  f.fs.close(f.fs.open_new("/run/ckpt/step_00000002.tmp.7/model.safetensors"));
  f.fs.close(f.fs.open_new("/run/ckpt/best.tmp.7"));
  f.store().remove_stale();
  EXPECT_THAT(f.names(), ElementsAre("notes.tmp.7", "step_00000001", "step_00000003.tmp.", "step_0002.tmp.7"));
}

TEST(CheckpointStore, AFencedWriterPublishesNothing) {
  Fixture f;
  f.store().save(sample_state(1), false);
  f.options.fence = [] { throw EnvironmentError("another job", ExitCode::kCantCreate); };
  EXPECT_EQ(error_of([&] { f.store().save(sample_state(2), true); }).first, ExitCode::kCantCreate);
  EXPECT_THAT(f.names(), ElementsAre("step_00000001"));
}

TEST(CheckpointStore, AMovedCheckpointIsFoundByPathButNotByAWrongName) {
  Fixture f;
  f.store().save(sample_state(1), false);
  f.store().save(sample_state(2), false);
  f.fs.rename("/run/ckpt/step_00000002", "/run/copy");
  EXPECT_EQ(f.store().find(Resume::kPath, "/run/copy")->manifest.facts.step, 2u);
  f.fs.rename("/run/copy", "/run/ckpt/step_00000003");
  EXPECT_EQ(f.store().find(Resume::kAuto)->manifest.facts.step, 1u);
  EXPECT_THAT(f.warnings.at(0), HasSubstr("holds step 2, want step 3 by its name"));
}

// Re-seals a changed manifest, as a newer lockstep would have written it.
std::string resealed(const std::string& bytes, const std::function<void(proto::CheckpointManifest&)>& change) {
  proto::CheckpointEnvelope envelope;
  proto::CheckpointManifest manifest;
  EXPECT_TRUE(envelope.ParseFromString(bytes) && manifest.ParseFromString(envelope.manifest()));
  change(manifest);
  envelope.set_manifest(manifest.SerializeAsString());
  const std::string hex = hash_128(envelope.manifest()).hex();
  std::string raw;
  for (std::size_t i = 0; i < 32; i += 2) raw += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  envelope.set_xxh3_128(raw);
  return envelope.SerializeAsString();
}

TEST(CheckpointStore, RefusesNewerVersionsAndFeaturesByName) {
  Fixture f;
  f.store().save(sample_state(1), false);
  std::string& stored = f.fs.contents("/run/ckpt/step_00000001/MANIFEST.pb");
  const std::string original = stored;
  const auto refusal = [&](const std::function<void(proto::CheckpointManifest&)>& change) {
    stored = resealed(original, change);
    return error_of([&] { load(f.fs, "/run/ckpt/step_00000001"); }).second;
  };
  EXPECT_EQ(refusal([](auto&) {}), "");
  EXPECT_THAT(refusal([](auto& m) { m.set_version(2); }), HasSubstr("got format version 2, this lockstep reads up to 1"));
  EXPECT_THAT(refusal([](auto& m) { m.add_must_understand("sharded"); }), HasSubstr("needs the feature 'sharded'"));
  EXPECT_THAT(refusal([](auto& m) { m.mutable_files(0)->set_name("../secret"); }), HasSubstr("want exactly the files"));
  EXPECT_THAT(refusal([](auto& m) { m.mutable_position()->set_step(2); }), HasSubstr("state digest"));
  EXPECT_THAT(refusal([](auto& m) { m.mutable_files(0)->mutable_tensors(1)->set_shape(0, -1); }), HasSubstr("impossible shape"));
}

TEST(CheckpointStore, TooManyBadSamplesAreRefusedWithTheReason) {
  Fixture f;
  TrainingState state = sample_state(1);
  state.bad_samples.assign(20000, {std::string(60, 'p'), "truncated"});
  const auto [code, message] = error_of([&] { f.store().save(state, false); });
  EXPECT_EQ(code, ExitCode::kData);
  EXPECT_THAT(message, HasSubstr("20000 bad samples"));
  EXPECT_TRUE(f.names().empty());
}

}  // namespace
}  // namespace lockstep::test
