// SPDX-License-Identifier: Apache-2.0
#include "train/choices.h"

#include <algorithm>
#include <sstream>

#include "proto/config.pb.h"
#include "train/loading.h"
#include "train/memory_plan.h"
#include "train/shard_pass.h"

namespace lockstep {

std::map<std::string, std::string> broadcast_choices(const std::map<std::string, std::string>& choices, Communicator& comm) {
  std::string mine;
  for (const auto& [problem, choice] : choices) mine += problem + '\t' + choice + '\n';
  std::map<std::string, std::string> agreed;
  std::istringstream lines(comm.broadcast_string(mine, 0, "choices"));
  for (std::string line; std::getline(lines, line);) {
    const std::size_t tab = line.find('\t');
    agreed[line.substr(0, tab)] = line.substr(tab + 1);
  }
  return agreed;
}

namespace {

// Timing every engine of every convolution takes minutes.
constexpr double kTimingDeadlineSeconds = 3600;

// Rank 0 meets all convolutions of the run without computing any.
void plan_convolutions(Session& session) {
  const SizePhases sizes = size_phases(session);
  for (const SizePhases::Phase& phase : sizes.phases()) plan_memory(session.network, session.plan, phase.image);
  if (!session.eval_source) return;
  const ImageSize image = image_size(session.config(), *session.train_source);
  const EvalLoaderOptions loading = eval_loader_options(session.config(), image, 0, 1, session.network);
  rehearse_evaluation(session.network, {loading.batch, image.channels, image.height, image.width});
}

}  // namespace

void agree_on_choices(Session& session, Communicator& comm) {
  const proto::Config& config = session.config();
  if (config.backend() != proto::Config::CUDA || comm.size() == 1) return;
  const bool chooses = config.cuda().time_choices() || !config.cuda().plan_cache().empty();
  if (comm.broadcast_value(static_cast<std::uint8_t>(chooses), 0, "choices: are there any") == 0) return;
  comm.set_deadline(std::max(config.distributed().deadline_s(), kTimingDeadlineSeconds));
  if (comm.rank() == 0) plan_convolutions(session);
  const auto agreed = broadcast_choices(session.network.kernels->choices(), comm);
  if (comm.rank() != 0) session.network.kernels->use_choices(agreed);
  comm.set_deadline(config.distributed().deadline_s());
}

}  // namespace lockstep
