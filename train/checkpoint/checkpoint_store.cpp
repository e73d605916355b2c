// The writing half: the protocol of docs/checkpoint_format.md, and retention. Kill points mark every step of it.
// SPDX-License-Identifier: Apache-2.0
#include "train/checkpoint/checkpoint_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "train/checkpoint/killpoint.h"

namespace lockstep {
namespace {

constexpr char kTemporaryMark[] = ".tmp.";
constexpr char kTrashMark[] = ".trash.";
constexpr char kBestHintName[] = "best";

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::int64_t wall_clock_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// "step_00000010.tmp.<run id>", "step_00000010.trash.<run id>", "best.tmp.<run id>": nothing else is ever removed.
bool is_stale_name(const std::string& name) {
  for (const std::string mark : {kTemporaryMark, kTrashMark}) {
    const std::size_t at = name.find(mark);
    if (at == std::string::npos || at + mark.size() == name.size()) continue;
    const std::string stem = name.substr(0, at);
    return step_of_name(stem).has_value() || (stem == kBestHintName && mark == kTemporaryMark);
  }
  return false;
}

void remove_anything(Fs& fs, const std::string& path) {
  const auto status = fs.status(path);
  if (!status) return;
  status->kind == FileKind::kDirectory ? remove_flat_directory(fs, path) : fs.unlink(path);
}

// While another error is on its way: what can't be removed now is removed by the next attempt or the next start.
void remove_quietly(Fs& fs, const std::string& path) {
  try {
    remove_anything(fs, path);
  } catch (const FsError&) {
  }
}

ManifestFile listed(const char* name, const SafetensorsWritten& written) {
  ManifestFile file{name, written.nbytes, written.hash, {}};
  for (std::size_t i = 0; i < written.entries.size(); ++i) file.tensors.push_back({written.entries[i], written.hashes[i]});
  return file;
}

void write_whole(Fs& fs, const std::string& path, const std::string& text) {
  OutputFile file(fs, path, text.size());
  file.append(text.data(), text.size());
  file.finish();
}

}  // namespace

CheckpointStore::CheckpointStore(std::string directory, Fs& fs, CheckpointOptions options)
    : directory_(std::move(directory)), fs_(fs), options_(std::move(options)) {
  if (options_.keep_last < 2)
    throw UserError(fmt::format("checkpoint.keep_last: got {}, want at least 2 (a damaged newest one needs a predecessor)",
                                options_.keep_last));
  if (options_.keep_best < 0) throw UserError(fmt::format("checkpoint.keep_best: got {}, want 0 or more", options_.keep_best));
  LS_CHECK(!options_.run_id.empty() && options_.run_id.find_first_of("/.") == std::string::npos, "run id '" + options_.run_id + "'");
}

SaveReport CheckpointStore::save(const TrainingState& state, bool is_best) {
  TrainingState facts = state;
  facts.model.clear();
  facts.optimizer.clear();
  return save(facts, views_of(state.model), views_of(state.optimizer), is_best);
}

SaveReport CheckpointStore::save(const TrainingState& facts, std::span<const NamedView> model,
                                 std::span<const NamedView> optimizer, bool is_best) {
  const auto start = std::chrono::steady_clock::now();
  SaveReport report;
  std::optional<Manifest> there = same_state_that_is_there(facts, model, optimizer);
  if (there) {
    report.step = facts.step;
    report.path = join_path(directory_, checkpoint_name(facts.step));
    report.digest = there->state_digest;
    report.already_there = true;
  } else {
    Manifest manifest;
    manifest.generation = options_.generation;
    manifest.is_best = is_best;
    manifest.saved_at_s = wall_clock_s();
    manifest.facts = facts;
    try {
      report = write_and_publish(std::move(manifest), model, optimizer);
    } catch (const FsError& error) {
      throw EnvironmentError(fmt::format("checkpoint of step {} was not saved: {}; earlier checkpoints in {} are intact",
                                         facts.step, error.what(), directory_), ExitCode::kIo);
    }
  }
  report.seconds = seconds_since(start);
  verified_.insert(report.path);
  try {  // The state is safe: what follows is housekeeping.
    if (is_best && there && !there->is_best) mark_best(report.path, std::move(*there));
    if (is_best) write_best_hint(report.path);
    report.removed = retain();
  } catch (const FsError& error) {
    options_.warn(fmt::format("checkpoint of step {} is saved, but: {}", facts.step, error.what()));
  }
  LS_KILLPOINT("ckpt.done");
  return report;
}

// Resumed and asked to save at once, or a periodic and a last save of one step. It must be the newest of all: an older
// one with this step belongs to a run that was rolled back, and resuming must not prefer that run's later steps.
std::optional<Manifest> CheckpointStore::same_state_that_is_there(const TrainingState& facts, std::span<const NamedView> model,
                                                                  std::span<const NamedView> optimizer) const {
  const std::string path = join_path(directory_, checkpoint_name(facts.step));
  if (suspect_.contains(path) || !fs_.status(path)) return std::nullopt;
  std::vector<CheckpointInfo> all = list();
  if (all.empty() || all.front().path != path) return std::nullopt;
  const std::string digest = state_digest(facts, digest_lines(model), digest_lines(optimizer));
  if (all.front().manifest.state_digest != digest || !verify_checkpoint(fs_, path).empty()) return std::nullopt;
  return std::move(all.front().manifest);
}

// Only the manifest changes, and a file's name can be taken over in one step on every file system: a crash leaves the
// checkpoint whole, with the mark or without. (Swapping folders would put it at risk where that takes two steps.)
void CheckpointStore::mark_best(const std::string& path, Manifest manifest) {
  manifest.is_best = true;
  const std::string encoded = encode_manifest(manifest);
  options_.fence();
  replace_in(path, kReadableManifestName, manifest_json(manifest));
  replace_in(path, kManifestName, encoded);
  fs_.sync_directory(path);
  LS_KILLPOINT("ckpt.after_mark");
}

// The new file waits beside the checkpoint, under a name that cleaning up knows, not inside it.
void CheckpointStore::replace_in(const std::string& path, const std::string& name, const std::string& text) {
  const std::string temporary = path + kTemporaryMark + options_.run_id;
  remove_anything(fs_, temporary);
  try {
    write_whole(fs_, temporary, text);
    if (read_small_file(fs_, temporary, text.size()) != text)
      throw EnvironmentError(path + ": what was written does not read back; disk or memory is failing", ExitCode::kIo);
    LS_KILLPOINT("ckpt.before_mark");
    fs_.rename(temporary, join_path(path, name));
  } catch (...) {
    remove_quietly(fs_, temporary);
    throw;
  }
}

SaveReport CheckpointStore::write_and_publish(Manifest manifest, std::span<const NamedView> model,
                                              std::span<const NamedView> optimizer) {
  SaveReport report;
  report.step = manifest.facts.step;
  report.path = join_path(directory_, checkpoint_name(report.step));
  const std::string temporary = report.path + kTemporaryMark + options_.run_id;
  if (!fs_.status(directory_)) {
    fs_.make_directory(directory_);
    fs_.sync_directory(parent_path(directory_));
  }
  LS_KILLPOINT("ckpt.begin");
  try {
    remove_anything(fs_, temporary);  // of an earlier attempt that could not even clean up
    fs_.make_directory(temporary);
    write_files(temporary, manifest, model, optimizer, report);
    const std::vector<Damage> damages = verify_checkpoint(fs_, temporary);
    if (!damages.empty())
      throw EnvironmentError(fmt::format("checkpoint of step {}: what was written does not read back: {}; disk or memory is "
                                         "failing", report.step, damages.front().str()), ExitCode::kIo);
    LS_KILLPOINT("ckpt.after_verify");
    options_.fence();
    give_final_name(temporary, report.path);
  } catch (...) {
    remove_quietly(fs_, temporary);
    throw;
  }
  LS_KILLPOINT("ckpt.after_rename");
  suspect_.insert(report.path);
  fs_.sync_directory(directory_);
  suspect_.erase(report.path);
  LS_KILLPOINT("ckpt.after_dir_sync");
  return report;
}

void CheckpointStore::write_files(const std::string& folder, Manifest& manifest, std::span<const NamedView> model,
                                  std::span<const NamedView> optimizer, SaveReport& report) {
  LS_KILLPOINT("ckpt.after_mkdir");
  const std::map<std::string, std::string> metadata = {{"format", "pt"}};
  manifest.files.push_back(listed(kModelFileName, write_safetensors(fs_, join_path(folder, kModelFileName), model, metadata)));
  LS_KILLPOINT("ckpt.after_model");
  manifest.files.push_back(
      listed(kOptimizerFileName, write_safetensors(fs_, join_path(folder, kOptimizerFileName), optimizer, metadata)));
  LS_KILLPOINT("ckpt.after_optim");
  manifest.state_digest = report.digest = digest_of(manifest);
  const std::string readable = manifest_json(manifest);
  write_whole(fs_, join_path(folder, kReadableManifestName), readable);
  LS_KILLPOINT("ckpt.before_manifest");
  const std::string encoded = encode_manifest(manifest);
  write_whole(fs_, join_path(folder, kManifestName), encoded);
  LS_KILLPOINT("ckpt.after_manifest");
  fs_.sync_directory(folder);
  report.nbytes = readable.size() + encoded.size();
  for (const ManifestFile& file : manifest.files) report.nbytes += file.nbytes;
}

// A checkpoint of the same step may be there: damaged, or of an older generation that this run has left behind. The two
// swap names. Where the file system can't, the old one steps aside first; a crash in between loses only that one.
void CheckpointStore::give_final_name(const std::string& temporary, const std::string& path) {
  if (!fs_.status(path)) return fs_.rename(temporary, path);
  verified_.erase(path);
  if (fs_.exchange(temporary, path)) return;
  const std::string trash = path + kTrashMark + options_.run_id;
  remove_anything(fs_, trash);
  fs_.rename(path, trash);
  LS_KILLPOINT("ckpt.after_replace");
  fs_.rename(temporary, path);
}

void CheckpointStore::write_best_hint(const std::string& path) {
  replace_small_file(fs_, join_path(directory_, kBestHintName), file_name(path) + "\n", options_.run_id);
  LS_KILLPOINT("ckpt.after_best");
}

bool CheckpointStore::is_whole(const std::string& path) {
  if (verified_.contains(path)) return true;
  if (!verify_checkpoint(fs_, path).empty()) return false;
  verified_.insert(path);
  return true;
}

// Keeps the newest `keep_last` that are whole and whatever is newer than those; of the older ones every `keep_every`th
// step and the newest `keep_best` best ones.
int CheckpointStore::retain() {
  int whole = 0, best = 0, removed = 0;
  for (const CheckpointInfo& info : list()) {
    const bool is_kept_best = info.manifest.is_best && best < options_.keep_best && is_whole(info.path);
    if (is_kept_best) ++best;
    if (whole < options_.keep_last) {
      if (is_whole(info.path)) ++whole;
      continue;
    }
    const bool forever = options_.keep_every > 0 && info.manifest.facts.step % options_.keep_every == 0;
    if (forever || is_kept_best) continue;
    remove_checkpoint(info.path);
    ++removed;
  }
  // Whatever else bears this run's temporary names was replaced, or left by a failure.
  for (const DirectoryEntry& entry : fs_.list(directory_))
    if (entry.name.ends_with("." + options_.run_id) && is_stale_name(entry.name))
      remove_anything(fs_, join_path(directory_, entry.name));
  if (removed > 0) fs_.sync_directory(directory_);
  LS_KILLPOINT("ckpt.after_retention");
  return removed;
}

// Renamed first: a half-removed checkpoint never bears a checkpoint's name.
void CheckpointStore::remove_checkpoint(const std::string& path) {
  const std::string trash = path + kTrashMark + options_.run_id;
  fs_.rename(path, trash);
  fs_.sync_directory(directory_);
  verified_.erase(path);
  LS_KILLPOINT("ckpt.after_trash");
  remove_anything(fs_, trash);
}

void CheckpointStore::remove_stale() {
  if (!fs_.status(directory_)) return;
  bool any = false;
  for (const DirectoryEntry& entry : fs_.list(directory_)) {
    if (!is_stale_name(entry.name)) continue;
    remove_anything(fs_, join_path(directory_, entry.name));
    any = true;
  }
  if (any) fs_.sync_directory(directory_);
}

}  // namespace lockstep
