// SPDX-License-Identifier: Apache-2.0
#include "train/checkpoint/state.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "train/checkpoint/row_major.h"
#include "train/checkpoint/safetensors.h"

namespace lockstep {
namespace {

void append_tensors(std::string& text, const char* group, std::vector<DigestLine> lines) {
  std::sort(lines.begin(), lines.end(), [](const DigestLine& a, const DigestLine& b) { return a.name < b.name; });
  for (const DigestLine& line : lines) {
    fmt::format_to(std::back_inserter(text), "{} {}:{} {} [{}] {}\n", group, line.name.size(), line.name,
                   safetensors_dtype(line.dtype), fmt::join(extents_of(line.shape), ","), line.hash.hex());
  }
}

template <class Value>
void compare(std::vector<std::string>& out, const char* what, const Value& saved, const Value& current) {
  if (saved != current) out.push_back(fmt::format("{}: saved {}, now {}", what, saved, current));
}

}  // namespace

std::vector<DigestLine> digest_lines(std::span<const NamedView> tensors) {
  std::vector<DigestLine> lines;
  std::vector<std::byte> scratch;
  Hasher hasher;
  for (const NamedView& tensor : tensors) {
    hasher.reset();
    for_each_row_major_piece(tensor.view, scratch,
                             [&](const void* bytes, std::size_t nbytes) { hasher.update(bytes, nbytes); });
    lines.push_back({tensor.name, tensor.view.dtype, tensor.view.shape, hasher.value()});
  }
  return lines;
}

std::string state_digest(const TrainingState& position, std::vector<DigestLine> model, std::vector<DigestLine> optimizer) {
  std::string text = fmt::format("lockstep training state 1\nstep {}\nepoch {}\nsamples_in_epoch {}\nseed {}\n", position.step,
                                 position.epoch, position.samples_in_epoch, position.seed);
  for (const auto& [name, value] : position.counters)
    fmt::format_to(std::back_inserter(text), "counter {}:{} {}\n", name.size(), name, value);
  append_tensors(text, "model", std::move(model));
  append_tensors(text, "optimizer", std::move(optimizer));
  return hash_128(text).hex();
}

std::string state_digest(const TrainingState& state) {
  return state_digest(state, digest_lines(views_of(state.model)), digest_lines(views_of(state.optimizer)));
}

std::vector<NamedView> views_of(std::span<const NamedTensor> tensors) {
  std::vector<NamedView> views;
  views.reserve(tensors.size());
  for (const NamedTensor& tensor : tensors) views.push_back({tensor.name, tensor.tensor});
  return views;
}

ContractDifferences contract_differences(const TrainingState& saved, const TrainingState& current) {
  ContractDifferences out;
  const RunContract& a = saved.contract;
  const RunContract& b = current.contract;
  compare(out.breaking, "seed", saved.seed, current.seed);
  compare(out.breaking, "shard_batch", a.shard_batch, b.shard_batch);
  compare(out.breaking, "shards", a.shards, b.shards);
  compare(out.breaking, "batch-norm scope", a.bn_scope, b.bn_scope);
  compare(out.breaking, "data set", a.dataset_digest, b.dataset_digest);
  compare(out.bits, "reduction", a.reduction, b.reduction);
  compare(out.bits, "wire dtype", a.wire_dtype, b.wire_dtype);
  compare(out.bits, "threads per shard", a.threads_per_shard, b.threads_per_shard);
  compare(out.bits, "config", a.config_digest, b.config_digest);
  compare(out.bits, "build", saved.provenance.build_id, current.provenance.build_id);
  compare(out.bits, "CPU instruction set", saved.provenance.cpu_isa, current.provenance.cpu_isa);
  for (const auto& [library, version] : current.provenance.libraries) {
    const auto found = saved.provenance.libraries.find(library);
    compare(out.bits, library.c_str(), found == saved.provenance.libraries.end() ? std::string("none") : found->second, version);
  }
  return out;
}

}  // namespace lockstep
