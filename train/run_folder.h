// RunFolder: what a run leaves on the disk. Rank 0 only.
//
//     run_dir/config.pbtxt            the config as given          run.json          what ran, where, by whom
//     run_dir/config.effective.pbtxt  every value and its origin   metrics.jsonl, metrics.csv, events.out.tfevents.*
//     run_dir/ckpt/step_00012345/     checkpoints                  logs/rank0000.log
//     run_dir/classes.txt             names of the classes, if they have any
//     run_dir/bad_samples.tsv         training samples that could not be read, if there are any
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>

#include "train/checkpoint/checkpoint_store.h"
#include "train/checkpoint/run_lock.h"
#include "train/checkpoint/saver.h"
#include "train/config/config.h"

namespace lockstep {

// What --resume said. `where` is a path for Resume::kPath.
struct ResumeRequest {
  bool given = false;
  Resume how = Resume::kAuto;
  std::string where;
};
ResumeRequest parse_resume(const std::string& text);  // "", "auto", "latest", "best" or a path

class RunFolder {
 public:
  // Makes and locks the folder, removes what crashed runs left, decides where to begin. Throws UserError: kCantCreate when
  // the folder holds a run that was not to be resumed, or is in use; kNoInput/kData as CheckpointStore::find says.
  // Forks the saver's helper process: make it before the process grows. `on_saved` is called by saver()'s functions.
  RunFolder(const LoadedConfig& loaded, const ResumeRequest& resume, std::function<void(const std::string&)> warn,
            std::function<void(const SaveReport&)> on_saved);

  const std::string& path() const { return path_; }
  std::string checkpoints() const { return path_ + "/ckpt"; }
  const std::optional<CheckpointInfo>& resume_from() const { return resume_from_; }  // absent: a fresh start
  CheckpointSaver& saver() { return *saver_; }
  // Writes config.effective.pbtxt, config.pbtxt and run.json.
  void describe(const LoadedConfig& loaded, int ranks, std::int64_t start_step);
  // Writes classes.txt: a line for each, in the order of the labels. Nothing for classes without names.
  void name_classes(std::span<const std::string> names);
  // Writes bad_samples.tsv: a line for each, name and reason.
  void list_bad_samples(const std::map<std::string, std::string>& samples);

 private:
  std::string path_;
  std::optional<RunLock> lock_;
  std::optional<CheckpointStore> store_;
  std::unique_ptr<CheckpointSaver> saver_;
  std::optional<CheckpointInfo> resume_from_;
  std::optional<std::jthread> heartbeat_;  // ends before the lock is released
};

// The run folder or checkpoint that a user names: the checkpoint itself, or the run's newest whole one.
CheckpointInfo find_checkpoint(const std::string& path, bool best = false);

}  // namespace lockstep
