// The config of a run: loading (file + overrides, the origin of every value kept), checking, printing, comparing, help.
//
// Everything is driven by proto/config.proto through protobuf reflection, so a new field needs no code here except a
// range in validate.cpp and, if a resumed run may change it, a line in digest.cpp. This header pulls in no protobuf;
// include proto/config.pb.h where fields are read. All functions are pure apart from reading the named file.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lockstep::proto {
class Config;
}

namespace lockstep {

// One setting from the command line. Applied in order after the file; the last one wins.
struct ConfigOverride {
  enum class Kind {
    kSet,      // value in text format; strings may come without quotes
    kAppend,   // as kSet, added to a repeated field
    kLiteral,  // a flag's own argument: strings are taken as they are
  };
  std::string path;   // "optimizer.momentum", "data.mean[0]", "optimizer.group[1].weight_decay"
  std::string value;  // "0.9", "COSINE", "[0.5, 0.5]", "{ size: 10 }"
  Kind kind = Kind::kSet;
  std::string origin = "--set";  // shown in errors and in the effective config
};

// "path=value" or "path+=value", the argument of --set. Throws UserError if it has no '='.
ConfigOverride parse_override(std::string_view assignment);

// The override behind a flag of its own: flag_override("data.path", dir, "--data").
ConfigOverride flag_override(std::string path, std::string value, std::string flag);

// A parsed config with the origin of each value. Copies share (it never changes).
class LoadedConfig {
 public:
  struct State;
  explicit LoadedConfig(std::shared_ptr<const State> state) : state_(std::move(state)) {}

  const proto::Config& config() const;
  const std::string& file() const;  // as the user named it
  // Where a leaf's value comes from: "default", "FILE:LINE", "--set" or another flag. A repeated field of plain values
  // is one leaf ("data.mean"); a repeated message is indexed ("optimizer.group[0].name").
  std::string origin(const std::string& path) const;

 private:
  std::shared_ptr<const State> state_;
};

// Reads and parses a file of at most 1 MiB, applies the overrides, and fills in name (the file's stem) and run_dir
// (runs/<name>) where they are not given. Does not check ranges: call validate. Throws UserError (kNoInput: no such
// file; kUsage: all else) naming line, column, the nearest legal name and all legal names.
LoadedConfig load_config(const std::string& path, const std::vector<ConfigOverride>& overrides = {});

// The same from text; `file` is the name used in messages and origins.
LoadedConfig parse_config(std::string_view text, const std::string& file,
                          const std::vector<ConfigOverride>& overrides = {});

// Checks every range and every rule between fields; throws one UserError that lists all problems, each with the field,
// its value, where the value comes from, what is wanted and how to fix it. Without `needs_data` data.path may be absent.
void validate(const LoadedConfig& loaded, bool needs_data = true);

// Every field with its value, defaults included, and its origin as a comment. Parses back to the same values.
std::string effective_config_text(const LoadedConfig& loaded);

// 32 hex digits (XXH3, 128 bits) of all values that determine the training, i.e. of those that config_diff calls
// must_not_change. Values equal to their default do not enter, so a field added later leaves old digests alone.
std::string config_digest(const proto::Config& config);

struct ConfigChange {
  std::string path, from, to;  // values in text format; "(not given)" for an absent one
};
struct ConfigDiff {
  std::vector<ConfigChange> may_change;       // paths, logging, checkpoints, threads, deadlines, evaluation, ...
  std::vector<ConfigChange> must_not_change;  // everything that determines the training
};
ConfigDiff config_diff(const proto::Config& from, const proto::Config& to);
// True if a run may be resumed with another value of this leaf: config_diff's rule, also shown in docs/config.md.
bool may_change_on_resume(const std::string& path);

// Values in the groups of the proto, one line a group, for the banner: "model  name=resnet14 classes=10".
struct GivenAndDefault {
  std::string given, defaults;
};
GivenAndDefault describe_given_default(const LoadedConfig& loaded);

// What the user reads first: derived values (in the order given: "steps per epoch" -> "468", ...), given values,
// defaults.
std::string banner(const LoadedConfig& loaded, const std::vector<std::pair<std::string, std::string>>& derived);

// `lockstep help config [path]`: an overview for "", a group, or one field. Throws UserError for an unknown path.
std::string help_text(const std::string& path = "");
// The whole reference as Markdown: the content of docs/config.md.
std::string markdown_reference();

}  // namespace lockstep
