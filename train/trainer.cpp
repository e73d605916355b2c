// SPDX-License-Identifier: Apache-2.0
#include "train/trainer.h"

#include <fmt/format.h>

#include <limits>
#include <memory>
#include <type_traits>

#include "core/accelerator.h"
#include "core/error.h"
#include "core/trace.h"
#include "distributed/replica_check.h"
#include "proto/config.pb.h"
#include "train/bad_sample_list.h"
#include "train/choices.h"
#include "train/compare_ranks.h"
#include "train/energy.h"
#include "train/loading.h"
#include "train/memory_plan.h"
#include "train/reporter.h"
#include "train/resume.h"
#include "train/run_banner.h"
#include "train/session.h"
#include "train/size_phases.h"
#include "train/step.h"
#include "train/stop_request.h"

namespace lockstep {
namespace {

// A checkpoint on a slow disk is no reason to call rank 0 late.
constexpr double kSaveDeadlineSeconds = 3600;

// Steps of this process after which it is said whether training waits for its input; the first few, which are cold, don't count.
constexpr std::int64_t kJudgedAfterSteps = 50, kColdSteps = 3;

bool falls_on(std::int64_t step, std::int64_t period) { return period > 0 && step % period == 0; }

class Trainer {
 public:
  Trainer(const TrainRequest& request, Communicator& comm)
      : request_(request),
        comm_(comm),
        session_(make_session(request.loaded, comm.size(), pick_gpu(request.loaded.config(), comm))),
        config_(session_.config()),
        sizes_(size_phases(session_)),
        bad_samples_(config_.data().max_bad_samples()) {
    compare_ranks(session_, comm_);
    check_training_sizes(session_);
    if (is_root()) open_folder();
    position_ = resume_everywhere(session_, folder_ ? folder_->resume_from() : std::nullopt, request.allow_changes, comm_,
                                  [this](const std::string& text) { warn(text); });
    bad_samples_.restore(std::move(position_.bad_samples), comm_);
    if (bad_samples_.over_budget()) {
      if (!request.allow_changes) bad_samples_.throw_over_budget("They were met before, and are listed in the checkpoint.");
      warn(fmt::format("resume: the checkpoint lists {} unreadable samples, data.max_bad_samples allows {}: they are counted anew",
                       bad_samples_.count(), config_.data().max_bad_samples()));
      bad_samples_.restore({}, comm_);  // repaired since, perhaps: those that are still bad are met again
    }
    to_device(session_);
    agree_on_choices(session_, comm);
    if (session_.eval_source) open_evaluation();
    eval_period_ = session_.plan.period(config_.evaluation().every_epochs());
    save_period_ = session_.plan.period(config_.checkpoint().every_epochs());
    if (request.profile) start_profiler(*request.profile);
  }

  TrainOutcome run() {
    enter_size();  // the loader reads ahead meanwhile
    memory_ = plan_memory_of(session_, step());
    check_fits(memory_, session_.plan);
    prefault(memory_);
    announce();
    energy_.emplace(comm_, gpu_bus_id(session_.network));
    if (reporter_) reporter_->begin(step());
    if (ends()) position_.last_eval_step = -1;  // nothing to train: say at least how good it is
    if (evaluation_is_due()) evaluate_now();      // stopped after the step, before its evaluation
    while (!ends() && !outcome_.stopped) {
      if (step() == next_size_step_) enter_size();
      one_step(*loader_);
    }
    if (reporter_) reporter_->end();
    finish();
    return outcome_;
  }

 private:
  bool is_root() const { return comm_.rank() == 0; }
  std::int64_t step() const { return position_.step; }
  bool at_end() const { return step() >= session_.plan.total_steps; }
  bool ends() const { return at_end() || outcome_.reached; }

  void open_folder() {
    folder_ = std::make_unique<RunFolder>(
        request_.loaded, request_.resume, [this](const std::string& text) { warn(text); },
        [this](const SaveReport& report) { reporter_->saved(report); });
    std::optional<std::int64_t> resume_step;
    if (folder_->resume_from()) resume_step = static_cast<std::int64_t>(folder_->resume_from()->manifest.facts.step);
    reporter_ = std::make_unique<Reporter>(session_, folder_->path(), resume_step, request_.console);
    for (const std::string& text : early_warnings_) reporter_->warn(text);
    comm_.set_report_dir(folder_->path() + "/logs");
  }

  void warn(const std::string& text) { reporter_ ? reporter_->warn(text) : early_warnings_.push_back(text); }

  void announce() {
    outcome_.total_steps = session_.plan.total_steps;
    note_best(position_.best_top1);
    if (!is_root()) return;
    outcome_.run_dir = folder_->path();
    folder_->describe(request_.loaded, comm_.size(), step());
    folder_->name_classes(session_.train_source->class_names());
    for (const std::string& text : run_warnings(config_)) warn(text);
    auto derived = describe_run(session_, memory_, std::string(comm_.transport()));
    derived.emplace_back("run folder", folder_->path());
    derived.emplace_back("start", folder_->resume_from()
                                      ? fmt::format("resumes {} at step {} of {}, learning rate {:.6g}", folder_->resume_from()->path, step(),
                                                    session_.plan.total_steps, session_.schedule->lr(step()))
                                      : "afresh, from seed " + std::to_string(config_.seed()));
    reporter_->say(banner(request_.loaded, derived));
    reporter_->restore(position_.accumulators);
  }

  void open_evaluation() {
    const ImageSize image = image_size(config_, *session_.train_source);
    const EvalLoaderOptions options = eval_loader_options(config_, image, comm_.rank(), comm_.size(), session_.network);
    eval_batch_ = options.batch;
    eval_loader_ = std::make_unique<EvalLoader>(*session_.eval_source, options);
  }

  void start_profiler(ProfileOptions options) {
    if (options.file.empty() && folder_) options.file = folder_->path() + "/trace.json";
    profiler_.emplace(options, session_.network.kernels, comm_);
  }

  void tell_profile() {
    if (!is_root()) return;
    const std::string lost = profiler_->dropped() > 0 ? fmt::format("; {} spans found no room: trace fewer steps", profiler_->dropped()) : "";
    reporter_->say(fmt::format("profile      {} (open it in ui.perfetto.dev){}", profiler_->file(), lost));
  }

  void one_step(Loader& loader) {
    if (profiler_ && profiler_->before_step()) tell_profile();
    if (profiler_) runner_->use_recording(!profiler_->tracing());  // a replayed step has no calls to trace
    const double lr = session_.schedule->lr(step());
    if (bad_samples_.alone_over_budget(loader.bad_samples())) request_stop();
    or_save_urgently([&] { runner_->submit(step(), lr, loader); });
    ++position_.step;
    ++steps_here_;
    take_results(false);
    const bool checks = falls_on(step(), config_.logging().check_replicas_every_steps());
    const bool epoch_ends = falls_on(step(), session_.plan.steps_per_epoch);
    if (checks || epoch_ends || at_end() || outcome_.stopped || evaluation_is_due() || save_is_due()) take_results(true);
    if (reporter_) judge_input_when_due(epoch_ends);
    if (checks) check_replicas_now();
    if (epoch_ends) collect_bad_samples();
    if (!outcome_.stopped) after_step();
    if (bad_samples_.over_budget()) end_over_budget();
    if (folder_) folder_->saver().poll();
  }

  // What makes and takes batches of the present step's size. What the old loader has read ahead is read anew: a batch is a
  // function of its step.
  void enter_size() {
    if (loader_) {
      take_results(true);
      collect_bad_samples();
      if (bad_samples_.over_budget()) end_over_budget();
      input_watch_.loader_ends(loader_->stats());
      runner_.reset();  // it may hold batches
    }
    loader_.emplace(*session_.train_source, train_loader_options(session_, comm_.rank(), step()));
    runner_ = make_step_runner(config_, session_.plan, session_.network, *session_.optimizer, session_.average.get(), comm_);
    next_size_step_ = sizes_.next_change(step());
  }

  // Results that are there; with `all`, of every step that was given out: then the state is that of step().
  void take_results(bool all) {
    while (const std::optional<StepResult> result = runner_->take(all)) {
      if (!result->finite && !result->skipped) throw_not_finite(*result);
      if (reporter_) reporter_->step_done(result->step + 1, result->lr, *result);
      outcome_.stopped = outcome_.stopped || (result->stop && !at_end());
    }
  }

  // Once, whatever it is; at the end of later epochs only if somebody should do something. Rank 0, of its own loader.
  void judge_input_when_due(bool epoch_ends) {
    if (steps_here_ == kColdSteps) input_watch_.skip(reporter_->train_seconds(), reporter_->wait_seconds(), loader_->stats());
    const bool first = steps_here_ == kJudgedAfterSteps;
    if (!first && !(epoch_ends && steps_here_ > kJudgedAfterSteps)) return;
    const InputVerdict verdict = input_watch_.judge(reporter_->train_seconds(), reporter_->wait_seconds(), loader_->stats());
    if (first || verdict.bound) reporter_->judged(verdict);
  }

  // What is due after a step. An evaluation may fail (a corrupt image): what was trained up to its first one is saved before.
  void after_step() {
    const bool evaluates = evaluation_is_due();
    const bool saves = save_is_due() && !at_end();
    if (evaluates) {
      if (!evaluated_before_) save(false);
      evaluate_now();
    }
    const bool new_best = evaluates && last_eval_is_best_ && config_.checkpoint().keep_best() && !outcome_.stopped;
    if (!ends() && (new_best || (saves && saved_step_ != step()))) save(false);
  }

  void note_best(double top1_percent) {
    const double target = config_.evaluation().stop_at_top1();
    outcome_.best_top1 = top1_percent;
    outcome_.reached = target > 0 && top1_percent >= target;
  }

  bool evaluation_is_due() const {
    return eval_loader_ && position_.last_eval_step != step() && step() > 0 && (falls_on(step(), eval_period_) || ends());
  }

  bool save_is_due() const { return falls_on(step(), save_period_) || falls_on(step(), config_.checkpoint().every_steps()); }

  void evaluate_now() {
    const TraceScope trace(SpanKind::kPhase, "evaluation", step());
    comm_.set_activity(step(), "evaluation");
    if (reporter_) reporter_->pause();
    const EvalResult result = or_save_urgently([&] {
      std::optional<WeightAverage::Use> averages;
      if (session_.average) averages.emplace(*session_.average, session_.network);
      std::optional<PoolScope> scope;  // a step's memory does for an evaluation, too
      if (MemoryPool* pool = runner_->pass_pool()) scope.emplace(*pool);
      return evaluate(session_.network, *eval_loader_, session_.eval_source->size(), eval_batch_, comm_, [] {
        check_urgent_stop();
        return stop_requested();
      });
    });
    evaluated_before_ = true;
    if (result.interrupted) {  // the resumed run evaluates first
      outcome_.stopped = true;
      return;
    }
    outcome_.last_eval = result;
    outcome_.expected = expected_at(config_.evaluation(), session_.plan, step());
    position_.last_eval_step = step();
    last_eval_is_best_ = result.top1_percent() > outcome_.best_top1;
    if (last_eval_is_best_) note_best(result.top1_percent());
    if (config_.evaluation().bad_images() == proto::Evaluation::MISS) tell_missed_images();
    if (!reporter_) return;
    reporter_->evaluated(step(), result, last_eval_is_best_);
    reporter_->resume();
  }

  void check_replicas_now() {
    if (comm_.size() == 1) return;
    std::vector<NamedHash> hashes;
    for (const auto& [name, hash] : hash_state(session_)) hashes.push_back({name, hash});
    check_replicas(comm_, hashes, step());
  }

  TrainingState state() const {
    TrainingState state = capture_state(session_, step());
    if (outcome_.best_top1 >= 0) state.best_metric = outcome_.best_top1;
    state.accumulators = reporter_->accumulators();
    state.accumulators[kLastEvalStep] = static_cast<double>(position_.last_eval_step);
    for (const auto& [name, reason] : bad_samples_.samples()) state.bad_samples.push_back({name, reason});
    return state;
  }

  // `now`: until it is durable; otherwise beside the training, if the config says so. Replicas agree before anything is
  // saved; then the ranks without a disk to wait for wait for rank 0, longer than for a collective.
  void save(bool now) {
    const TraceScope trace(SpanKind::kCheckpoint, "checkpoint", step());
    saved_step_ = step();
    saved_durably_ = now || !config_.checkpoint().async();
    check_replicas_now();
    collect_bad_samples();
    comm_.set_activity(step(), "saving");
    comm_.set_deadline(std::max(config_.distributed().deadline_s(), kSaveDeadlineSeconds));
    if (folder_) save_on_root(saved_durably_);
    if (saved_durably_) comm_.barrier("checkpoint written");
    comm_.set_deadline(config_.distributed().deadline_s());
  }

  void save_on_root(bool now) {
    reporter_->pause();
    const bool is_best = last_eval_is_best_ && position_.last_eval_step == step();
    CheckpointSaver& saver = folder_->saver();
    if (now) {
      outcome_.digest = saver.save_now(state(), is_best).digest;
    } else if (!saver.request(state(), is_best)) {
      if (is_best) {  // not to be missed: wait for the save under way
        saver.wait();
        saver.request(state(), true);
      } else {
        warn(fmt::format("checkpoint of step {} skipped: the one before is still being written", step()));
      }
    }
    reporter_->resume();
  }

  // New ones are told and listed.
  void collect_bad_samples() {
    const std::vector<std::string> news = bad_samples_.collect(loader_->bad_samples(), comm_);
    if (news.empty()) return;
    for (const std::string& reason : news) warn("unreadable sample, replaced by another: " + reason);
    folder_->list_bad_samples(bad_samples_.samples());
  }

  // Training up to here is good: it is saved first.
  [[noreturn]] void end_over_budget() {
    if (saved_step_ != step() || !saved_durably_) save(true);
    bad_samples_.throw_over_budget(fmt::format("The state after step {} is saved; the samples are listed in {}/bad_samples.tsv.", step(),
                                               config_.run_dir()));
  }

  // Evaluation images that could not be read, each told once.
  void tell_missed_images() {
    const std::vector<std::string> news = missed_images_.collect(eval_loader_->bad_samples(), comm_);
    for (const std::string& reason : news) warn("unreadable evaluation image, counted as a miss: " + reason);
  }

  // Within the second that is left before SIGKILL: rank 0 saves the state of the last step boundary, on its own. Whatever
  // reaches the disk in time is whole; if nothing does, the last checkpoint stands.
  template <class Work>
  std::invoke_result_t<const Work&> or_save_urgently(const Work& work) {
    try {
      return work();
    } catch (const UrgentStop&) {
      take_results(true);
      folder_->saver().save_now(state(), false);
      throw EnvironmentError(fmt::format("stopped by {}; the state after step {} is saved: go on with --resume auto", stop_reason(), step()),
                             ExitCode::kTempFail);
    }
  }

  void finish() {
    outcome_.step = step();
    if (is_root()) {
      outcome_.train_seconds = reporter_->train_seconds();
      outcome_.images_per_second = reporter_->images_per_second();
      outcome_.noise = reporter_->noise_scale(outcome_.noise_text);
    }
    save(true);  // nobody leaves before the state is durable
    outcome_.energy = energy_->total();
    if (reporter_) reporter_->used(outcome_.energy);
    if (bad_samples_.over_budget()) end_over_budget();
    if (profiler_ && profiler_->finish()) tell_profile();
    if (profiler_ && !profiler_->written()) warn("no profile: the run ended before the first step to be traced");
  }

  [[noreturn]] void throw_not_finite(const StepResult& result) {
    const std::string culprit =
        result.first_bad >= 0 ? session_.network.model->parameters()[static_cast<std::size_t>(result.first_bad)]->name : "";
    throw UserError(fmt::format("step {}: the loss is {} and the gradient's norm is {} at learning rate {:.6g}{}{}\n"
                                "  The step was not applied and nothing of it is saved. Lower schedule.lr, lengthen "
                                "schedule.warmup_epochs or set optimizer.clip_norm, then continue from the last checkpoint with "
                                "--resume auto --allow-changes.",
                                result.step, result.loss, result.grad_norm, result.lr,
                                culprit.empty() ? "" : "; the first parameter with a non-finite gradient is " + culprit,
                                config_.precision() == proto::Config::FP16 ? fmt::format("; the loss scale is {:g}", result.loss_scale) : ""),
                    ExitCode::kNumeric);
  }

  const TrainRequest& request_;
  Communicator& comm_;
  Session session_;
  const proto::Config& config_;
  const SizePhases sizes_;
  std::vector<std::string> early_warnings_;
  std::unique_ptr<Reporter> reporter_;  // rank 0
  std::unique_ptr<RunFolder> folder_;   // rank 0; released before the reporter
  RunPosition position_;
  BadSampleList bad_samples_;
  BadSampleList missed_images_{std::numeric_limits<std::int64_t>::max()};
  MemoryPlan memory_;
  std::optional<Loader> loader_;  // before the runner, which may hold its batches
  std::unique_ptr<StepRunner> runner_;
  std::unique_ptr<EvalLoader> eval_loader_;
  std::optional<Profiler> profiler_;
  std::optional<RunEnergyMeter> energy_;
  std::int64_t eval_batch_ = 1;
  std::int64_t eval_period_ = 0, save_period_ = 0;
  std::int64_t next_size_step_ = -1;  // where training images change their size
  std::int64_t steps_here_ = 0;       // of this process
  InputWatch input_watch_;            // rank 0
  std::int64_t saved_step_ = -1;      // of the last save that was asked for
  bool saved_durably_ = false;        // it was waited for
  bool last_eval_is_best_ = false;
  bool evaluated_before_ = false;  // in this process
  TrainOutcome outcome_;
};

}  // namespace

TrainOutcome train(const TrainRequest& request, Communicator& comm) {
  install_stop_handlers();
  return Trainer(request, comm).run();
}

}  // namespace lockstep
