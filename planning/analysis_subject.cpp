// SPDX-License-Identifier: Apache-2.0
#include "planning/analysis_subject.h"

#include "core/error.h"
#include "proto/config.pb.h"
#include "train/dry_run.h"
#include "train/network.h"

namespace lockstep {
namespace {

NumberFormat format_of(const proto::Config& config) {
  switch (config.precision()) {
    case proto::Config::FP32: return config.backend() == proto::Config::CUDA && config.cuda().tf32() ? NumberFormat::kTf32 : NumberFormat::kFp32;
    case proto::Config::FP64: return NumberFormat::kFp64;
    case proto::Config::BF16: return NumberFormat::kBf16;
    case proto::Config::FP16: return NumberFormat::kFp16;
  }
  return NumberFormat::kFp32;
}

// The first of them that is given.
template <class T>
T first_given(T a, T b, T c) {
  return a > 0 ? a : b > 0 ? b : c;
}

}  // namespace

AnalysisSubject subject_of(const LoadedConfig& loaded, const SubjectChanges& changes) {
  const proto::Config& config = loaded.config();
  const proto::Data& data = config.data();
  const KnownData known = known_data(config);
  const int classes = first_given(changes.classes, config.model().classes(), known.classes);
  if (classes == 0)
    throw UserError("model.classes: not given, and analyze does not open the data\n  give --classes N, or --set model.classes=N");
  const ImageSize image{first_given(changes.height, data.height(), known.side), first_given(changes.width, data.width(), known.side),
                        first_given(changes.channels, data.channels(), known.channels)};
  const std::int64_t batch = changes.batch > 0 ? changes.batch : config.batch().shard_batch();
  AnalysisSubject subject{.model = model_options(config, image, classes),
                          .batch = batch,
                          .format = changes.format.value_or(format_of(config)),
                          .samples = static_cast<double>(first_given<std::int64_t>(data.train_images(), known.train, 0)),
                          .epochs = config.epochs()};
  return subject;
}

}  // namespace lockstep
