// The readable copy of the manifest: for people, jq and scripts. lockstep never reads it.
// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "train/checkpoint/manifest.h"

namespace lockstep {
namespace {

using Json = nlohmann::ordered_json;

Json tensors_json(const std::vector<ManifestTensor>& tensors) {
  Json list = Json::array();
  for (const ManifestTensor& tensor : tensors) {
    list.push_back({{"name", tensor.entry.name}, {"dtype", std::string(safetensors_dtype(tensor.entry.dtype))},
                    {"shape", extents_of(tensor.entry.shape)}, {"offset", tensor.entry.offset}, {"nbytes", tensor.entry.nbytes},
                    {"xxh3_128", tensor.hash.hex()}});
  }
  return list;
}

Json contract_json(const RunContract& contract) {
  return {{"shard_batch", contract.shard_batch}, {"shards", contract.shards},
          {"threads_per_shard", contract.threads_per_shard}, {"reduction", contract.reduction},
          {"bn_scope", contract.bn_scope}, {"wire_dtype", contract.wire_dtype},
          {"dataset_digest", contract.dataset_digest}, {"config_digest", contract.config_digest},
          {"config_text", contract.config_text}, {"choices", contract.choices}};
}

}  // namespace

std::string manifest_json(const Manifest& manifest) {
  const TrainingState& facts = manifest.facts;
  Json json = {{"note", "readable copy of MANIFEST.pb, which alone counts"}, {"version", manifest.version},
               {"generation", manifest.generation}, {"is_best", manifest.is_best},
               {"state_digest", manifest.state_digest}, {"saved_at_s", manifest.saved_at_s}, {"step", facts.step},
               {"epoch", facts.epoch}, {"samples_in_epoch", facts.samples_in_epoch}, {"seed", facts.seed},
               {"counters", facts.counters}, {"contract", contract_json(facts.contract)}};
  json["best_metric"] = facts.best_metric ? Json(*facts.best_metric) : Json(nullptr);
  json["accumulators"] = facts.accumulators;
  json["bad_samples"] = Json::array();
  for (const QuarantinedSample& bad : facts.bad_samples)
    json["bad_samples"].push_back({{"sample", bad.sample}, {"reason", bad.reason}});
  json["provenance"] = {{"build_id", facts.provenance.build_id}, {"libraries", facts.provenance.libraries},
                        {"cpu_isa", facts.provenance.cpu_isa}, {"world_size", facts.provenance.world_size},
                        {"host", facts.provenance.host}};
  json["files"] = Json::array();
  for (const ManifestFile& file : manifest.files)
    json["files"].push_back({{"name", file.name}, {"nbytes", file.nbytes}, {"xxh3_128", file.hash.hex()},
                             {"tensors", tensors_json(file.tensors)}});
  // Names and reasons may come from damaged data: bytes that aren't UTF-8 are replaced, not an error.
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace lockstep
