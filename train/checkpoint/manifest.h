// Manifest: MANIFEST.pb in memory. What a checkpoint's folder holds, with the hash of every file and tensor, and the
// training state without its tensors. Encoding is deterministic; decoding trusts nothing.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "train/checkpoint/safetensors.h"
#include "train/checkpoint/state.h"

namespace lockstep {

inline constexpr char kManifestName[] = "MANIFEST.pb";
inline constexpr char kReadableManifestName[] = "manifest.json";
inline constexpr char kModelFileName[] = "model.safetensors";
inline constexpr char kOptimizerFileName[] = "optim.safetensors";
inline constexpr std::uint64_t kManifestCapBytes = std::uint64_t{1} << 20;

struct ManifestTensor {
  SafetensorsEntry entry;
  Hash128 hash;
};

struct ManifestFile {
  std::string name;
  std::uint64_t nbytes = 0;
  Hash128 hash;
  std::vector<ManifestTensor> tensors;  // in file order
};

struct Manifest {
  std::uint32_t version = 1;
  std::vector<std::string> must_understand;
  std::uint64_t generation = 0;
  bool is_best = false;
  std::string state_digest;
  std::int64_t saved_at_s = 0;
  std::vector<ManifestFile> files;  // model, optimizer
  TrainingState facts;              // tensor lists are empty
};

// UserError when it would exceed 1 MiB (thousands of bad samples).
std::string encode_manifest(const Manifest& manifest);

// Validates the hash, the version, the must-understand words, file and tensor names, dtypes, shapes, and that
// state_digest follows from the tensors' hashes. UserError(kData); `where` names the file.
Manifest decode_manifest(std::string_view bytes, const std::string& where);

// The readable copy.
std::string manifest_json(const Manifest& manifest);

// state_digest of what the manifest lists.
std::string digest_of(const Manifest& manifest);

}  // namespace lockstep
