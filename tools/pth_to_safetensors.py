"""Weights of PyTorch (.pth, .pt: a state_dict, or a checkpoint that holds one) as safetensors, which lockstep reads.

    python tools/pth_to_safetensors.py IN.pth OUT.safetensors     (needs torch and safetensors)
"""
# SPDX-License-Identifier: Apache-2.0
import sys

import torch
from safetensors.torch import save_file

state = torch.load(sys.argv[1], map_location="cpu", weights_only=True)
for key in ("state_dict", "model", "state_dict_ema"):
    state = state[key] if isinstance(state.get(key), dict) else state
save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, sys.argv[2], metadata={"format": "pt"})
