// pack: rewrites a data set into WebDataset shards: few large files that are read front to back, instead of many small ones.
//
// Shard members are CLASS/BASE_NAME (the image) and CLASS/KEY.cls (the label as decimal text), KEY being the base name up to its
// first dot; in the order of the set. Packed as it is, the set keeps its digest: same images, names, labels, order.
// The shards' bytes are a function of the images, names, labels and options: no times, no owners.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/source.h"

namespace lockstep {

struct PackOptions {
  std::string output;      // a folder: made here; UserError(kCantCreate) if it holds anything
  std::string split_name;  // "train": train-000000.tar, ...
  int resize_short = 0;    // > 0: larger images are resized (Pillow's filter) so that their short side has so many pixels
  int quality = 90;        // of the JPEGs that are then written; images that stay keep their bytes
  std::int64_t shard_bytes = std::int64_t{256} << 20;  // a shard is closed before it would grow beyond
  std::int64_t max_skipped = 0;                        // bad images that may be left out
  int threads = 0;                                     // 0: all processors
  std::function<void(std::int64_t done, std::int64_t images)> progress;  // called from the calling thread now and then
};

struct PackedSplit {
  std::int64_t images = 0, resized = 0, bytes = 0;
  std::vector<std::string> shards;   // file names
  std::vector<std::string> skipped;  // one line each: name and why
};

// Packs one split; every image is decoded, so that no bad one goes in. The folder may hold the other split's shards. Blocks.
// Throws UserError(kData) that lists the bad images when there are more than may be skipped: the folder then holds whole shards
// only, of the images before them.
PackedSplit pack(const Source& source, const PackOptions& options);

// Throws UserError when the set can't be packed: its images aren't files, or two of a class would have one key. pack() calls it.
void check_packable(const Source& source);

// Makes the folder, or takes an empty one. UserError(kCantCreate) otherwise.
void make_pack_folder(const std::string& output);

// classes.txt: the class names in order, one a line. Does nothing for a set without names.
void write_class_names(const Source& source, const std::string& output);

}  // namespace lockstep
