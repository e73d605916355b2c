// Reading checkpoints: manifest, verification, loading.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "train/checkpoint/checkpoint_store.h"

namespace lockstep {
namespace {

// The file as the manifest says it is, header included: otherwise UserError(kData).
SafetensorsFile open_listed(Fs& fs, const std::string& path, const ManifestFile& listed) {
  SafetensorsFile file(fs, join_path(path, listed.name));
  const auto& entries = file.header().entries;
  const bool same = file.header().file_nbytes == listed.nbytes &&
                    std::equal(entries.begin(), entries.end(), listed.tensors.begin(), listed.tensors.end(),
                               [](const SafetensorsEntry& a, const ManifestTensor& b) {
                                 return a.name == b.entry.name && a.dtype == b.entry.dtype && a.shape == b.entry.shape &&
                                        a.offset == b.entry.offset && a.nbytes == b.entry.nbytes;
                               });
  if (!same) throw UserError(file.file().path() + ": its header is not the one that the manifest describes", ExitCode::kData);
  return file;
}

void verify_file(Fs& fs, const std::string& path, const ManifestFile& listed, std::vector<Damage>& damages) {
  const InputFile file(fs, join_path(path, listed.name));
  if (file.nbytes() != listed.nbytes) {
    damages.push_back({listed.name, "", std::min(file.nbytes(), listed.nbytes), fmt::format("{} bytes", listed.nbytes),
                       fmt::format("{} bytes", file.nbytes())});
    return;
  }
  const Hash128 got = file.hash(0, file.nbytes());
  if (got == listed.hash) {
    open_listed(fs, path, listed);
    return;
  }
  const std::size_t before = damages.size();
  for (const ManifestTensor& tensor : listed.tensors) {
    const Hash128 part = file.hash(tensor.entry.offset, tensor.entry.nbytes);
    if (!(part == tensor.hash))
      damages.push_back({listed.name, tensor.entry.name, tensor.entry.offset, tensor.hash.hex(), part.hex()});
  }
  if (damages.size() == before) damages.push_back({listed.name, "", 0, listed.hash.hex(), got.hex()});
}

// Names, shapes and dtypes that the caller brings against the file's.
void check_destination(const std::string& where, const ManifestFile& listed, const std::vector<NamedTensor>& wanted) {
  const auto has = [&](const std::string& name) {
    return std::any_of(wanted.begin(), wanted.end(), [&](const NamedTensor& t) { return t.name == name; });
  };
  for (const ManifestTensor& tensor : listed.tensors)
    if (!has(tensor.entry.name))
      throw UserError(fmt::format("{}: {} has the tensor '{}', which this model doesn't have: was it saved by another model? "
                                  "(compare the checkpoint's config_text in manifest.json)",
                                  where, listed.name, tensor.entry.name), ExitCode::kData);
  for (const NamedTensor& tensor : wanted) {
    const auto found = std::find_if(listed.tensors.begin(), listed.tensors.end(),
                                    [&](const ManifestTensor& t) { return t.entry.name == tensor.name; });
    if (found == listed.tensors.end())
      throw UserError(fmt::format("{}: {} has no tensor '{}', which this model wants: was it saved by another model?", where,
                                  listed.name, tensor.name), ExitCode::kData);
    if (!(found->entry.shape == tensor.tensor.shape()) || found->entry.dtype != tensor.tensor.dtype())
      throw UserError(fmt::format("{}: {}, tensor '{}': got {} {}, want {} {}: was it saved by another model?", where,
                                  listed.name, tensor.name, found->entry.shape.str(), dtype_name(found->entry.dtype),
                                  tensor.tensor.shape().str(), dtype_name(tensor.tensor.dtype())), ExitCode::kData);
  }
}

void load_tensors(Fs& fs, const std::string& path, const ManifestFile& listed, std::vector<NamedTensor>& tensors) {
  const SafetensorsFile file = open_listed(fs, path, listed);
  if (tensors.empty())
    for (const ManifestTensor& tensor : listed.tensors)
      tensors.push_back({tensor.entry.name, Tensor::empty(tensor.entry.shape, tensor.entry.dtype)});
  for (const ManifestTensor& tensor : listed.tensors) {
    const auto destination = std::find_if(tensors.begin(), tensors.end(),
                                          [&](const NamedTensor& t) { return t.name == tensor.entry.name; });
    const Hash128 got = file.read(tensor.entry, destination->tensor);
    if (!(got == tensor.hash))
      throw UserError(path + ": damaged: " +
                          Damage{listed.name, tensor.entry.name, tensor.entry.offset, tensor.hash.hex(), got.hex()}.str(),
                      ExitCode::kData);
  }
}

}  // namespace

std::string Damage::str() const {
  const std::string where = tensor.empty() ? fmt::format("{} at byte {}", file, offset)
                                           : fmt::format("{}, tensor '{}' at byte {}", file, tensor, offset);
  return fmt::format("{}: expected {}, got {}", where, expected, got);
}

Manifest read_manifest(Fs& fs, const std::string& path) {
  const auto status = fs.status(path);
  if (!status || status->kind != FileKind::kDirectory)
    throw UserError(path + ": no such checkpoint (want a folder with " + kManifestName + ")", ExitCode::kNoInput);
  const std::string file = join_path(path, kManifestName);
  return decode_manifest(read_small_file(fs, file, kManifestCapBytes), file);
}

std::vector<Damage> verify_checkpoint(Fs& fs, const std::string& path) {
  std::vector<Damage> damages;
  std::string current = kManifestName;
  try {
    const Manifest manifest = read_manifest(fs, path);
    for (const ManifestFile& file : manifest.files) {
      current = file.name;
      verify_file(fs, path, file, damages);
    }
  } catch (const Error& error) {
    damages.push_back({current, "", 0, "a readable, valid file", error.what()});
  }
  return damages;
}

void load_checkpoint(Fs& fs, const std::string& path, TrainingState& state) {
  const Manifest manifest = read_manifest(fs, path);
  const std::array<std::vector<NamedTensor>*, 2> lists = {&state.model, &state.optimizer};
  for (std::size_t i = 0; i < lists.size(); ++i)
    if (!lists[i]->empty()) check_destination(path, manifest.files.at(i), *lists[i]);
  for (std::size_t i = 0; i < lists.size(); ++i) load_tensors(fs, path, manifest.files.at(i), *lists[i]);
  TrainingState loaded = manifest.facts;
  loaded.model = std::move(state.model);
  loaded.optimizer = std::move(state.optimizer);
  state = std::move(loaded);
}

}  // namespace lockstep
