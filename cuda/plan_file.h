// Which engine was chosen for which convolution, in a file, so that the next run has it at once.
//
// Text, one line per choice: checksum, key, value. A key names the convolution, the GPU and the libraries' versions; lines of
// other machines are kept. Lines that are damaged are left out and reported; nothing about the file is ever fatal.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::cuda {

struct PlanFile {
  std::map<std::string, std::string> plans;
  std::vector<std::string> ignored;  // one per line left out: "line 3: checksum does not match"
  bool foreign = false;              // something else lies there: must not be overwritten
};

PlanFile parse_plan_file(std::string_view text);
std::string format_plan_file(const std::map<std::string, std::string>& plans);
PlanFile read_plan_file(const std::string& path);  // empty if there is none
// Into a temporary file beside it, synced, renamed: whoever reads meanwhile sees the old file or the new one. Returns "", or
// the call that failed and why.
std::string write_plan_file(const std::string& path, const std::map<std::string, std::string>& plans);

struct PlanChoice {
  std::string engine;  // as the engine names itself and its knobs
  bool timed = false;  // against others, on the device; false: proposed by the library
};

// The choices of one machine: a part of the file. Several processes may use the same file.
class PlanCache {
 public:
  // `path` "": nothing is read or written. `machine`: GPU, compute capability and versions.
  PlanCache(std::string path, std::string machine);

  const PlanChoice* find(const std::string& problem) const;
  void remember(const std::string& problem, const PlanChoice& choice);
  void forget(const std::string& problem) { choices_.erase(problem); }  // it is not offered any more
  // Adds what is new to the file, as it is by now.
  void save();
  // What was ignored and what could not be written.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  const std::string path_, machine_;
  std::map<std::string, PlanChoice> choices_;  // by problem
  std::map<std::string, std::string> unsaved_;  // as in the file
  std::vector<std::string> notes_;
};

}  // namespace lockstep::cuda
