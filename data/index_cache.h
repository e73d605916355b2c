// Index cache: a SampleIndex in a file, so that the next start need not list the data again.
//
// A kept index is used only if all files and folders that it was made from are unchanged: path, size, time of change, inode. A file
// that is stale, damaged or of another version is as good as none; a folder that can't be written is no error. Ranks may write at
// once: a file appears whole or not at all. What is not noticed: an image file that is rewritten in place (its folder stays as it
// was); reading it then fails if its size is another.
//
// Format, version 1, little-endian: "LSINDEX\n", u64 version, then stamps, classes, containers, ignored, numbered, digest, entries,
// names (each list: u64 count, items; each text: u64 length, bytes), and the XXH3-64 of all that.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/sample_index.h"
#include "data/source.h"

namespace lockstep {

// $XDG_CACHE_HOME/lockstep or $HOME/.cache/lockstep; "" when neither is set.
std::string default_index_cache();

// The file in `folder` for this data: named by the hash of the canonical root, the split and the layout.
std::string index_cache_file(const std::string& folder, const std::string& root, Split split, std::string_view layout);

// The index that was kept for exactly these stamps, or nothing. Never throws for what is in the file. Blocks on the disk.
std::optional<SampleIndex> load_index(const std::string& file, const std::vector<FileStamp>& stamps);

// Keeps an index. False when it could not be written. Makes the folder. Never throws.
bool save_index(const std::string& file, const std::vector<FileStamp>& stamps, const SampleIndex& index) noexcept;

// May an index that was begun at `now_ns` (since 1970) be kept? Not if something changed so lately that a further change could have
// left the same time behind: file systems count time in ticks of some milliseconds, and servers' clocks differ.
bool settled(const std::vector<FileStamp>& stamps, std::int64_t now_ns);

}  // namespace lockstep
