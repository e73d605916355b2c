// TrainingState: everything that a checkpoint holds, and the digest that names it.
//
// A training step is a pure function of (config, data manifest, step number, weights), so this is short: weights,
// momentum, running statistics, and where in the data the run stands. Two runs are the same run when their digests are
// equal. Tensors are shared handles on host memory; nothing here copies one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "train/checkpoint/hash.h"

namespace lockstep {

struct NamedTensor {
  std::string name;
  Tensor tensor;  // host memory; rank 4 lies channels-last, as everywhere
};

// The same without ownership: what the writing half works on.
struct NamedView {
  std::string name;
  ConstView view;
};

// What the bits of a step depend on besides the state itself. A resumed run must agree; see contract_differences().
struct RunContract {
  std::int64_t shard_batch = 0;        // samples in one shard
  std::int64_t shards = 0;             // V: shards in one global batch
  std::int64_t threads_per_shard = 0;
  std::string reduction;               // "EXACT", "FAST"
  std::string bn_scope;                // "SHARD", "GROUP(4)", "GLOBAL"
  std::string wire_dtype;              // element type on the network: "f32", "bf16"
  std::string dataset_digest;          // of the data manifest
  std::string config_digest;           // of the canonical config
  std::string config_text;             // the canonical config itself
  std::map<std::string, std::string> choices;  // Kernels::choices(): a resumed run takes the same
};

// Where and by what it was made. Recorded for people and for warnings, never part of the digest.
struct Provenance {
  std::string build_id;
  std::map<std::string, std::string> libraries;  // name -> version
  std::string cpu_isa;                           // "avx512"
  std::int64_t world_size = 0;
  std::string host;
};

struct QuarantinedSample {
  std::string sample;  // path or index
  std::string reason;
  bool operator==(const QuarantinedSample&) const = default;
};

struct TrainingState {
  // Position
  std::uint64_t step = 0;              // optimizer steps done
  std::uint64_t epoch = 0;             // of the next sample, from 0
  std::uint64_t samples_in_epoch = 0;  // consumed by all ranks together
  std::uint64_t seed = 0;
  std::map<std::string, std::int64_t> counters;  // other integers that the next step depends on
  // Tensors, names unique in each list
  std::vector<NamedTensor> model;      // parameters and buffers by torchvision's names; num_batches_tracked is i64, rank 0
  std::vector<NamedTensor> optimizer;  // "momentum.<parameter>"; with an average: "average.<parameter or buffer>"
  // Carried along
  RunContract contract;
  std::vector<QuarantinedSample> bad_samples;
  std::optional<double> best_metric;            // best evaluation so far, larger is better
  std::map<std::string, double> accumulators;   // running sums of metrics, exact to the bit
  Provenance provenance;
};

// Names, shapes, types and row-major bytes of all tensors, step, position and seed: 32 hex digits. Metrics, bad samples,
// contract and provenance are left out. docs/checkpoint_format.md spells out the text that is hashed. Reads all tensors
// once (about 0.1 s for ResNet-50 with momentum).
std::string state_digest(const TrainingState& state);

// The parts of it, for the code that has the tensors' hashes already.
struct DigestLine {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  Hash128 hash;
};
std::string state_digest(const TrainingState& position, std::vector<DigestLine> model, std::vector<DigestLine> optimizer);
std::vector<DigestLine> digest_lines(std::span<const NamedView> tensors);

std::vector<NamedView> views_of(std::span<const NamedTensor> tensors);

// What differs between the run that saved and the run that wants to go on. Each line says what, saved and current.
struct ContractDifferences {
  std::vector<std::string> breaking;  // another training run: shard sizes, reduction, batch norm, data, seed
  std::vector<std::string> bits;      // the same run, but equal bits are not promised: threads, build, libraries, ISA, config
};
ContractDifferences contract_differences(const TrainingState& saved, const TrainingState& current);

}  // namespace lockstep
