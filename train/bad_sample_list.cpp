// SPDX-License-Identifier: Apache-2.0
#include "train/bad_sample_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "core/error.h"

namespace lockstep {
namespace {

// File names may hold anything; a list of lines may not.
std::string printable(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = '?';
  return text;
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

void BadSampleList::restore(std::map<std::string, std::string> saved, Communicator& comm) {
  samples_ = std::move(saved);
  count_ = comm.broadcast_value(static_cast<std::int64_t>(samples_.size()), 0, "bad samples");
}

std::vector<std::string> BadSampleList::collect(const BadSamples& mine, Communicator& comm) {
  std::string lines;
  for (const BadSample& bad : mine.list()) lines += printable(bad.name) + '\t' + printable(first_line(bad.reason)) + '\n';
  std::vector<std::string> news;
  for (const std::string& theirs : comm.all_gather_strings(lines, "bad samples")) {
    if (example_.empty() && !theirs.empty()) example_ = theirs.substr(theirs.find('\t') + 1, theirs.find('\n') - theirs.find('\t') - 1);
    if (comm.rank() != 0) continue;
    std::istringstream stream(theirs);
    for (std::string line; std::getline(stream, line);) {
      const std::size_t tab = line.find('\t');
      if (samples_.emplace(line.substr(0, tab), line.substr(tab + 1)).second) news.push_back(line.substr(tab + 1));
    }
  }
  count_ = comm.broadcast_value(static_cast<std::int64_t>(samples_.size()), 0, "bad samples");
  return news;
}

void BadSampleList::throw_over_budget(const std::string& what_now) const {
  throw UserError(fmt::format("{}{} training sample{} could not be read, data.max_bad_samples allows {}.\n  {}\n"
                              "  Raise data.max_bad_samples and go on with --resume auto, or repair the data and go on with --resume auto "
                              "--allow-changes: then they are counted anew.",
                              example_.empty() ? "" : example_ + "\n  ", count_, count_ == 1 ? "" : "s", budget_, what_now),
                  ExitCode::kData);
}

}  // namespace lockstep
