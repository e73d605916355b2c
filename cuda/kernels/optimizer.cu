// DeviceOptimizer: tables, scratch and launches.
// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/optimizer.h"

#include <cstring>
#include <string>

#include "core/accelerator.h"
#include "core/error.h"
#include "cuda/kernels/step_verdict.h"

namespace lockstep::cuda {
namespace {

void want_f32(const char* what, DType dtype) {
  if (dtype != DType::kF32)
    throw EnvironmentError(std::string("cuda: ") + what + " can't take " + std::string(dtype_name(dtype)) + "; the GPU's parameters are f32");
}

TensorEntry entry_of(const SgdTensor& tensor, double lr) {
  for (const ConstView& view : {ConstView(tensor.value), ConstView(tensor.momentum), tensor.grad}) {
    want_f32("an optimizer step", view.dtype);
    LS_CHECK(view.numel() == tensor.value.numel(), "optimizer: " + view.shape.str() + " beside a value of " + tensor.value.shape.str());
  }
  const DType compute = tensor.compute ? tensor.compute.dtype : DType::kF32;
  LS_CHECK(!tensor.compute || ((compute == DType::kBF16 || compute == DType::kF16) && tensor.compute.numel() == tensor.value.numel()),
           "optimizer: compute copy " + std::string(dtype_name(compute)) + " " + tensor.compute.shape.str());
  TensorEntry entry{.value = tensor.value.data<float>(), .momentum = tensor.momentum.data<float>(), .compute = tensor.compute.ptr,
                    .grad = tensor.grad.data<float>(), .numel = tensor.value.numel(), .weight_decay = tensor.weight_decay, .lr = lr,
                    .compute_dtype = compute};
  entry.aligned = packs_aligned<4>(entry.value) && packs_aligned<4>(entry.momentum) && packs_aligned<4>(entry.grad) &&
                  packs_aligned<4>(static_cast<const std::uint16_t*>(entry.compute));
  return entry;
}

Tensor uploaded(MemoryPool& pool, const void* host, std::size_t nbytes) {
  Tensor source = Tensor::empty({static_cast<std::int64_t>(nbytes)}, DType::kU8);
  if (nbytes > 0) std::memcpy(source.ptr(), host, nbytes);
  Tensor copy = Tensor::empty_in(pool, source.shape(), DType::kU8);
  copy_contents(source, copy);
  return copy;
}

// One list of tensors and its chunks, on the host and on the device.
template <class Entry>
struct Table {
  std::vector<Entry> entries;
  std::int64_t chunks = 0;
  Tensor on_device, owners_on_device;
  const Entry* device_entries = nullptr;
  const std::int32_t* owners = nullptr;
};

// All lists that a call ever brought: what was recorded may be replayed at any time, so none is given up.
template <class Entry>
class Tables {
 public:
  std::vector<Entry>& begin_list() {
    wanted_.clear();
    return wanted_;
  }
  // The table of the list that begin_list() was filled with.
  const Table<Entry>& find(MemoryPool& pool) {
    number(wanted_);
    for (const auto& table : tables_)
      if (table->entries == wanted_) return *table;
    auto table = std::make_unique<Table<Entry>>();
    table->entries = wanted_;
    const std::vector<std::int32_t> owners = place_chunks(std::span(table->entries));
    table->chunks = static_cast<std::int64_t>(owners.size());
    table->on_device = uploaded(pool, table->entries.data(), table->entries.size() * sizeof(Entry));
    table->owners_on_device = uploaded(pool, owners.data(), owners.size() * sizeof(std::int32_t));
    table->device_entries = static_cast<const Entry*>(table->on_device.ptr());
    table->owners = static_cast<const std::int32_t*>(table->owners_on_device.ptr());
    tables_.push_back(std::move(table));
    return *tables_.back();
  }

 private:
  static void number(std::vector<Entry>& entries) {
    std::int64_t chunk = 0;
    for (Entry& entry : entries) {
      entry.first_chunk = chunk;
      chunk += chunks_of(entry.numel);
    }
  }

  std::vector<Entry> wanted_;
  std::vector<std::unique_ptr<Table<Entry>>> tables_;
};

// finish_step's scratch, in doubles: 8 bytes a chunk and 88 bytes a tensor, about twice that with LARS.
struct StepScratch {
  StepScratch(Device device, std::int64_t tensors, std::int64_t chunks, int norms)
      : memory(Tensor::empty({2 + 2 * tensors + norms * (chunks + tensors + tensors * JudgeStep::kLanes)}, DType::kF64, device)),
        verdict(static_cast<Verdict*>(memory.ptr())),
        rates(static_cast<double*>(memory.ptr()) + 2),
        ratios(rates + tensors),
        chunk_sums(ratios + tensors),
        squares(chunk_sums + norms * chunks),
        lane_sums(squares + norms * tensors) {}
  Tensor memory;
  Verdict* verdict;
  double *rates, *ratios, *chunk_sums, *squares, *lane_sums;
};
static_assert(sizeof(Verdict) == 2 * sizeof(double));

}  // namespace

class DeviceOptimizer::Impl {
 public:
  explicit Impl(Device device) : device_(device), pool_(accelerator_of(device).make_pool()) {}

  const Table<TensorEntry>& table_of(std::span<const SgdTensor> tensors, bool with_rates) {
    std::vector<TensorEntry>& list = tensors_.begin_list();
    for (const SgdTensor& tensor : tensors) list.push_back(entry_of(tensor, with_rates ? tensor.lr : 0));
    return tensors_.find(*pool_);
  }

  const Table<TensorEntry>& table_of(std::span<const ConstView> tensors) {
    std::vector<TensorEntry>& list = tensors_.begin_list();
    for (const ConstView& tensor : tensors) {
      want_f32("squared_norm", tensor.dtype);
      const float* x = tensor.data<float>();
      list.push_back({.grad = x, .numel = tensor.numel(), .aligned = packs_aligned<4>(x)});
    }
    return tensors_.find(*pool_);
  }

  const Table<AverageEntry>& table_of(std::span<const AverageTensor> averages, bool with_momentum) {
    std::vector<AverageEntry>& list = averages_.begin_list();
    for (const AverageTensor& average : averages) {
      want_f32("moving_average", average.value.dtype);
      LS_CHECK(average.value.numel() == average.observed.numel(), "moving average of " + average.observed.shape.str());
      AverageEntry entry{.value = average.value.data<float>(), .observed = average.observed.data<float>(), .numel = average.value.numel()};
      entry.aligned = packs_aligned<4>(entry.value) && packs_aligned<4>(entry.observed);
      if (with_momentum) entry.keep = static_cast<float>(1.0 - average.momentum), entry.take = static_cast<float>(average.momentum);
      list.push_back(entry);
    }
    return averages_.find(*pool_);
  }

  Device device() const { return device_; }

 private:
  const Device device_;
  const std::unique_ptr<MemoryPool> pool_;  // the tables' own: other pools may end before a recording that reads them
  Tables<TensorEntry> tensors_;
  Tables<AverageEntry> averages_;
};

DeviceOptimizer::DeviceOptimizer(Device device) : impl_(std::make_unique<Impl>(device)) {}
DeviceOptimizer::~DeviceOptimizer() = default;

// The rates change from step to step: they come as arguments, kRates tensors to a launch, and the table stays.
void DeviceOptimizer::sgd_step(Stream stream, std::span<const SgdTensor> tensors, const SgdParams& params) {
  const Table<TensorEntry>& table = impl_->table_of(tensors, false);
  for (std::size_t first = 0; first < tensors.size(); first += UpdateAtRates::kRates) {
    const std::size_t end = std::min(tensors.size(), first + UpdateAtRates::kRates);
    const std::int64_t first_chunk = table.entries[first].first_chunk;
    const std::int64_t end_chunk = end < tensors.size() ? table.entries[end].first_chunk : table.chunks;
    UpdateAtRates update{.tensors = table.device_entries, .owners = table.owners, .first_chunk = first_chunk,
                         .first_tensor = static_cast<std::int32_t>(first), .momentum = static_cast<float>(params.momentum),
                         .grad_scale = params.grad_scale, .nesterov = params.nesterov, .rates = {}, .ratios = {}};
    for (std::size_t i = first; i < end; ++i) {
      update.rates[i - first] = static_cast<float>(tensors[i].lr);
      update.ratios[i - first] = static_cast<float>(tensors[i].ratio);
    }
    launch(stream, {.x = end_chunk - first_chunk}, update);
  }
}

void DeviceOptimizer::squared_norm(Stream stream, std::span<const ConstView> tensors, View result) {
  const Table<TensorEntry>& table = impl_->table_of(tensors);
  Tensor sums = Tensor::empty({table.chunks}, DType::kF64, impl_->device());  // 8 bytes a chunk
  auto* chunk_sums = static_cast<double*>(sums.ptr());
  launch(stream, {.x = table.chunks}, ChunkNorms{table.device_entries, table.owners, chunk_sums});
  launch(stream, {}, AddAll{chunk_sums, table.chunks, result.data<double>()});
}

void DeviceOptimizer::finish_step(Stream stream, std::span<const SgdTensor> tensors, std::span<const AverageTensor> averages,
                                  ConstView totals, const UpdateRule& rule, View control) {
  LS_CHECK(control.numel() == static_cast<std::int64_t>(sizeof(StepControl)), "finish_step: control of " + control.shape.str());
  LS_CHECK(totals.numel() == 5, "finish_step: totals " + totals.shape.str());
  const Table<TensorEntry>& table = impl_->table_of(tensors, true);
  const Table<AverageEntry>& average_table = impl_->table_of(averages, true);
  const int norms = rule.lars.enabled ? 2 : 1;
  const auto count = static_cast<std::int64_t>(tensors.size());
  const StepScratch scratch(impl_->device(), count, table.chunks, norms);
  launch(stream, {.x = table.chunks, .y = norms}, ChunkNorms{table.device_entries, table.owners, scratch.chunk_sums});
  launch(stream, {},
         JudgeStep{.tensors = table.device_entries, .count = count, .chunks = table.chunks, .norms = norms, .chunk_sums = scratch.chunk_sums,
                   .lane_sums = scratch.lane_sums, .squares = scratch.squares, .totals = totals.data<double>(), .rule = rule,
                   .control = static_cast<StepControl*>(control.ptr), .rates = scratch.rates, .ratios = scratch.ratios,
                   .verdict = scratch.verdict});
  launch(stream, {.x = table.chunks},
         UpdateByVerdict{table.device_entries, table.owners, scratch.verdict, scratch.rates, scratch.ratios, static_cast<float>(rule.momentum),
                         rule.nesterov});
  launch(stream, {.x = average_table.chunks}, AverageByVerdict{average_table.device_entries, average_table.owners, scratch.verdict});
}

void DeviceOptimizer::moving_average(Stream stream, ConstView observed, double momentum, View value) {
  want_f32("moving_average", value.dtype);
  LS_CHECK(value.numel() == observed.numel(), "moving average of " + observed.shape.str() + " into " + value.shape.str());
  float* to = value.data<float>();
  map_pair(stream, Blend{static_cast<float>(1.0 - momentum), static_cast<float>(momentum)}, value.numel(), to, observed.data<float>(), to,
           GradMode::kOverwrite);
}

void DeviceOptimizer::moving_averages(Stream stream, std::span<const AverageTensor> tensors, double momentum, ConstView control) {
  const Table<AverageEntry>& table = impl_->table_of(tensors, false);
  launch(stream, {.x = table.chunks},
         AverageAll{table.device_entries, table.owners, static_cast<const StepControl*>(control.ptr),
                    Blend{static_cast<float>(1.0 - momentum), static_cast<float>(momentum)}});
}

}  // namespace lockstep::cuda
