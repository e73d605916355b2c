// Ranges of single values (ranges.cpp) and rules between fields. All problems are collected into one error.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cmath>
#include <optional>

#include "core/error.h"
#include "train/config/ranges.h"
#include "train/config/reflect.h"

namespace lockstep {
namespace {

using config_detail::FieldDescriptor;
using config_detail::Leaf;
using config_detail::Range;
using proto::Config;

std::string without_indices(const std::string& path) {
  std::string plain;
  bool inside = false;
  for (char c : path) {
    if (c == '[') inside = true;
    if (!inside) plain += c;
    if (c == ']') inside = false;
  }
  return plain;
}

std::string words(const Range& range) {
  const std::string low = fmt::format("{} {}", range.low_open ? "above" : "at least", range.low);
  const std::string high = fmt::format("{} {}", range.high_open ? "below" : "at most", range.high);
  if (std::isinf(range.high)) return std::isinf(range.low) ? "a finite number" : low;
  return low + " and " + high;
}

// The numbers in a leaf: none for strings, enums and bools.
std::vector<double> numbers(const Leaf& leaf) {
  const auto& reflection = *leaf.parent->GetReflection();
  const auto& message = *leaf.parent;
  const FieldDescriptor* field = leaf.field;
  const bool list = field->is_repeated();
  const int count = list ? reflection.FieldSize(message, field) : (leaf.given() || field->has_default_value() ? 1 : 0);
  std::vector<double> values;
  for (int i = 0; i < count; ++i) {
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_DOUBLE:
        values.push_back(list ? reflection.GetRepeatedDouble(message, field, i) : reflection.GetDouble(message, field));
        break;
      case FieldDescriptor::CPPTYPE_INT32:
        values.push_back(list ? reflection.GetRepeatedInt32(message, field, i) : reflection.GetInt32(message, field));
        break;
      case FieldDescriptor::CPPTYPE_INT64:
        values.push_back(static_cast<double>(list ? reflection.GetRepeatedInt64(message, field, i)
                                                  : reflection.GetInt64(message, field)));
        break;
      default: return {};
    }
  }
  return values;
}

class Checker {
 public:
  Checker(const LoadedConfig& loaded, bool needs_data) : loaded_(loaded), config_(loaded.config()), needs_data_(needs_data) {}

  std::vector<std::string> run() {
    check_ranges();
    check_name();
    check_precision();
    check_batch();
    check_batch_norm();
    check_data();
    check_augment();
    check_evaluation();
    check_optimizer();
    check_schedule();
    return std::move(problems_);
  }

 private:
  void add(const std::string& path, const std::string& want) {
    std::string value;
    config_detail::for_each_leaf(config_, "", [&](const Leaf& leaf) {
      if (leaf.path == path) value = leaf.value();
    });
    problems_.push_back(fmt::format("{}{} ({}): {}", path, value.empty() ? "" : " = " + value,
                                    value.empty() ? "not given" : loaded_.origin(path), want));
  }

  void check_ranges() {
    config_detail::for_each_leaf(config_, "", [&](const Leaf& leaf) {
      const std::string plain = without_indices(leaf.path);
      for (const Range& range : config_detail::value_ranges()) {
        if (plain != range.path) continue;
        for (double v : numbers(leaf)) {
          const bool low_ok = range.low_open ? v > range.low : v >= range.low;
          const bool high_ok = range.high_open ? v < range.high : v <= range.high;
          if (std::isfinite(v) && low_ok && high_ok) continue;
          add(leaf.path, "want " + words(range));
          break;
        }
      }
    });
  }

  void check_name() {
    const std::string& name = config_.name();
    bool plain = !name.empty() && name != "." && name != "..";
    for (char c : name) plain = plain && c != '/' && static_cast<unsigned char>(c) >= ' ' && c != '\x7f';
    if (!plain) add("name", "want a plain file name, without / and control characters");
    if (config_.run_dir().empty() || config_.run_dir().find('\0') != std::string::npos) add("run_dir", "want a folder");
  }

  void check_precision() {
    const bool gpu = config_.backend() == Config::CUDA;
    if (config_.precision() == Config::FP16 && !gpu) {
      add("precision", "FP16 needs backend: CUDA; on a CPU take BF16 or FP32");
    }
    if (config_.precision() == Config::FP64 && gpu) {
      add("precision", "GPUs compute in FP32, BF16 and FP16 here; FP64 needs backend: REFERENCE or AUTO");
    }
    if (gpu && config_.model().batch_norm().scope() != proto::BatchNorm::SHARD) {
      add("model.batch_norm.scope", "backend: CUDA normalises each shard by itself: want SHARD (a larger shard_batch shows batch norm more images)");
    }
    if (!gpu && config_.distributed().communicator() == proto::Distributed::NCCL) {
      add("distributed.communicator", "NCCL needs backend: CUDA; want AUTO, MPI or LOCAL");
    }
    if (std::log2(config_.loss_scaling().initial()) != std::floor(std::log2(config_.loss_scaling().initial()))) {
      add("loss_scaling.initial", "want a power of two, so that scaling rounds nothing");
    }
    if (config_.precision() == Config::BF16 && config_.backend() == Config::REFERENCE) {
      add("backend", "precision: BF16 needs FAST or AUTO");
    }
    if (config_.precision() == Config::FP64 && config_.backend() == Config::FAST) {
      add("backend", "precision: FP64 needs REFERENCE or AUTO");
    }
  }

  void check_batch() {
    const int64_t global = config_.batch().global_batch(), shard = config_.batch().shard_batch();
    if (global < 1 || shard < 1 || global % shard == 0) return;
    const int64_t shards = std::max<int64_t>(1, (global + shard / 2) / shard);
    add("batch.global_batch", fmt::format("want a multiple of shard_batch = {}, e.g. {}", shard, shards * shard));
  }

  void check_batch_norm() {
    const proto::BatchNorm& norm = config_.model().batch_norm();
    const int64_t shards =
        config_.batch().shard_batch() < 1 ? 0 : config_.batch().global_batch() / config_.batch().shard_batch();
    const std::string path = "model.batch_norm.group_shards";
    if (norm.scope() != proto::BatchNorm::GROUP) {
      if (norm.group_shards() > 0)
        add(path, "has no effect without model.batch_norm.scope: GROUP; remove it or set the scope");
      return;
    }
    if (norm.group_shards() < 1) {
      add(path, "scope: GROUP wants the number of shards that are normalised together, at least 1");
    } else if (shards > 0 && shards % norm.group_shards() != 0) {
      add(path, fmt::format("want a divisor of the {} shards (global_batch / shard_batch)", shards));
    }
  }

  void check_data() {
    const proto::Data& data = config_.data();
    if (config_.model().classes() == 1) add("model.classes", "want at least 2, or 0: as many as the data has");
    const int channels = data.channels();
    if (channels != 0 && channels != 1 && channels != 3) add("data.channels", "want 1, 3, or 0: the source's own");
    const auto fits = [&](int count) { return count <= 1 || count == (channels == 0 ? 3 : channels); };
    if (!fits(data.mean_size())) add("data.mean", "want one value per channel, or one for all");
    if (!fits(data.std_size())) add("data.std", "want one value per channel, or one for all");
    if ((data.height() == 0) != (data.width() == 0)) {
      add(data.height() == 0 ? "data.height" : "data.width", "want height and width both given, or both 0");
    }
    for (int i = 0; i < data.size_phase_size(); ++i) {
      const proto::SizePhase& phase = data.size_phase(i);
      const std::string path = fmt::format("data.size_phase[{}]", i);
      if (phase.size() < 1) add(path + ".size", "want the size of this phase's images in pixels");
      if (i > 0 && phase.from_epoch() <= data.size_phase(i - 1).from_epoch()) add(path + ".from_epoch", "want increasing epochs");
    }
    if (needs_data_ && data.source() != proto::Data::SYNTHETIC && data.path().empty()) {
      add("data.path", "want the folder of the data: --data DIR, or data.source: SYNTHETIC for made-up images");
    }
  }

  void check_augment() {
    const proto::Augment& augment = config_.data().augment();
    if (augment.scale_min() > augment.scale_max()) {
      add("data.augment.scale_min", fmt::format("want at most scale_max = {}", augment.scale_max()));
    }
    if (augment.ratio_min() > augment.ratio_max()) {
      add("data.augment.ratio_min", fmt::format("want at most ratio_max = {}", augment.ratio_max()));
    }
    const proto::RandomErasing& erasing = augment.random_erasing();
    const std::string path = "data.augment.random_erasing.";
    if (erasing.area_min() > erasing.area_max()) add(path + "area_min", fmt::format("want at most area_max = {}", erasing.area_max()));
    if (erasing.ratio_min() > erasing.ratio_max()) add(path + "ratio_min", fmt::format("want at most ratio_max = {}", erasing.ratio_max()));
    const bool mixes = augment.mix().mixup_alpha() > 0 || augment.mix().cutmix_alpha() > 0;
    if (mixes && config_.batch().shard_batch() == 1) add("batch.shard_batch", "data.augment.mix mixes pairs of a shard's images: want at least 2");
  }

  void check_evaluation() {
    if (config_.evaluation().stop_at_top1() > 0 && config_.evaluation().every_epochs() <= 0)
      add("evaluation.stop_at_top1", "wants evaluation.every_epochs above 0: the only evaluation is at the end");
    const auto& bands = config_.evaluation().expected();
    for (int i = 0; i < bands.size(); ++i) {
      const std::string path = fmt::format("evaluation.expected[{}]", i);
      if (bands[i].top1_min() > bands[i].top1_max()) add(path + ".top1_min", fmt::format("want at most top1_max = {}", bands[i].top1_max()));
      if (i > 0 && bands[i].epoch() <= bands[i - 1].epoch()) add(path + ".epoch", "want increasing epochs");
    }
  }

  void check_optimizer() {
    if (config_.optimizer().nesterov() && !(config_.optimizer().momentum() > 0)) {
      add("optimizer.nesterov", "wants optimizer.momentum above 0");
    }
    const proto::LarsRule &lars = config_.optimizer().lars(), usual;  // a saved config spells out every default
    const bool changed = lars.trust_coefficient() != usual.trust_coefficient() || lars.eps() != usual.eps();
    if (changed && config_.optimizer().type() != proto::Optimizer::LARS) {
      add("optimizer.type", "optimizer.lars has no effect on it; want LARS, or remove optimizer.lars");
    }
  }

  void check_schedule() {
    const proto::Schedule& schedule = config_.schedule();
    if (!schedule.has_lr() && !schedule.has_lr_per_256()) {
      problems_.push_back(
          "schedule.lr (not given): want schedule.lr, or schedule.lr_per_256 (a rate per 256 samples), e.g. "
          "lr_per_256: 0.1");
    }
    if (schedule.kind() == proto::Schedule::ONE_CYCLE && schedule.warmup_epochs() > 0) {
      add("schedule.warmup_epochs", "ONE_CYCLE has its own warm-up: want 0, and set schedule.one_cycle.peak_fraction");
    } else if (schedule.warmup_epochs() >= config_.epochs() && config_.epochs() > 0) {
      add("schedule.warmup_epochs", fmt::format("want less than epochs = {}", config_.epochs()));
    }
    if (schedule.kind() != proto::Schedule::MULTISTEP) return;
    if (schedule.milestones_epochs_size() == 0)
      add("schedule.milestones_epochs", "MULTISTEP wants a list, e.g. [30, 60, 80]");
    for (int i = 1; i < schedule.milestones_epochs_size(); ++i) {
      if (schedule.milestones_epochs(i) > schedule.milestones_epochs(i - 1)) continue;
      add("schedule.milestones_epochs", "want increasing epochs");
      break;
    }
  }

  const LoadedConfig& loaded_;
  const Config& config_;
  const bool needs_data_;
  std::vector<std::string> problems_;
};

}  // namespace

void validate(const LoadedConfig& loaded, bool needs_data) {
  const std::vector<std::string> problems = Checker(loaded, needs_data).run();
  if (problems.empty()) return;
  throw UserError(fmt::format("{}: {} the config\n  {}\n  (`lockstep help config FIELD` explains a field)",
                              loaded.file(),
                              problems.size() == 1 ? "a problem in" : fmt::format("{} problems in", problems.size()),
                              fmt::join(problems, "\n  ")));
}

}  // namespace lockstep
