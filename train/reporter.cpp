// SPDX-License-Identifier: Apache-2.0
#include "train/reporter.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <cmath>
#include <vector>

#include "proto/config.pb.h"
#include "train/bands.h"
#include "train/clock.h"
#include "train/metrics/logging.h"
#include "train/metrics/metrics_log.h"
#include "train/metrics/progress.h"

namespace lockstep {
namespace {

double peak_resident_gb() {
  struct rusage usage {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024e-9;
}

// Sums since the last line.
struct Interval {
  double steps = 0, loss = 0, top1 = 0, top5 = 0, grad_norm = 0;  // steps that loss scaling skipped are not counted
};

// Clock readings since the last line: never saved, never compared.
struct IntervalTimes {
  double wall_ns = 0, data_ns = 0, reduce_ns = 0, device_ns = 0;
  std::int64_t steps = 0;
};

MetricsOptions metrics_options(const proto::Logging& config, std::optional<std::int64_t> resume_step) {
  return {.jsonl = config.jsonl(),
          .csv = config.csv(),
          .tensorboard = config.tensorboard(),
          .resume_step = resume_step,
          .warn = [](const std::string& message) { log_warning(message); }};
}

}  // namespace

class Reporter::Impl {
  using Values = std::vector<std::pair<std::string, MetricValue>>;

 public:
  Impl(const Session& session, const std::string& run_dir, std::optional<std::int64_t> resume_step, std::FILE* console)
      : plan_(session.plan),
        evaluation_(session.config().evaluation()),
        gpu_(session.config().backend() == proto::Config::CUDA),
        fp16_(session.config().precision() == proto::Config::FP16),
        every_steps_(session.config().logging().every_steps()),
        noise_plan_(plan_noise(session.config(), session.plan, *session.network.model)),
        metrics_(run_dir, metrics_options(session.config().logging(), resume_step)),
        progress_([console](std::string_view text) { std::fwrite(text.data(), 1, text.size(), console); std::fflush(console); },
                  detect_progress_options(fileno(console))) {
    if (noise_plan_.available()) noise_.emplace(noise_plan_, noise_groups(session.network.model->parameters()).names);
    init_logging(0, run_dir);
    set_log_console([this](LogLevel, std::string_view line) { progress_.message(line); });
  }

  ~Impl() {
    progress_.finish();
    set_log_console(nullptr);
    close_logging();
  }

  void warn(const std::string& text) {
    log_warning(text);
    record(MetricKind::kWarn, step_, {{"message", text}});
  }

  void begin(std::int64_t step) {
    step_ = step;
    progress_.start(step, plan_.total_steps, plan_.epoch_of(plan_.total_steps), plan_.global_batch);
    mark_ns_ = steady_ns();
  }

  void step_done(std::int64_t steps_done, double lr, const StepResult& result) {
    step_ = steps_done;
    const std::int64_t now = steady_ns();
    const auto elapsed = static_cast<double>(now - mark_ns_);
    mark_ns_ = now;
    train_ns_ += elapsed;
    ++trained_steps_;
    if (result.skipped) tell_skipped(result);
    if (!result.skipped) add(result);
    times_.steps += 1;
    times_.wall_ns += elapsed;
    times_.data_ns += static_cast<double>(result.times.data_ns);
    wait_ns_ += static_cast<double>(result.times.data_ns);
    times_.reduce_ns += static_cast<double>(result.times.reduce_ns);
    times_.device_ns += static_cast<double>(result.times.device_ns);
    progress_.step_done(steps_done, plan_.epoch_of(steps_done));
    loss_scale_ = result.loss_scale;
    skipped_steps_ = result.skipped_steps;
    if (steps_done % every_steps_ == 0 || steps_done == plan_.total_steps) write_interval(lr);
    if (steps_done % plan_.steps_per_epoch == 0 || steps_done == plan_.total_steps) write_noise();
  }

  void add(const StepResult& result) {
    interval_.steps += 1;
    interval_.loss += result.loss;
    interval_.top1 += result.top1;
    interval_.top5 += result.top5;
    interval_.grad_norm += result.grad_norm;
    if (noise_) noise_->add(result.squares);
  }

  // The first few are how the scale is found: they are told, and nobody need worry.
  void tell_skipped(const StepResult& result) {
    warn(fmt::format("step {} skipped: a gradient overflowed at loss scale {:g}, which is halved ({} skipped so far)", result.step,
                     result.loss_scale, result.skipped_steps));
  }

  void evaluated(std::int64_t step, const EvalResult& result, bool is_best) {
    const double count = static_cast<double>(result.count);
    Values values{{"loss", result.loss},
                  {"top1", static_cast<double>(result.top1) / count},
                  {"top5", static_cast<double>(result.top5) / count}};
    const auto expected = expected_at(evaluation_, plan_, step);
    if (expected) {
      values.emplace_back("expected_min", expected->min / 100);
      values.emplace_back("expected_max", expected->max / 100);
      values.emplace_back("band", std::string(band_verdict(*expected, result.top1_percent())));
    }
    record(MetricKind::kVal, step, std::move(values));
    metrics_.flush();
    log_info(fmt::format("evaluation at step {} (epoch {:.3g}): top-1 {:.2f} %{}, top-5 {:.2f} %, loss {:.4f} ({} images, {:.1f} s)", step,
                         plan_.epoch_of(step), result.top1_percent(), is_best ? " (best)" : "", result.top5_percent(), result.loss,
                         result.count, result.seconds));
    if (expected) log_info(describe_band(plan_.epoch_of(step), *expected, result.top1_percent()));
  }

  void judged(const InputVerdict& verdict) {
    const std::string text = verdict.text();
    log_info(text);
    record(MetricKind::kInput, step_, {{"message", text},
                                       {"wait_frac", verdict.wait},
                                       {"loader_busy", verdict.busy},
                                       {"loader_threads", std::int64_t{verdict.threads}},
                                       {"read_frac", verdict.read},
                                       {"decode_frac", verdict.decode},
                                       {"augment_frac", verdict.augment}});
    metrics_.flush();
  }

  void saved(const SaveReport& report) {
    record(MetricKind::kCkpt, static_cast<std::int64_t>(report.step),
           {{"path", report.path}, {"seconds", report.seconds}, {"bytes", static_cast<std::int64_t>(report.nbytes)}});
  }

  // A checkpoint may follow, and a run that goes on from it does not repeat what was recorded before: that must not be lost with
  // this process.
  void pause() {
    progress_.pause();
    metrics_.flush();
  }
  void resume() {
    progress_.resume();
    mark_ns_ = steady_ns();
  }
  void end() {
    progress_.finish();
    metrics_.flush();
  }

  std::map<std::string, double> accumulators() const {
    std::map<std::string, double> sums{
        {"steps", interval_.steps}, {"loss", interval_.loss}, {"top1", interval_.top1}, {"top5", interval_.top5}, {"grad_norm", interval_.grad_norm}};
    if (noise_) noise_->save(sums);
    return sums;
  }

  void restore(const std::map<std::string, double>& saved) {
    const auto get = [&](const char* name) {
      const auto found = saved.find(name);
      return found == saved.end() ? 0.0 : found->second;
    };
    interval_ = {get("steps"), get("loss"), get("top1"), get("top5"), get("grad_norm")};
    if (noise_) noise_->restore(saved);
  }

  std::optional<NoiseEstimate> noise_scale(std::string& text) const {
    const bool measured = noise_ && noise_->measured();
    text = measured ? noise_->describe() : noise_ ? "not measured yet" : noise_plan_.describe();
    return measured ? std::optional(noise_->smoothed()) : std::nullopt;
  }

  void used(const RunEnergy& energy) {
    Values values;
    if (energy.joules) values.emplace_back("energy_joules", *energy.joules);
    values.emplace_back("energy_source", energy.source);
    record(MetricKind::kEnergy, step_, std::move(values));
    metrics_.flush();
  }

  double train_seconds() const { return train_ns_ * 1e-9; }
  double wait_seconds() const { return wait_ns_ * 1e-9; }
  double images_per_second() const {
    return train_ns_ > 0 ? static_cast<double>(trained_steps_ * plan_.global_batch) / train_seconds() : 0;
  }

 private:
  static void add_noise(Values& values, const NoiseEstimate& estimate, const std::string& suffix = "") {
    const double scale = estimate.critical_batch();
    if (!std::isnan(scale)) values.emplace_back(kNoiseScaleKey + suffix, scale);
    values.emplace_back(kGradientNorm2Key + suffix, estimate.norm2);
    values.emplace_back(kGradientVarianceKey + suffix, estimate.variance);
  }

  // The epoch's means, and where the critical batch stands.
  void write_noise() {
    if (!noise_ || noise_->epoch_steps() == 0) return;
    Values values{{"steps", noise_->epoch_steps()}};
    add_noise(values, noise_->epoch_mean());
    for (std::size_t g = 0; g < noise_->groups().size(); ++g)
      add_noise(values, noise_->epoch_mean(static_cast<int>(g)), "." + noise_->groups()[g]);
    record(MetricKind::kNoise, step_, std::move(values));
    log_info(noise_->describe());
    noise_->begin_epoch();
  }

  void record(MetricKind kind, std::int64_t step, Values values) {
    metrics_.write({.kind = kind, .step = step, .epoch = plan_.epoch_of(step), .values = std::move(values)});
  }

  void write_interval(double lr) {
    const double n = interval_.steps > 0 ? interval_.steps : 1;
    Values train{{"loss", interval_.loss / n}, {"top1", interval_.top1 / n}, {"lr", lr}, {"grad_norm", interval_.grad_norm / n}};
    if (noise_ && noise_->measured()) add_noise(train, noise_->smoothed());
    record(MetricKind::kTrain, step_, std::move(train));
    const auto steps = static_cast<double>(times_.steps);
    const double wait_frac = times_.wall_ns > 0 ? times_.data_ns / times_.wall_ns : 0;
    Values perf{{"images_per_sec", steps * static_cast<double>(plan_.global_batch) / (times_.wall_ns * 1e-9)},
                {"input_wait_frac", wait_frac},
                {"allreduce_exposed_ms", times_.reduce_ns / steps * 1e-6},
                {"host_peak_gb", peak_resident_gb()}};
    if (gpu_) perf.emplace_back("gpu_ms", times_.device_ns / steps * 1e-6);
    if (fp16_) perf.emplace_back("loss_scale", loss_scale_);
    if (fp16_) perf.emplace_back("skipped_steps", skipped_steps_);
    record(MetricKind::kPerf, step_, std::move(perf));
    metrics_.flush();
    progress_.report(step_, plan_.epoch_of(step_), {interval_.loss / n, interval_.top1 / n, lr, wait_frac});
    interval_ = {};
    times_ = {};
  }

  const RunPlan& plan_;
  const proto::Evaluation& evaluation_;
  const bool gpu_, fp16_;
  std::int64_t every_steps_;
  const NoisePlan noise_plan_;
  std::optional<NoiseScale> noise_;  // none: not measured
  MetricsLog metrics_;
  ProgressDisplay progress_;
  Interval interval_;
  IntervalTimes times_;
  std::int64_t step_ = 0;
  double loss_scale_ = 1;  // of the last step
  std::int64_t skipped_steps_ = 0;
  std::int64_t mark_ns_ = 0;  // when the step under way began
  double train_ns_ = 0, wait_ns_ = 0;
  std::int64_t trained_steps_ = 0;
};

Reporter::Reporter(const Session& session, const std::string& run_dir, std::optional<std::int64_t> resume_step, std::FILE* console)
    : impl_(std::make_unique<Impl>(session, run_dir, resume_step, console)) {}
Reporter::~Reporter() = default;
void Reporter::say(const std::string& text) { log_info(text); }
void Reporter::warn(const std::string& text) { impl_->warn(text); }
void Reporter::begin(std::int64_t step) { impl_->begin(step); }
void Reporter::step_done(std::int64_t steps_done, double lr, const StepResult& result) { impl_->step_done(steps_done, lr, result); }
void Reporter::evaluated(std::int64_t step, const EvalResult& result, bool is_best) { impl_->evaluated(step, result, is_best); }
void Reporter::judged(const InputVerdict& verdict) { impl_->judged(verdict); }
void Reporter::saved(const SaveReport& report) { impl_->saved(report); }
void Reporter::pause() { impl_->pause(); }
void Reporter::resume() { impl_->resume(); }
void Reporter::end() { impl_->end(); }
std::map<std::string, double> Reporter::accumulators() const { return impl_->accumulators(); }
void Reporter::restore(const std::map<std::string, double>& accumulators) { impl_->restore(accumulators); }
std::optional<NoiseEstimate> Reporter::noise_scale(std::string& text) const { return impl_->noise_scale(text); }
void Reporter::used(const RunEnergy& energy) { impl_->used(energy); }
double Reporter::train_seconds() const { return impl_->train_seconds(); }
double Reporter::wait_seconds() const { return impl_->wait_seconds(); }
double Reporter::images_per_second() const { return impl_->images_per_second(); }

}  // namespace lockstep
