// `lockstep analyze`: what a network asks of a machine, on paper: weights, activations, operations, rooflines.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>

#include "core/error.h"
#include "models/zoo.h"
#include "planning/analysis_report.h"
#include "planning/analysis_subject.h"
#include "planning/recurrent.h"
#include "planning/step_calls.h"
#include "tools/commands.h"
#include "tools/options.h"

namespace lockstep {
namespace {

// What --model means: a network by itself, for ImageNet.
constexpr const char* kModelAlone = "model { classes: 1000 } data { channels: 3 } schedule { lr: 0.1 }";

struct Flags {
  ConfigOptions config;
  std::string model, image, format, svg;
  std::vector<std::string> recurrent, devices;
  std::vector<int> bits{1, 2, 4, 8, 16, 32};
  std::int64_t batch = 0;
  int classes = 0, channels = 0;
  double samples = 0, epochs = 0;
  bool training = false, json = false;
};

// "224" or "224x160": height x width.
std::pair<int, int> parse_image(const std::string& text) {
  constexpr int kLargest = 1 << 20;
  int height = 0, width = 0;
  const char* const end = text.data() + text.size();
  auto [at, error] = std::from_chars(text.data(), end, height);
  bool fits = error == std::errc();
  width = height;
  if (fits && at != end) {
    fits = *at == 'x';
    if (fits) {
      const auto second = std::from_chars(at + 1, end, width);
      fits = second.ec == std::errc() && second.ptr == end;
    }
  }
  if (!fits || height < 1 || width < 1 || height > kLargest || width > kLargest)
    throw UserError(fmt::format("--image: got \"{}\", want HEIGHTxWIDTH, such as 224x224", text));
  return {height, width};
}

LoadedConfig config_of(const Flags& flags) {
  ConfigOptions config = flags.config;
  if (flags.model.empty()) return load_and_validate(config, false);
  config.built_in = kModelAlone;
  config.set.insert(config.set.begin(), "model.name=" + flags.model);
  return load_and_validate(config, false);
}

AnalysisSubject network_of(const Flags& flags) {
  SubjectChanges changes{.batch = flags.batch, .channels = flags.channels, .classes = flags.classes};
  if (!flags.image.empty())
    std::tie(changes.height, changes.width) = parse_image(flags.image);
  else if (!flags.model.empty())
    changes.height = changes.width = published_side(flags.model);
  if (!flags.format.empty()) changes.format = format_from_name(flags.format);
  AnalysisSubject subject = subject_of(config_of(flags), changes);
  if (!flags.model.empty()) subject.samples = subject.epochs = 0;  // the built-in config's mean nothing
  return subject;
}

AnalysisQuestion question_of(const Flags& flags, NumberFormat format, double samples, double epochs) {
  AnalysisQuestion question{.purpose = flags.training ? Purpose::kTraining : Purpose::kInference, .format = format, .bits = flags.bits};
  question.samples = flags.samples > 0 ? flags.samples : samples;
  question.epochs = flags.epochs > 0 ? flags.epochs : epochs > 0 ? epochs : 1;
  for (const std::string& name : flags.devices) question.devices.push_back(load_device(name));
  return question;
}

// The dtype whose kernels read and write as much, or none.
std::optional<DType> dtype_of(NumberFormat format) {
  switch (format) {
    case NumberFormat::kFp64: return DType::kF64;
    case NumberFormat::kFp32:
    case NumberFormat::kTf32: return DType::kF32;
    case NumberFormat::kBf16:
    case NumberFormat::kFp16: return DType::kBF16;
    default: return std::nullopt;
  }
}

AnalysisReport analyse_network(const Flags& flags) {
  AnalysisSubject subject = network_of(flags);
  AnalysisQuestion question = question_of(flags, subject.format, subject.samples, subject.epochs);
  const std::optional<DType> dtype = dtype_of(subject.format);
  subject.model.dtype = dtype ? stats_dtype(*dtype) : DType::kF32;
  std::unique_ptr<Model> model = make_model(subject.model);
  NetworkCount count = count_network(*model, {subject.batch, subject.model.channels, subject.model.height, subject.model.width});
  std::vector<OpCall> calls;
  std::string note;
  if (!dtype) note = fmt::format("not known: lockstep has no kernels for {}", format_name(subject.format));
  if (!question.devices.empty() && dtype) {
    try {
      calls = step_calls(std::move(model), subject.batch, *dtype, flags.training);
    } catch (const EnvironmentError& error) {  // a rehearsal takes address space, though no memory
      note = fmt::format("not known: the step can't be rehearsed here: {}", error.what());
    }
  }
  AnalysisReport report = analyse(std::move(count), std::move(question), calls);
  report.kernels_note = std::move(note);
  return report;
}

AnalysisReport analyse_recurrent(const Flags& flags) {
  std::vector<RecurrentLayer> layers;
  for (const std::string& text : flags.recurrent) layers.push_back(parse_recurrent(text));
  const NumberFormat format = flags.format.empty() ? NumberFormat::kFp32 : format_from_name(flags.format);
  AnalysisReport report = analyse(count_recurrent(layers, flags.batch > 0 ? flags.batch : 1), question_of(flags, format, 0, 0), {});
  report.kernels_note = "not known: lockstep has no kernels for recurrent layers";
  return report;
}

int analyse_and_print(const Flags& flags) {
  const int subjects = (flags.config.file.empty() ? 0 : 1) + (flags.model.empty() ? 0 : 1) + (flags.recurrent.empty() ? 0 : 1);
  if (subjects != 1) throw UserError("analyze: want one of a config, --model NAME and --recurrent ..., got " + std::to_string(subjects));
  const AnalysisReport report = flags.recurrent.empty() ? analyse_network(flags) : analyse_recurrent(flags);
  const AnalysisQuestion& question = report.question;
  if (!flags.svg.empty()) {
    if (question.devices.empty()) throw UserError("--svg: a roofline needs a device\n  add --device NAME, such as --device h100");
    write_page(flags.svg, svg(roofline_chart(report.count, question.widths(), question.purpose, question.devices, question.format)));
  }
  std::fputs(((flags.json ? analysis_json(report) + "\n" : analysis_text(report))).c_str(), stdout);
  return 0;
}

}  // namespace

void add_analyze(CLI::App& app, Run& run) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("analyze", "What a network asks of a machine, on paper: weights, activations, operations, rooflines");
  const auto positive = [&](const char* name, auto& value, const char* text) { command->add_option(name, value, text)->check(CLI::PositiveNumber); };
  command->add_option("config", flags->config.file, "Config file: its network, images, shard_batch and precision");
  command->add_option("--model", flags->model, "A network by its name, for 1000 classes, instead of a config");
  command->add_option("--recurrent", flags->recurrent, "A recurrent layer IN,HID,GATES,DIRS,SEQ,STATES by formula, instead of a network (repeatable)")
      ->allow_extra_args(false);
  command->add_option("--set", flags->config.set, "Override one value: path.to.field=value (repeatable)")->allow_extra_args(false);
  positive("--batch", flags->batch, "Samples at a time; default: the config's shard_batch, 32; recurrent: 1");
  command->add_option("--image", flags->image, "Height and width of the images: 224x224; default: the config's, or the network's own");
  positive("--channels", flags->channels, "Colour channels");
  positive("--classes", flags->classes, "Classes");
  command->add_option("--dtype", flags->format, "Format of the numbers and of arithmetic: fp64, fp32, tf32, bf16, fp16, fp8, int8, int4, binary");
  command->add_option("--bits", flags->bits, "Widths in bits to give model sizes for")
      ->delimiter(',')
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command->add_option("--device", flags->devices, "Device to draw a roofline of: a name (h100, a100, p40, ...) or a file (repeatable)")
      ->delimiter(',');
  command->add_flag("--training", flags->training, "A training step instead of inference");
  positive("--samples", flags->samples, "Training samples, for an epoch and a whole training");
  positive("--epochs", flags->epochs, "Epochs of the whole training; default: the config's, or 1");
  command->add_option("--svg", flags->svg, "Write the roofline chart here");
  command->add_flag("--json", flags->json, "As one JSON object, with every layer");
  command->callback([=, &run] { run = [=] { return analyse_and_print(*flags); }; });
}

}  // namespace lockstep
