// Weights files: a model's parameters and buffers as safetensors with torchvision's names, in and out.
//
// What save_weights writes, PyTorch loads with load_state_dict(strict=True); what it saved itself (by
// tools/pth_to_safetensors.py), load_weights reads. Files may come from others: nothing in them is trusted.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "models/model.h"
#include "train/checkpoint/fs.h"

namespace lockstep {

// Fills the model, whose tensors lie on the host, from the file: F64, F32, F16 or BF16, rounded to the model's type. Names may
// have a prefix that all share ("module." of DistributedDataParallel, "state_dict.", "model.", "_orig_mod.");
// num_batches_tracked is ignored; DenseNet's older names are understood. Blocks. Returns a note for the user, or nothing: that the
// file holds parts which the network leaves out (Model::left_out).
// UserError(kData): damage; tensors that are missing, unknown or have another shape (one message with up to five of each);
// values that are no weights (not finite, a negative variance). Then the model's values are unspecified.
std::string load_weights(Fs& fs, const std::string& path, Model& model);
// The same from the disk; the path may be a symbolic link, as caches of downloads have them.
std::string load_weights(const std::string& path, Model& model);

// Who made the file and from what: goes into its metadata.
using WeightsFacts = std::map<std::string, std::string>;

// A new file, synced, with a hash of its contents in the metadata, which load_weights checks. The model lies on the host.
// `steps` becomes num_batches_tracked. Returns its size in bytes. FsError when the name is taken.
std::uint64_t save_weights(Fs& fs, const std::string& path, const Model& model, std::int64_t steps, const WeightsFacts& facts);

}  // namespace lockstep
