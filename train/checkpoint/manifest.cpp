// SPDX-License-Identifier: Apache-2.0
#include "train/checkpoint/manifest.h"

#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <array>

#include "proto/checkpoint.pb.h"

namespace lockstep {
namespace {

constexpr std::uint32_t kVersion = 1;
constexpr int kRecursionLimit = 100;

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw UserError(where + ": damaged or not a checkpoint manifest: " + what, ExitCode::kData);
}

void encode_files(const Manifest& manifest, proto::CheckpointManifest& out) {
  for (const ManifestFile& file : manifest.files) {
    auto& to = *out.add_files();
    to.set_name(file.name);
    to.set_nbytes(file.nbytes);
    to.set_xxh3_128(file.hash.hex());
    for (const ManifestTensor& tensor : file.tensors) {
      auto& item = *to.add_tensors();
      item.set_name(tensor.entry.name);
      item.set_dtype(std::string(safetensors_dtype(tensor.entry.dtype)));
      for (const std::int64_t extent : extents_of(tensor.entry.shape)) item.add_shape(extent);
      item.set_offset(tensor.entry.offset);
      item.set_nbytes(tensor.entry.nbytes);
      item.set_xxh3_128(tensor.hash.hex());
    }
  }
}

void encode_facts(const TrainingState& facts, proto::CheckpointManifest& out) {
  auto& position = *out.mutable_position();
  position.set_step(facts.step);
  position.set_epoch(facts.epoch);
  position.set_samples_in_epoch(facts.samples_in_epoch);
  position.set_seed(facts.seed);
  for (const auto& [name, value] : facts.counters) {
    auto& counter = *position.add_counters();
    counter.set_name(name);
    counter.set_value(value);
  }
  auto& contract = *out.mutable_contract();
  contract.set_shard_batch(facts.contract.shard_batch);
  contract.set_shards(facts.contract.shards);
  contract.set_threads_per_shard(facts.contract.threads_per_shard);
  contract.set_reduction(facts.contract.reduction);
  contract.set_bn_scope(facts.contract.bn_scope);
  contract.set_wire_dtype(facts.contract.wire_dtype);
  contract.set_dataset_digest(facts.contract.dataset_digest);
  contract.set_config_digest(facts.contract.config_digest);
  contract.set_config_text(facts.contract.config_text);
  for (const auto& [problem, choice] : facts.contract.choices) {
    auto& item = *contract.add_choices();
    item.set_problem(problem);
    item.set_choice(choice);
  }
}

void encode_reports(const TrainingState& facts, proto::CheckpointManifest& out) {
  auto& progress = *out.mutable_progress();
  for (const QuarantinedSample& bad : facts.bad_samples) {
    auto& item = *progress.add_bad_samples();
    item.set_sample(bad.sample);
    item.set_reason(bad.reason);
  }
  if (facts.best_metric) progress.set_best_metric(*facts.best_metric);
  for (const auto& [name, value] : facts.accumulators) {
    auto& item = *progress.add_accumulators();
    item.set_name(name);
    item.set_value(value);
  }
  auto& provenance = *out.mutable_provenance();
  provenance.set_build_id(facts.provenance.build_id);
  for (const auto& [name, version] : facts.provenance.libraries) {
    auto& item = *provenance.add_libraries();
    item.set_name(name);
    item.set_version(version);
  }
  provenance.set_cpu_isa(facts.provenance.cpu_isa);
  provenance.set_world_size(facts.provenance.world_size);
  provenance.set_host(facts.provenance.host);
}

void decode_facts(const proto::CheckpointManifest& in, TrainingState& facts) {
  facts.step = in.position().step();
  facts.epoch = in.position().epoch();
  facts.samples_in_epoch = in.position().samples_in_epoch();
  facts.seed = in.position().seed();
  for (const auto& counter : in.position().counters()) facts.counters[counter.name()] = counter.value();
  const auto& contract = in.contract();
  facts.contract = {contract.shard_batch(), contract.shards(), contract.threads_per_shard(), contract.reduction(),
                    contract.bn_scope(), contract.wire_dtype(), contract.dataset_digest(), contract.config_digest(),
                    contract.config_text(), {}};
  for (const auto& item : contract.choices()) facts.contract.choices[item.problem()] = item.choice();
  for (const auto& bad : in.progress().bad_samples()) facts.bad_samples.push_back({bad.sample(), bad.reason()});
  if (in.progress().has_best_metric()) facts.best_metric = in.progress().best_metric();
  for (const auto& item : in.progress().accumulators()) facts.accumulators[item.name()] = item.value();
  const auto& provenance = in.provenance();
  facts.provenance.build_id = provenance.build_id();
  for (const auto& item : provenance.libraries()) facts.provenance.libraries[item.name()] = item.version();
  facts.provenance.cpu_isa = provenance.cpu_isa();
  facts.provenance.world_size = provenance.world_size();
  facts.provenance.host = provenance.host();
}

DType dtype_from(const std::string& word, const std::string& where) {
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kBF16, DType::kF16, DType::kU8, DType::kI32, DType::kI64})
    if (safetensors_dtype(dtype) == word) return dtype;
  refuse(where, "unknown dtype '" + word + "'");
}

ManifestTensor decode_tensor(const proto::CheckpointTensor& in, const std::string& where) {
  ManifestTensor out;
  out.entry = {in.name(), dtype_from(in.dtype(), where), {}, in.offset(), in.nbytes()};
  if (in.shape_size() > Shape::kMaxRank) refuse(where, "tensor '" + in.name() + "' has more than 5 dimensions");
  std::uint64_t nbytes = dtype_size(out.entry.dtype);
  for (const std::int64_t extent : in.shape())
    if (extent < 0 || __builtin_mul_overflow(nbytes, static_cast<std::uint64_t>(extent), &nbytes))
      refuse(where, "tensor '" + in.name() + "' has an impossible shape");
  out.entry.shape = shape_from(std::vector<std::int64_t>(in.shape().begin(), in.shape().end()));
  if (nbytes != in.nbytes()) refuse(where, "tensor '" + in.name() + "': shape and bytes disagree");
  if (!Hash128::parse(in.xxh3_128(), out.hash)) refuse(where, "tensor '" + in.name() + "' has no hash");
  return out;
}

void decode_files(const proto::CheckpointManifest& in, Manifest& out, const std::string& where) {
  for (const auto& from : in.files()) {
    ManifestFile file{from.name(), from.nbytes(), {}, {}};
    if (!Hash128::parse(from.xxh3_128(), file.hash)) refuse(where, "file '" + file.name + "' has no hash");
    for (const auto& tensor : from.tensors()) file.tensors.push_back(decode_tensor(tensor, where));
    out.files.push_back(std::move(file));
  }
  // The names are fixed, so a manifest can't lead a reader to any other file.
  if (out.files.size() != 2 || out.files[0].name != kModelFileName || out.files[1].name != kOptimizerFileName)
    refuse(where, "want exactly the files model.safetensors and optim.safetensors");
}

bool parse_bounded(std::string_view bytes, google::protobuf::MessageLite& out) {
  google::protobuf::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()));
  google::protobuf::io::CodedInputStream coded(&stream);
  coded.SetTotalBytesLimit(static_cast<int>(kManifestCapBytes));
  coded.SetRecursionLimit(kRecursionLimit);
  return out.ParseFromCodedStream(&coded) && coded.ConsumedEntireMessage();
}

std::string canonical_bytes(const Hash128& hash) {
  std::string bytes(16, '\0');
  for (std::size_t i = 0; i < 8; ++i) {
    bytes[7 - i] = static_cast<char>(hash.high >> (8 * i));
    bytes[15 - i] = static_cast<char>(hash.low >> (8 * i));
  }
  return bytes;
}

}  // namespace

std::string encode_manifest(const Manifest& manifest) {
  proto::CheckpointManifest out;
  out.set_version(manifest.version);
  for (const std::string& word : manifest.must_understand) out.add_must_understand(word);
  out.set_generation(manifest.generation);
  out.set_is_best(manifest.is_best);
  out.set_state_digest(manifest.state_digest);
  out.set_saved_at_s(manifest.saved_at_s);
  encode_files(manifest, out);
  encode_facts(manifest.facts, out);
  encode_reports(manifest.facts, out);
  proto::CheckpointEnvelope envelope;
  envelope.set_manifest(out.SerializeAsString());
  envelope.set_xxh3_128(canonical_bytes(hash_128(envelope.manifest())));
  std::string bytes = envelope.SerializeAsString();
  if (bytes.size() > kManifestCapBytes)
    throw UserError(fmt::format("checkpoint: the manifest would have {} bytes, want at most {}: {} bad samples are listed; "
                                "clean the data set or lower the budget of bad samples",
                                bytes.size(), kManifestCapBytes, manifest.facts.bad_samples.size()), ExitCode::kData);
  return bytes;
}

Manifest decode_manifest(std::string_view bytes, const std::string& where) {
  if (bytes.size() > kManifestCapBytes)
    refuse(where, fmt::format("{} bytes, want at most {}", bytes.size(), kManifestCapBytes));
  proto::CheckpointEnvelope envelope;
  if (!parse_bounded(bytes, envelope)) refuse(where, "not a protobuf message");
  const Hash128 got = hash_128(envelope.manifest());
  // Encoding the envelope again must give the same bytes: no stray field can hide next to the hashed part.
  if (canonical_bytes(got) != envelope.xxh3_128() || envelope.SerializeAsString() != bytes)
    refuse(where, "its checksum does not match (computed " + got.hex() + ")");
  proto::CheckpointManifest in;
  if (!parse_bounded(envelope.manifest(), in)) refuse(where, "not a protobuf message");
  if (in.version() > kVersion || in.version() == 0)
    throw UserError(fmt::format("{}: got format version {}, this lockstep reads up to {}: use a newer lockstep", where,
                                in.version(), kVersion), ExitCode::kData);
  for (const std::string& word : in.must_understand())
    throw UserError(where + ": needs the feature '" + word + "', which this lockstep doesn't know: use a newer lockstep",
                    ExitCode::kData);
  Manifest out;
  out.version = in.version();
  out.generation = in.generation();
  out.is_best = in.is_best();
  out.state_digest = in.state_digest();
  out.saved_at_s = in.saved_at_s();
  decode_files(in, out, where);
  decode_facts(in, out.facts);
  if (const std::string digest = digest_of(out); digest != out.state_digest)
    refuse(where, "state digest: stored " + out.state_digest + ", computed " + digest);
  return out;
}

std::string digest_of(const Manifest& manifest) {
  std::array<std::vector<DigestLine>, 2> lines;
  for (std::size_t i = 0; i < manifest.files.size(); ++i)
    for (const ManifestTensor& tensor : manifest.files[i].tensors)
      lines.at(i).push_back({tensor.entry.name, tensor.entry.dtype, tensor.entry.shape, tensor.hash});
  return state_digest(manifest.facts, std::move(lines[0]), std::move(lines[1]));
}

}  // namespace lockstep
