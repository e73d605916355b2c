// CheckpointStore: a folder of checkpoints, one sub-folder per step, that survives crashes, power cuts, full disks and
// bit rot. docs/checkpoint_format.md has the protocol and the format.
//
// The promise: after save() has returned, that state or a later one can be loaded, bit for bit, whatever happens next;
// and a damaged checkpoint is refused, never loaded with other values.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "train/checkpoint/fs.h"
#include "train/checkpoint/manifest.h"
#include "train/checkpoint/state.h"

namespace lockstep {

struct CheckpointOptions {
  int keep_last = 3;             // newest verified ones; at least 2
  std::uint64_t keep_every = 0;  // steps divisible by this are kept for good; 0: none
  int keep_best = 1;             // newest ones that were saved as the best so far
  std::uint64_t generation = 1;  // RunLock::generation()
  std::string run_id = "0";      // goes into temporary names: letters, digits, '-'
  // Called before a checkpoint gets its final name: throws when another run has taken over. See RunLock::fence().
  std::function<void()> fence = [] {};
  // Told about what went wrong without being fatal: damaged checkpoints passed over, old ones that can't be removed.
  std::function<void(const std::string&)> warn = [](const std::string&) {};
};

struct SaveReport {
  std::uint64_t step = 0;
  std::string path;
  std::string digest;
  std::uint64_t nbytes = 0;  // written
  double seconds = 0;        // until durable, read back and verified
  int removed = 0;           // old checkpoints
  double snapshot_seconds = 0;  // that the training loop stood still (CheckpointSaver)
  bool already_there = false;  // the same state is the newest checkpoint: at most its best mark was written
};

// One thing found wrong.
struct Damage {
  std::string file;
  std::string tensor;        // empty: the file as a whole, or its header
  std::uint64_t offset = 0;  // of the tensor in the file
  std::string expected, got;
  std::string str() const;   // "model.safetensors, tensor 'fc.weight' at byte 1234: expected ..., got ..."
};

struct CheckpointInfo {
  std::string path;
  Manifest manifest;
};

enum class Resume : std::uint8_t { kAuto, kLatest, kBest, kPath };

class CheckpointStore {
 public:
  // `directory` need not exist: the first save makes it (its parent must exist). `fs` outlives the store.
  CheckpointStore(std::string directory, Fs& fs, CheckpointOptions options = {});

  const std::string& directory() const { return directory_; }
  const CheckpointOptions& options() const { return options_; }

  // Blocks until the state is durable and verified. On any failure the unfinished folder is removed, older checkpoints
  // are as they were, and an EnvironmentError (kIo) says what failed.
  SaveReport save(const TrainingState& state, bool is_best);
  // The same for tensors that somebody else owns; `facts` holds no tensors.
  SaveReport save(const TrainingState& facts, std::span<const NamedView> model, std::span<const NamedView> optimizer, bool is_best);

  // All complete checkpoints whose manifest can be read, newest (generation, then step) first. Tensors are not read.
  // Unreadable manifests are passed over and, when `unreadable` is given, listed there.
  std::vector<CheckpointInfo> list(std::vector<std::string>* unreadable = nullptr) const;
  std::uint64_t newest_generation() const;  // 0 when there is none

  // The checkpoint to resume from. kAuto: the newest verified one; nothing at all: nullopt (a fresh start); only damaged
  // ones: UserError(kData), for starting afresh would throw the run away unasked. kLatest: the same, but nothing is
  // kNoInput. kBest: the newest verified one that was the best so far. kPath: `path` is a checkpoint, or a run folder or
  // checkpoint folder (then its latest); missing is kNoInput, damaged kData with the newest good one named.
  std::optional<CheckpointInfo> find(Resume resume, const std::string& path = "") const;

  // Removes what crashed runs left behind (temporary and half-removed folders by our naming). Only for the lock's holder.
  void remove_stale();

 private:
  SaveReport write_and_publish(Manifest manifest, std::span<const NamedView> model, std::span<const NamedView> optimizer);
  void write_files(const std::string& folder, Manifest& manifest, std::span<const NamedView> model,
                   std::span<const NamedView> optimizer, SaveReport& report);
  void give_final_name(const std::string& temporary, const std::string& path);
  std::optional<Manifest> same_state_that_is_there(const TrainingState& facts, std::span<const NamedView> model,
                                                   std::span<const NamedView> optimizer) const;
  void mark_best(const std::string& path, Manifest manifest);
  void replace_in(const std::string& path, const std::string& name, const std::string& text);
  void write_best_hint(const std::string& path);
  int retain();
  bool is_whole(const std::string& path);
  void remove_checkpoint(const std::string& path);
  std::optional<CheckpointInfo> newest_whole(const std::vector<CheckpointInfo>& candidates) const;
  std::optional<CheckpointInfo> find_newest(bool best_only, const std::string& what) const;
  CheckpointInfo find_path(const std::string& path) const;

  std::string directory_;
  Fs& fs_;
  CheckpointOptions options_;
  std::set<std::string> verified_;  // whole, as far as this process knows
  std::set<std::string> suspect_;   // published, but the folder's sync failed: may vanish in a power cut
};

std::string checkpoint_name(std::uint64_t step);                       // "step_00012345"
std::optional<std::uint64_t> step_of_name(const std::string& name);    // nothing for other names

// The manifest of a checkpoint folder, validated. UserError: kNoInput when the folder or the manifest is missing, kData
// when it is damaged.
Manifest read_manifest(Fs& fs, const std::string& path);

// Reads every byte of a checkpoint and compares all hashes. Empty: it is whole. Never throws for damage.
std::vector<Damage> verify_checkpoint(Fs& fs, const std::string& path);

// Loads all of it. Tensors that `state` brings are filled in place: names, shapes and dtypes must agree with the file's
// (UserError kData, before anything is written); an empty list is allocated. Every tensor's hash is checked on the way:
// on a mismatch UserError(kData) is thrown and the tensors' values are unspecified, so verify (find() does) first.
void load_checkpoint(Fs& fs, const std::string& path, TrainingState& state);

}  // namespace lockstep
