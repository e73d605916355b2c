// Which checkpoint to resume from.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "train/checkpoint/checkpoint_store.h"

namespace lockstep {
namespace {

constexpr std::size_t kStepDigits = 8;

bool newer(const CheckpointInfo& a, const CheckpointInfo& b) {
  return std::pair(a.manifest.generation, a.manifest.facts.step) > std::pair(b.manifest.generation, b.manifest.facts.step);
}

}  // namespace

std::string checkpoint_name(std::uint64_t step) { return fmt::format("step_{:08}", step); }

std::optional<std::uint64_t> step_of_name(const std::string& name) {
  constexpr std::string_view kPrefix = "step_";
  if (!name.starts_with(kPrefix) || name.size() < kPrefix.size() + kStepDigits) return std::nullopt;
  std::uint64_t step = 0;
  const auto [end, error] = std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), step);
  if (error != std::errc{} || end != name.data() + name.size() || checkpoint_name(step) != name) return std::nullopt;
  return step;
}

std::vector<CheckpointInfo> CheckpointStore::list(std::vector<std::string>* unreadable) const {
  std::vector<CheckpointInfo> found;
  if (!fs_.status(directory_)) return found;
  for (const DirectoryEntry& entry : fs_.list(directory_)) {
    const auto step = step_of_name(entry.name);
    if (!step || entry.kind != FileKind::kDirectory) continue;
    const std::string path = join_path(directory_, entry.name);
    try {
      CheckpointInfo info{path, read_manifest(fs_, path)};
      if (info.manifest.facts.step != *step)
        throw UserError(fmt::format("{}: holds step {}, want step {} by its name", path, info.manifest.facts.step, *step),
                        ExitCode::kData);
      found.push_back(std::move(info));
    } catch (const Error& error) {
      if (unreadable != nullptr) unreadable->push_back(error.what());
    }
  }
  std::sort(found.begin(), found.end(), newer);
  return found;
}

std::uint64_t CheckpointStore::newest_generation() const {
  const std::vector<CheckpointInfo> all = list();
  return all.empty() ? 0 : all.front().manifest.generation;
}

std::optional<CheckpointInfo> CheckpointStore::newest_whole(const std::vector<CheckpointInfo>& candidates) const {
  for (const CheckpointInfo& candidate : candidates) {
    const std::vector<Damage> damages = verify_checkpoint(fs_, candidate.path);
    if (damages.empty()) return candidate;
    options_.warn(fmt::format("checkpoint {} is damaged and passed over: {}{}", candidate.path, damages.front().str(),
                              damages.size() > 1 ? fmt::format(" (and {} more)", damages.size() - 1) : ""));
  }
  return std::nullopt;
}

std::optional<CheckpointInfo> CheckpointStore::find_newest(bool best_only, const std::string& what) const {
  std::vector<std::string> unreadable;
  std::vector<CheckpointInfo> candidates = list(&unreadable);
  for (const std::string& problem : unreadable) options_.warn("checkpoint passed over: " + problem);
  const std::size_t all = candidates.size() + unreadable.size();
  if (best_only) std::erase_if(candidates, [](const CheckpointInfo& c) { return !c.manifest.is_best; });
  if (auto found = newest_whole(candidates)) return found;
  if (!candidates.empty() || (all > 0 && !best_only))
    throw UserError(fmt::format("{}: {} checkpoint(s), none of them whole (see the warnings above): restore one from a copy, or "
                                "start afresh in another run folder",
                                directory_, best_only ? candidates.size() : all), ExitCode::kData);
  if (what.empty()) return std::nullopt;
  throw UserError(fmt::format("{}: no {} checkpoint to resume from: want a folder step_NNNNNNNN there; --resume auto starts "
                              "afresh when there is none", directory_, what), ExitCode::kNoInput);
}

CheckpointInfo CheckpointStore::find_path(const std::string& path) const {
  const auto status = fs_.status(path);
  if (!status || status->kind != FileKind::kDirectory)
    throw UserError(path + ": no such checkpoint folder to resume from" +
                        (status ? " (got a file or a link, want a folder)" : ""), ExitCode::kNoInput);
  // A run folder or a folder of checkpoints stands for its latest one.
  for (const std::string& folder : {join_path(path, "ckpt"), path}) {
    const auto found = fs_.status(folder);
    if (!found || found->kind != FileKind::kDirectory) continue;
    const auto entries = fs_.list(folder);
    if (std::none_of(entries.begin(), entries.end(), [](const auto& e) { return step_of_name(e.name).has_value(); })) continue;
    return *CheckpointStore(folder, fs_, options_).find(Resume::kLatest);
  }
  if (!step_of_name(file_name(path)) && !fs_.status(join_path(path, kManifestName)))
    throw UserError(path + ": holds no checkpoint to resume from (want a folder step_NNNNNNNN with MANIFEST.pb)", ExitCode::kNoInput);
  const std::vector<Damage> damages = verify_checkpoint(fs_, path);
  if (damages.empty()) return {path, read_manifest(fs_, path)};
  const CheckpointStore siblings(parent_path(path), fs_, options_);
  const auto good = siblings.newest_whole(siblings.list());
  throw UserError(fmt::format("{}: this checkpoint is damaged: {}; {}", path, damages.front().str(),
                              good ? "resume from the newest good one, " + good->path : "no good one is beside it"),
                  ExitCode::kData);
}

std::optional<CheckpointInfo> CheckpointStore::find(Resume resume, const std::string& path) const {
  switch (resume) {
    case Resume::kAuto: return find_newest(false, "");
    case Resume::kLatest: return find_newest(false, "complete");
    case Resume::kBest: return find_newest(true, "best");
    case Resume::kPath: return find_path(path);
  }
  throw InternalError("find: unknown resume mode");
}

}  // namespace lockstep
