// A small job whose steps tests give out one by one, on one or several ranks of this process.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "core/error.h"
#include "distributed/local_group.h"
#include "proto/config.pb.h"
#include "train/loading.h"
#include "train/session.h"
#include "train/step.h"

namespace lockstep::testing_job {

using Overrides = std::vector<std::string>;  // "optimizer.type=LARS"

inline Session session_of(const Overrides& set, int ranks = 1) {
  std::vector<ConfigOverride> overrides;
  for (const std::string& assignment : set) overrides.push_back(parse_override(assignment));
  LoadedConfig loaded = parse_config(
      "name: 'job' epochs: 4 seed: 7\n"
      "model { name: 'resnet8' base_width: 8 }\n"
      "data { source: SYNTHETIC height: 12 width: 12 synthetic { size: 64 eval_size: 10 classes: 4 } }\n"
      "batch { global_batch: 16 shard_batch: 4 }\n"
      "optimizer { weight_decay: 5e-4 }\n"
      "schedule { kind: COSINE lr: 0.1 warmup_epochs: 0.5 }\n",
      "job", overrides);
  validate(loaded);
  return make_session(std::move(loaded), ranks);
}

// Steps [begin, end) with a runner and a loader of their own; `size`: of the images, 0: the config's.
inline std::vector<StepResult> run_steps(Session& session, Communicator& comm, std::int64_t begin, std::int64_t end, int size = 0) {
  LoaderOptions options = train_loader_options(session, comm.rank(), begin);
  if (size > 0) options.augment.out_height = options.augment.out_width = size;
  Loader loader(*session.train_source, options);
  const auto runner = make_step_runner(session.config(), session.plan, session.network, *session.optimizer, session.average.get(), comm);
  std::vector<StepResult> results;
  for (std::int64_t step = begin; step < end; ++step) {
    runner->submit(step, session.schedule->lr(step), loader);
    while (const auto result = runner->take(true)) results.push_back(*result);
  }
  return results;
}

inline std::string digest_of(const Session& session, std::int64_t step) { return state_digest(capture_state(session, step)); }

// Of the state after `steps` steps, on `ranks` ranks that must all agree.
inline std::string digest_after(const Overrides& set, int steps, int ranks = 1) {
  std::vector<std::string> digests(static_cast<std::size_t>(ranks));
  LocalGroup group(ranks);
  group.run([&](Communicator& comm) {
    Session session = session_of(set, comm.size());
    run_steps(session, comm, 0, steps);
    digests[static_cast<std::size_t>(comm.rank())] = digest_of(session, steps);
  });
  for (const std::string& digest : digests)
    if (digest != digests[0]) return "ranks differ";
  return digests[0];
}

}  // namespace lockstep::testing_job
