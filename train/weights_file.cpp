// SPDX-License-Identifier: Apache-2.0
#include "train/weights_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "train/checkpoint/safetensors.h"

namespace lockstep {
namespace {

constexpr std::string_view kCounter = ".num_batches_tracked", kRunningMean = ".running_mean", kRunningVar = ".running_var";
constexpr const char* kContentKey = "lockstep.content";
constexpr std::size_t kListed = 5;  // names of a kind in one message

[[noreturn]] void refuse(const std::string& path, const std::string& what) { throw UserError(path + ": " + what, ExitCode::kData); }

// PyTorch's own format is a zip archive of pickles, older ones a bare pickle: which would run what is written in them.
void refuse_pickles(Fs& fs, const std::string& path) {
  const InputFile file(fs, path);
  std::array<char, 4> magic{};
  if (file.nbytes() < magic.size()) return;
  file.read(magic.data(), magic.size(), 0);
  const std::string_view start(magic.data(), magic.size());
  if (start == "PK\x03\x04" || (magic[0] == '\x80' && magic[1] >= 2 && magic[1] <= 5 && magic[2] == '\x8a'))
    refuse(path, "got a file of torch.save, want safetensors\n  Convert it: python tools/pth_to_safetensors.py IN.pth OUT.safetensors");
}

std::string content_digest(const std::vector<DigestLine>& lines) {
  std::vector<std::string> rows;
  for (const DigestLine& line : lines)
    rows.push_back(fmt::format("{}:{} {} [{}] {}", line.name.size(), line.name, safetensors_dtype(line.dtype),
                               fmt::join(extents_of(line.shape), ","), line.hash.hex()));
  std::sort(rows.begin(), rows.end());
  return hash_128(fmt::format("{}", fmt::join(rows, "\n"))).hex();
}

// safetensors has no checksum; files of ours carry one.
void check_content(const SafetensorsFile& file) {
  const auto& metadata = file.header().metadata;
  const auto saved = metadata.find(kContentKey);
  if (saved == metadata.end()) return;
  std::vector<DigestLine> lines;
  for (const SafetensorsEntry& entry : file.header().entries)
    lines.push_back({entry.name, entry.dtype, entry.shape, file.file().hash(entry.offset, entry.nbytes)});
  if (content_digest(lines) != saved->second)
    refuse(file.file().path(), "damaged: its tensors do not have the hash that it was written with; get another copy");
}

// The longest run of known prefixes that every name begins with.
std::string common_prefix(const std::vector<SafetensorsEntry>& entries) {
  std::string prefix;
  for (bool grown = !entries.empty(); grown;) {
    grown = false;
    for (const char* each : {"module.", "state_dict.", "model.", "_orig_mod."}) {
      const std::string longer = prefix + each;
      if (!std::all_of(entries.begin(), entries.end(), [&](const auto& entry) { return entry.name.starts_with(longer); })) continue;
      prefix = longer;
      grown = true;
    }
  }
  return prefix;
}

// torchvision's first DenseNets were saved with the names "denselayer1.norm.1.weight", which its loader still turns into
// "denselayer1.norm1.weight".
std::string today(std::string name) {
  const std::size_t layer = name.find("denselayer");
  if (layer == std::string::npos) return name;
  for (const std::string_view part : {".norm.", ".relu.", ".conv."}) {
    const std::size_t at = name.find(part, layer);
    if (at != std::string::npos) name.erase(at + part.size() - 1, 1);
  }
  return name;
}

// One tensor of the model and where its values come from.
struct Target {
  std::string name;
  Tensor* value;
  const SafetensorsEntry* source = nullptr;
};

std::vector<Target> targets_of(Model& model) {
  std::vector<Target> targets;
  for (Parameter* parameter : model.parameters()) targets.push_back({parameter->name, &parameter->value});
  for (Buffer* buffer : model.buffers()) targets.push_back({buffer->name, &buffer->value});
  return targets;
}

bool is_counter(const std::string& name, const Model& model) {
  if (!name.ends_with(kCounter)) return false;
  const std::string mean = name.substr(0, name.size() - kCounter.size()) + std::string(kRunningMean);
  return std::ranges::any_of(model.buffers(), [&](const Buffer* buffer) { return buffer->name == mean; });
}

class Misfits {
 public:
  void missing(const std::string& name) { missing_.push_back(name); }
  void unknown(const std::string& name) { unknown_.push_back(name); }
  void misshapen(const std::string& line) { misshapen_.push_back(line); }
  void hint(const std::string& text) { hints_ += "\n  " + text; }
  bool any() const { return !(missing_.empty() && unknown_.empty() && misshapen_.empty()); }
  std::string text() const {
    return list("missing", missing_, ", ") + list("not of this model", unknown_, ", ") + list("other shapes", misshapen_, "; ") + hints_;
  }

 private:
  static std::string list(const char* what, const std::vector<std::string>& names, const char* separator) {
    if (names.empty()) return "";
    const std::size_t shown = std::min(names.size(), kListed);
    const auto end = names.begin() + static_cast<std::ptrdiff_t>(shown);
    return fmt::format("\n  {} ({}): {}{}", what, names.size(), fmt::join(names.begin(), end, separator), shown < names.size() ? ", ..." : "");
  }

  std::vector<std::string> missing_, unknown_, misshapen_;
  std::string hints_;
};

void compare_shape(const Target& target, const Model& model, Misfits& misfits) {
  const SafetensorsEntry& entry = *target.source;
  const Shape& want = target.value->shape();
  if (!is_floating(entry.dtype))
    return misfits.misshapen(fmt::format("{}: got {}, want floating point", target.name, dtype_name(entry.dtype)));
  if (entry.shape == want) return;
  misfits.misshapen(fmt::format("{}: got {}, want {}", target.name, entry.shape.str(), want.str()));
  // The classifier is the last matrix.
  const Parameter* classifier = nullptr;
  for (const Parameter* parameter : model.parameters())
    if (parameter->value.shape().rank() == 2) classifier = parameter;
  if (classifier != nullptr && classifier->name == target.name && entry.shape.rank() == 2 && entry.shape[1] == want[1])
    misfits.hint(fmt::format("The file has {} classes, the model {}: give the model the file's (--set model.classes={}).", entry.shape[0],
                             want[0], entry.shape[0]));
}

bool is_left_out(const std::string& name, const Model& model) {
  return std::ranges::any_of(model.left_out(), [&](std::string_view part) { return name.starts_with(part); });
}

// Finds every target's entry, or says all that does not fit. Returns the number of tensors that the model leaves out.
std::size_t match(const SafetensorsFile& file, const Model& model, std::vector<Target>& targets) {
  const std::vector<SafetensorsEntry>& entries = file.header().entries;
  const std::string prefix = common_prefix(entries);
  std::map<std::string, const SafetensorsEntry*> by_name;
  for (const SafetensorsEntry& entry : entries) by_name[today(entry.name.substr(prefix.size()))] = &entry;
  Misfits misfits;
  for (Target& target : targets) {
    const auto found = by_name.find(target.name);
    if (found == by_name.end()) {
      misfits.missing(target.name);
      continue;
    }
    target.source = found->second;
    by_name.erase(found);
    compare_shape(target, model, misfits);
  }
  for (const auto& [name, entry] : by_name)
    if (!is_counter(name, model) && !is_left_out(name, model)) misfits.unknown(entry->name);
  if (!misfits.any())
    return static_cast<std::size_t>(std::ranges::count_if(by_name, [&](const auto& rest) { return is_left_out(rest.first, model); }));
  throw UserError(fmt::format("{}: not the weights of {} with {} classes:{}\n  The names must be torchvision's, and the config's model the one that "
                              "was trained.", file.file().path(), model.name(), model.options().classes, misfits.text()),
                  ExitCode::kData);
}

// The first element that no trained model has.
template <class To>
bool all_plausible(std::span<const To> values, bool variance) {
  return std::ranges::all_of(values, [&](To value) { return std::isfinite(value) && (!variance || value >= 0); });
}

template <class From, class To>
void convert(const Tensor& source, Tensor& target) {
  std::ranges::transform(source.host<From>(), target.host<To>().begin(), [](From value) {
    if constexpr (sizeof(From) == 2) return static_cast<To>(static_cast<float>(value));
    else return static_cast<To>(value);
  });
}

template <class To>
void convert_to(const Tensor& source, Tensor& target) {
  switch (source.dtype()) {
    case DType::kF64: return convert<double, To>(source, target);
    case DType::kF32: return convert<float, To>(source, target);
    case DType::kBF16: return convert<bf16, To>(source, target);
    case DType::kF16: return convert<f16, To>(source, target);
    default: throw InternalError("load_weights: a tensor of integers");
  }
}

void fill(const SafetensorsFile& file, const Target& target) {
  Tensor& value = *target.value;
  if (target.source->dtype == value.dtype()) {
    file.read(*target.source, value);
  } else {
    const Tensor read = file.read(*target.source);
    value.dtype() == DType::kF64 ? convert_to<double>(read, value) : convert_to<float>(read, value);
  }
  const bool variance = target.name.ends_with(kRunningVar);
  const bool plausible = value.dtype() == DType::kF64 ? all_plausible<double>(std::as_const(value).host<double>(), variance)
                                                      : all_plausible<float>(std::as_const(value).host<float>(), variance);
  if (!plausible)
    refuse(file.file().path(), fmt::format("tensor '{}' has values that are not finite{}: damaged, or its training diverged", target.source->name,
                                           variance ? " or negative, as no variance is" : ""));
}

}  // namespace

std::string load_weights(Fs& fs, const std::string& path, Model& model) {
  const auto status = fs.status(path);
  if (status && status->kind == FileKind::kDirectory) throw UserError(path + ": got a folder, want a safetensors file", ExitCode::kNoInput);
  if (status) refuse_pickles(fs, path);
  const SafetensorsFile file(fs, path);
  check_content(file);
  std::vector<Target> targets = targets_of(model);
  const std::size_t left_out = match(file, model, targets);
  for (const Target& target : targets) fill(file, target);
  if (left_out == 0) return "";
  return fmt::format("{}: {} tensors of {}* are passed over: {} has no auxiliary classifiers here", path, left_out,
                     fmt::join(model.left_out(), "*, "), model.name());
}

std::string load_weights(const std::string& path, Model& model) {
  std::error_code broken;
  const std::filesystem::path target = std::filesystem::canonical(path, broken);
  return load_weights(posix_fs(), broken ? path : target.string(), model);
}

std::uint64_t save_weights(Fs& fs, const std::string& path, const Model& model, std::int64_t steps, const WeightsFacts& facts) {
  std::vector<NamedTensor> tensors;
  for (const Parameter* parameter : model.parameters()) tensors.push_back({parameter->name, parameter->value});
  for (const Buffer* buffer : model.buffers()) {
    tensors.push_back({buffer->name, buffer->value});
    if (!buffer->name.ends_with(kRunningMean)) continue;  // torch.nn.BatchNorm2d counts batches beside its statistics
    Tensor count = Tensor::zeros({}, DType::kI64);
    count.host<std::int64_t>()[0] = steps;
    tensors.push_back({buffer->name.substr(0, buffer->name.size() - kRunningMean.size()) + std::string(kCounter), count});
  }
  const std::vector<NamedView> views = views_of(tensors);
  WeightsFacts metadata = facts;
  metadata["format"] = "pt";
  metadata[kContentKey] = content_digest(digest_lines(views));
  return write_safetensors(fs, path, views, metadata).nbytes;
}

}  // namespace lockstep
