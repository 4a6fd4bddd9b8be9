#!/usr/bin/env python3
"""Inputs of every linear layer of a transformers model, for octavo calibrate --dumps.

    python3 dump_activations.py MODEL TEXT OUT.safetensors [LENGTH [SEQUENCES]]
    octavo calibrate --dumps OUT.safetensors -o statistics.safetensors
    octavo quantize MODEL --calibration statistics.safetensors -o fp8/

One tensor a layer, [sequences, rows, channels] in F32; layers that get the same input share it where their
names say so (q, k, v; gate, up).  A model without a tokenizer reads bytes.  Needs torch, transformers, safetensors.
"""
import os
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

# The same input as q_proj, query or gate_proj; not quantized.
SKIP = ("k_proj", "v_proj", "self.key", "self.value", "up_proj", "lm_head")

path, text, out = sys.argv[1:4]
length = int(sys.argv[4]) if len(sys.argv) > 4 else 512
most = int(sys.argv[5]) if len(sys.argv) > 5 else 64
causal = (AutoConfig.from_pretrained(path).architectures or [""])[0].endswith("ForCausalLM")
model = (AutoModelForCausalLM if causal else AutoModel).from_pretrained(path, dtype=torch.float32).eval()
if os.path.exists(os.path.join(path, "tokenizer.json")):
    ids = AutoTokenizer.from_pretrained(path)(open(text, encoding="utf-8").read())["input_ids"]
else:
    ids = list(open(text, "rb").read())
rows = min(len(ids) // length, most)
seen = {}


def hook(name):
    def keep(module, args):
        seen.setdefault(name, []).append(args[0].detach().float().reshape(1, -1, args[0].shape[-1]))

    return keep


for name, module in model.named_modules():
    if isinstance(module, torch.nn.Linear) and not name.endswith(SKIP):
        module.register_forward_pre_hook(hook(name))
with torch.no_grad():
    for r in range(rows):
        model(torch.tensor([ids[r * length : (r + 1) * length]]))
save_file({name + ".input": torch.cat(x).contiguous() for name, x in seen.items()}, out)
print(f"{len(seen)} inputs of {rows} sequences of {length} tokens")
