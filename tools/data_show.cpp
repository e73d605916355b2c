// `lockstep data show`: a contact sheet of training samples as the loader delivers them.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "core/error.h"
#include "core/mix_row.h"
#include "data/contact_sheet.h"
#include "data/image_writer.h"
#include "data/loader.h"
#include "data/tar_writer.h"
#include "tools/data.h"
#include "tools/options.h"
#include "train/loading.h"
#include "train/session.h"

namespace lockstep {
namespace {

struct Flags {
  ConfigOptions config;
  std::string output;
  int count = 64;
  std::int64_t epoch = 0;
  bool unmixed = false;
};

struct Shown {
  int height, width, channels;
  std::size_t bytes() const { return std::size_t{1} * height * width * channels; }
};

// As the device does it to normalised images (ops/mix_images.h), here to bytes.
void mix_image(const Shown& shown, const MixRow& row, const std::uint8_t* partner, std::vector<std::uint8_t>& pixels) {
  const bool box = row.height > 0;
  for (int y = 0; y < shown.height; ++y)
    for (int x = 0; x < shown.width; ++x) {
      const bool inside = y >= row.top && y < row.top + row.height && x >= row.left && x < row.left + row.width;
      for (int c = 0; c < shown.channels; ++c) {
        const std::size_t at = (std::size_t{1} * y * shown.width + x) * shown.channels + c;
        const float mixed = row.weight * static_cast<float>(pixels[at]) + (1 - row.weight) * static_cast<float>(partner[at]) + 0.5f;
        pixels[at] = !box ? static_cast<std::uint8_t>(mixed) : inside ? partner[at] : pixels[at];
      }
    }
}

// The images of a batch, with their captions, until the sheet is full.
int add_batch(const Batch& batch, const Source& source, const Flags& flags, int left, ContactSheet& sheet) {
  const Shape& shape = batch.images().shape();
  const Shown shown{static_cast<int>(shape[2]), static_cast<int>(shape[3]), static_cast<int>(shape[1])};
  const auto images = batch.images().host<std::uint8_t>();
  const auto labels = batch.labels().host<std::int32_t>();
  std::vector<std::uint8_t> pixels(shown.bytes());
  const int count = std::min(left, static_cast<int>(shape[0]));
  for (int i = 0; i < count; ++i) {
    std::memcpy(pixels.data(), images.data() + static_cast<std::size_t>(i) * shown.bytes(), shown.bytes());
    std::string caption = class_label(source, labels[static_cast<std::size_t>(i)]);
    if (batch.mix() && !flags.unmixed) {
      MixRow row;
      std::memcpy(static_cast<void*>(&row), batch.mix().host<std::int32_t>().data() + static_cast<std::size_t>(i) * kMixRowWords, sizeof row);
      if (row.weight < 1) {
        mix_image(shown, row, images.data() + static_cast<std::size_t>(row.partner) * shown.bytes(), pixels);
        caption = fmt::format("{:.0f}% {} + {}", 100 * static_cast<double>(row.weight), caption, class_label(source, row.label));
      }
    }
    sheet.add({pixels.data(), shown.height, shown.width, shown.channels}, caption);
  }
  return count;
}

int run_show(const Flags& flags) {
  ConfigOptions options = flags.config;
  for (const char* setting : {"backend=FAST", "precision=FP32"}) options.set.emplace_back(setting);  // no GPU is needed to look at images
  const Session session = make_session(load_and_validate(options), 1, 0, /*with_evaluation=*/false);
  const std::int64_t start = flags.epoch * session.plan.steps_per_epoch;
  Loader loader(*session.train_source, train_loader_options(session, 0, start));
  Batch batch = loader.next();
  const Shape shape = batch.images().shape();
  if (shape[1] != 1 && shape[1] != 3) throw UserError(fmt::format("data show: got images of {} channels, want 1 or 3", shape[1]));
  ContactSheet sheet(flags.count, static_cast<int>(shape[2]), static_cast<int>(shape[3]));
  for (int left = flags.count; left > 0;) {
    left -= add_batch(batch, *session.train_source, flags, left, sheet);
    batch.reset();
    if (left > 0) batch = loader.next();
  }
  std::vector<std::uint8_t> png;
  encode_png(sheet.picture(), png);
  write_whole_file(flags.output, png);
  std::puts(fmt::format("{}: {} training images of {}x{} from step {} on (epoch {}), {} in a row", flags.output, flags.count, shape[2], shape[3],
                        start, flags.epoch, sheet.columns())
                .c_str());
  return 0;
}

}  // namespace

void add_data_show(CLI::App& data, Run& run) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = data.add_subcommand("show", "Draw training images as the network will get them, with their classes, into a PNG");
  add_config_options(*command, flags->config);
  command->add_option("--output", flags->output, "The PNG file")->required();
  command->add_option("--count", flags->count, "Images")->check(CLI::Range(1, 10000))->capture_default_str();
  command->add_option("--epoch", flags->epoch, "From the beginning of this epoch, counted from 0")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  command->add_flag("--unmixed", flags->unmixed, "Before mixup and cutmix");
  command->callback([=, &run] {
    run = [=] { return run_show(*flags); };
  });
}

}  // namespace lockstep
