// Plans every convolution of our networks with cuDNN for an H100 that isn't there, by the product's own graphs (cuda/cudnn/graphs.h).
//
//   cudnn_plans --ci [TABLE]   checks one batch size per network against what is expected, and TABLE (docs/cudnn_plans.md) against
//                              today's plans if it was made with the same versions; fails with a list
//   cudnn_plans --all          prints the table
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "core/error.h"
#include "tests/cudnn_offline/chooser_checks.h"
#include "tests/cudnn_offline/plan_report.h"

namespace {

using namespace lockstep::cuda;

std::string text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw lockstep::EnvironmentError("can't read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

int check(const cudnn::PlanDevice& device, const char* table) {
  std::vector<std::string> failures = check_expectations(device);
  for (const std::string& failure : check_chooser(device)) failures.push_back(failure);
  if (table != nullptr) {
    const std::string committed = text_of(table), versions = version_line();
    if (committed.find(versions) == std::string::npos)
      std::printf("%s was made with other versions; now: %s\n", table, versions.c_str());
    else if (committed != plan_table(device))
      failures.push_back(std::string(table) + " is not what --all prints: run cudnn_plans --all > docs/cudnn_plans.md and look at the difference");
  }
  for (const std::string& failure : failures) std::fprintf(stderr, "FAILED: %s\n", failure.c_str());
  return failures.empty() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string_view command = argc > 1 ? argv[1] : "";
  const cudnn::PlanDevice device{.handle = nullptr, .described = cudnn::describe_device(text_of(LOCKSTEP_DEVICE_DESCRIPTION))};
  if (command == "--ci") return check(device, argc > 2 ? argv[2] : nullptr);
  if (command != "--all") {
    std::fprintf(stderr, "usage: cudnn_plans --ci [TABLE] | --all\n");
    return 64;
  }
  std::fputs(plan_table(device).c_str(), stdout);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
