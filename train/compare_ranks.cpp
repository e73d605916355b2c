// SPDX-License-Identifier: Apache-2.0
#include "train/compare_ranks.h"

#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "train/build_info.h"

namespace lockstep {

void compare_ranks(const Session& session, Communicator& comm) {
  const std::vector<std::pair<std::string, std::string>> facts{{"config", config_digest(session.config())},
                                                               {"training data", session.train_source->digest()},
                                                               {"evaluation data", session.eval_source ? session.eval_source->digest() : ""},
                                                               {"lockstep", build_id()}};
  for (const auto& [what, mine] : facts) {
    const std::vector<std::string> all = comm.all_gather_strings(mine, "comparison of " + what);
    for (int rank = 1; rank < comm.size(); ++rank)
      if (all[static_cast<std::size_t>(rank)] != all[0])
        throw UserError(fmt::format("ranks 0 ({}) and {} ({}) do not have the same {}: {} and {}\n  Give all machines the same files.",
                                    comm.host_of(0), rank, comm.host_of(rank), what, all[0], all[static_cast<std::size_t>(rank)]));
  }
}

}  // namespace lockstep
