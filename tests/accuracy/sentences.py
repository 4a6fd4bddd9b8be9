"""How far sentence embeddings of a quantized encoder are from those of the original: 1 - cosine, W and W+A8.

    python sentences.py MODEL OTHER TEXT      OTHER holds plain floating point (octavo dequantize)
"""
import sys

import torch
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

logging.disable_progress_bar()
path, other, text = sys.argv[1:4]
lines = [s for s in open(text, encoding="utf-8").read().split("\n") if len(s) > 40][:256]
batch = AutoTokenizer.from_pretrained(path)(lines, padding=True, truncation=True, max_length=128, return_tensors="pt")


def embed(model):
    mask = batch["attention_mask"][..., None]
    with torch.no_grad():
        h = model(**batch).last_hidden_state * mask
    return torch.nn.functional.normalize(h.sum(1) / mask.sum(1))


def e4m3(module, args):
    """Inputs as servers round them: a power-of-two scale for 128 channels of a row."""
    x = args[0].reshape(*args[0].shape[:-1], -1, 128)
    scale = torch.exp2(torch.ceil(torch.log2(x.abs().amax(-1, keepdim=True).clamp(min=1e-30) / 448)))
    return ((x / scale).to(torch.float8_e4m3fn).float() * scale).reshape(args[0].shape)


base = embed(AutoModel.from_pretrained(path, dtype=torch.float32).eval())
model = AutoModel.from_pretrained(other, dtype=torch.float32).eval()
for name in ("W", "W+A8"):
    lost = 1 - (base * embed(model)).sum(-1).double()
    print(f"{name}: 1 - cosine of {len(lines)} sentences {lost.mean():.3e}, at most {lost.max():.3e}", end="  ")
    for m in model.modules():
        if isinstance(m, torch.nn.Linear):
            m.register_forward_pre_hook(e4m3)
print()
