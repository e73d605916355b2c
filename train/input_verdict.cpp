// SPDX-License-Identifier: Apache-2.0
#include "train/input_verdict.h"

#include <fmt/format.h>

#include <algorithm>

namespace lockstep {
namespace {

constexpr double kBoundFrom = 0.1;  // share of waiting; below it more input would hardly be felt

// What helps depends on what the threads do. Input is late and nobody works at it: the processors are busy elsewhere.
std::string advice(const InputVerdict& verdict) {
  if (verdict.busy < 0.5 * verdict.threads) return "its threads wait for a processor: fewer ranks or threads_per_rank on this machine";
  if (verdict.read > verdict.decode && verdict.read > verdict.augment)
    return "faster storage, more data.loader_threads, or `lockstep data pack` for reads in one piece";
  if (verdict.decode >= verdict.augment) return "more data.loader_threads, or `lockstep data pack --resize`";
  return "more data.loader_threads, or less augmentation";
}

}  // namespace

InputVerdict judge_input(const InputReading& reading) {
  InputVerdict verdict;
  verdict.threads = reading.threads;
  if (reading.seconds <= 0) return verdict;
  verdict.wait = std::clamp(reading.wait_seconds / reading.seconds, 0.0, 1.0);
  verdict.bound = verdict.wait > kBoundFrom;
  const StageTimes& stages = reading.stages;
  const auto work = static_cast<double>(stages.read_ns + stages.decode_ns + stages.augment_ns);
  if (work <= 0) return verdict;
  // While training paused the loader filled its ring, too: that work has no time here.
  verdict.busy = std::min(work * 1e-9 / reading.seconds, static_cast<double>(std::max(reading.threads, 1)));
  verdict.read = static_cast<double>(stages.read_ns) / work;
  verdict.decode = static_cast<double>(stages.decode_ns) / work;
  verdict.augment = static_cast<double>(stages.augment_ns) / work;
  return verdict;
}

std::string InputVerdict::text() const {
  const std::string of_threads = fmt::format("{:.1f} of {}", busy, threads);
  if (!bound) return fmt::format("compute-bound: input waits {:.1f} %; loader busy {} thread{}", 100 * wait, of_threads, threads == 1 ? "" : "s");
  return fmt::format("INPUT-BOUND {:.0f} %: {} loader thread{} busy (read {:.0f} %, decode {:.0f} %, augment {:.0f} %); {}", 100 * wait,
                     of_threads, threads == 1 ? "" : "s", 100 * read, 100 * decode, 100 * augment, advice(*this));
}

void InputWatch::loader_ends(const LoaderStats& last) {
  stages_.read_ns -= last.stages.read_ns;
  stages_.decode_ns -= last.stages.decode_ns;
  stages_.augment_ns -= last.stages.augment_ns;
  stages_.samples -= last.stages.samples;
}

void InputWatch::skip(double seconds, double wait_seconds, const LoaderStats& loader) {
  seconds_ = seconds;
  wait_seconds_ = wait_seconds;
  stages_ = loader.stages;
}

InputVerdict InputWatch::judge(double seconds, double wait_seconds, const LoaderStats& loader) {
  InputReading reading{.seconds = seconds - seconds_, .wait_seconds = wait_seconds - wait_seconds_, .threads = loader.threads};
  reading.stages.read_ns = loader.stages.read_ns - stages_.read_ns;
  reading.stages.decode_ns = loader.stages.decode_ns - stages_.decode_ns;
  reading.stages.augment_ns = loader.stages.augment_ns - stages_.augment_ns;
  reading.stages.samples = loader.stages.samples - stages_.samples;
  skip(seconds, wait_seconds, loader);
  return judge_input(reading);
}

}  // namespace lockstep
