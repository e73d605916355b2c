// SPDX-License-Identifier: Apache-2.0
#include "train/resume.h"

#include <fmt/format.h>

#include <map>

#include "core/error.h"
#include "proto/config.pb.h"
#include "train/choices.h"
#include "train/weights_file.h"

namespace lockstep {
namespace {

// The lines of a message about what differs between the saved run and this one.
std::string changes_text(const std::vector<ConfigChange>& changes, const std::vector<std::string>& breaking) {
  std::string text;
  for (const ConfigChange& change : changes) text += fmt::format("\n  {}: saved {}, now {}", change.path, change.from, change.to);
  for (const std::string& line : breaking) text += "\n  " + line;
  return text;
}

void compare_runs(const TrainingState& saved, const Session& session, const std::string& path, bool allow_changes,
                  const std::function<void(const std::string&)>& warn) {
  const TrainingState current = capture_state(session, static_cast<std::int64_t>(saved.step));
  const ContractDifferences differences = contract_differences(saved, current);
  const LoadedConfig saved_config = parse_config(saved.contract.config_text, path + " (config)");
  const ConfigDiff diff = config_diff(saved_config.config(), session.config());
  const std::string text = changes_text(diff.must_not_change, differences.breaking);
  if (!text.empty()) {
    const std::string message = fmt::format("resume: {} was saved by a run that differs:{}", path, text);
    if (!allow_changes)
      throw UserError(message + "\n  Use the saved values, start a new run in another --run-dir, or accept another run with --allow-changes.");
    warn(message + "\n  Going on, as --allow-changes says: from here this is another run.");
  }
  for (const std::string& line : differences.bits) warn("resume: equal bits are not promised: " + line);
}

void broadcast_tensor(Tensor tensor, Communicator& comm, const std::string& name) {
  comm.broadcast({static_cast<std::byte*>(tensor.ptr()), tensor.nbytes()}, 0, "resume: " + name);
}

void broadcast_session(Session& session, const std::map<std::string, std::string>& choices, Communicator& comm) {
  session.network.kernels->use_choices(broadcast_choices(choices, comm));
  session.network.loss_scale = comm.broadcast_value(session.network.loss_scale, 0, "resume: loss scale");
  for (Parameter* parameter : session.network.model->parameters()) broadcast_tensor(parameter->value, comm, parameter->name);
  for (Buffer* buffer : session.network.model->buffers()) broadcast_tensor(buffer->value, comm, buffer->name);
  for (const Tensor& momentum : session.optimizer->momentum()) broadcast_tensor(momentum, comm, "momentum");
  if (session.average)
    for (const NamedTensor& each : session.average->tensors()) broadcast_tensor(each.tensor, comm, each.name);
}

// A fresh start from a weights file.
void begin_with(const std::string& weights, Session& session, Communicator& comm, const std::function<void(const std::string&)>& warn) {
  if (comm.rank() == 0) {
    const std::string note = load_weights(weights, *session.network.model);
    if (!note.empty()) warn(note);
    if (session.average) session.average->restart();
  }
  broadcast_session(session, {}, comm);
  session.network.renew_compute_copies();
}

RunPosition load_on_root(Session& session, const CheckpointInfo& from, bool allow_changes,
                         const std::function<void(const std::string&)>& warn) {
  compare_runs(from.manifest.facts, session, from.path, allow_changes, warn);
  TrainingState saved;
  load_checkpoint(posix_fs(), from.path, saved);
  RunPosition position;
  position.step = restore_state(saved, session, allow_changes);
  if (session.average && !has_average(saved)) warn("resume: " + from.path + " has no average of weights: it begins anew from the saved weights");
  const auto eval_step = saved.accumulators.find(kLastEvalStep);
  if (eval_step != saved.accumulators.end()) position.last_eval_step = static_cast<std::int64_t>(eval_step->second);
  position.best_top1 = saved.best_metric.value_or(-1);
  position.accumulators = saved.accumulators;
  for (const QuarantinedSample& bad : saved.bad_samples) position.bad_samples[bad.sample] = bad.reason;
  return position;
}

}  // namespace

RunPosition resume_everywhere(Session& session, const std::optional<CheckpointInfo>& from, bool allow_changes, Communicator& comm,
                              const std::function<void(const std::string&)>& warn) {
  RunPosition position;
  if (comm.rank() == 0 && from) position = load_on_root(session, *from, allow_changes, warn);
  struct Header {
    std::int64_t resumed, step, last_eval_step;
    double best_top1;
  } header{from.has_value(), position.step, position.last_eval_step, position.best_top1};
  header = comm.broadcast_value(header, 0, "resume: position");
  position.step = header.step;
  position.last_eval_step = header.last_eval_step;
  position.best_top1 = header.best_top1;
  const std::string& weights = session.config().model().weights();
  if (header.resumed == 0 && !weights.empty()) begin_with(weights, session, comm, warn);
  if (header.resumed != 0) {
    // Who allows changes may resume on another kind of GPU, where the saved engines are not to be had.
    const bool same_choices = from && !allow_changes;
    broadcast_session(session, same_choices ? from->manifest.facts.contract.choices : std::map<std::string, std::string>{}, comm);
    session.network.renew_compute_copies();
  }
  return position;
}

}  // namespace lockstep
