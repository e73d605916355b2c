// SPDX-License-Identifier: Apache-2.0
#include "train/choices.h"

#include <sstream>

#include "proto/config.pb.h"
#include "train/memory_plan.h"

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

void agree_on_choices(Session& session, Communicator& comm) {
  const proto::Config& config = session.config();
  if (config.backend() != proto::Config::CUDA || !config.cuda().time_choices() || comm.size() == 1) return;
  if (comm.rank() == 0) plan_memory_of(session);
  const auto agreed = broadcast_choices(session.network.kernels->choices(), comm);
  if (comm.rank() != 0) session.network.kernels->use_choices(agreed);
}

}  // namespace lockstep
