#!/usr/bin/env python3
"""Train the sample model: a small byte-level Llama on a public-domain text.

    python3 train.py kjv.txt --out .

The README says which Debian package the text comes from and how to write it
to kjv.txt.  A token is a byte, so the vocabulary is 256 and no tokenizer is
needed.  The architecture, tensor names and config.json are those that Hugging
Face calls LlamaForCausalLM, so any loader of such models can read the result.

Written to --out:
    model.safetensors   the weights, rounded to BF16
    config.json         the model's shape
    recipe.json         how it was trained and what was measured
    sample.txt          text that the saved weights generate
    excerpt.txt         4 KiB of the held-out text, for demonstrations
"""

import argparse
import hashlib
import json
import math
import time
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file

# The text the committed model was trained on.
TEXT = {
    "package": "bible-kjv-text", "package_version": "4.38",
    "licence": "public domain (copyright expired)",
    "sha256": "b5c4940bcfeee072c0935b5200d0f9d88a00a0199cb0961d16133458fcdfae5d",
}

# The model.  128 divides hidden_size and the rows of q, k, v, o, but not
# intermediate_size: 464 = 3 * 128 + 80.  So gate_proj and up_proj (464 x 256)
# end in a partial block along their rows and down_proj (256 x 464) in one
# along its columns, when they are cut into blocks of 128.
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16",
    "vocab_size": 256, "hidden_size": 256, "intermediate_size": 464, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
    "max_position_embeddings": 256, "rope_theta": 10000.0, "rope_scaling": None,
    "hidden_act": "silu", "rms_norm_eps": 1e-05, "initializer_range": 0.02,
    "attention_bias": False, "attention_dropout": 0.0, "mlp_bias": False,
    "tie_word_embeddings": False, "use_cache": True, "pretraining_tp": 1,
    # Newlines separate the verses of the text, so a newline is what stands
    # before the first byte of a verse and what ends one.
    "bos_token_id": 10, "eos_token_id": 10,
}

HYPER = {
    "batch_sequences": 8, "sequence_bytes": 256, "seed": 20, "held_out_fraction": 0.05,
    "peak_learning_rate": 2e-3, "final_learning_rate": 2e-5, "warmup_steps": 100,
    "adam_betas": [0.9, 0.95], "adam_eps": 1e-8, "weight_decay": 0.1, "gradient_clip": 1.0,
}

class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.d = c["head_dim"]
        q, kv = c["num_attention_heads"] * self.d, c["num_key_value_heads"] * self.d
        self.q_proj = nn.Linear(c["hidden_size"], q, bias=False)
        self.k_proj = nn.Linear(c["hidden_size"], kv, bias=False)
        self.v_proj = nn.Linear(c["hidden_size"], kv, bias=False)
        self.o_proj = nn.Linear(q, c["hidden_size"], bias=False)

    def forward(self, x, cos, sin):
        def heads(y):  # (batch, time, heads * d) -> (batch, heads, time, d)
            return y.view(*y.shape[:2], -1, self.d).transpose(1, 2)

        def rotate(y):  # half-split: element i turns together with i + d/2
            a, b = y.chunk(2, -1)
            return y * cos + torch.cat((-b, a), -1) * sin

        q, k, v = heads(self.q_proj(x)), heads(self.k_proj(x)), heads(self.v_proj(x))
        q, k = rotate(q), rotate(k)
        group = q.shape[1] // k.shape[1]  # query heads that share one kv head
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).flatten(2))

class Mlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj = nn.Linear(c["hidden_size"], c["intermediate_size"], bias=False)
        self.up_proj = nn.Linear(c["hidden_size"], c["intermediate_size"], bias=False)
        self.down_proj = nn.Linear(c["intermediate_size"], c["hidden_size"], bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))

class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = nn.RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        self.self_attn = Attention(c)
        self.post_attention_layernorm = nn.RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        self.mlp = Mlp(c)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))

class Llama(nn.Module):
    """Attribute names are chosen so that state_dict() has the published names."""

    def __init__(self, c):
        super().__init__()
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.model.layers = nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"]))
        self.model.norm = nn.RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        self.lm_head = nn.Linear(c["hidden_size"], c["vocab_size"], bias=False)
        # The tables of the rotary embedding; computed, so not saved.
        d = c["head_dim"]
        freq = c["rope_theta"] ** (-torch.arange(0, d, 2) / d)
        angle = torch.outer(torch.arange(c["max_position_embeddings"]), freq)
        self.cos = torch.cat((angle, angle), -1).cos()
        self.sin = torch.cat((angle, angle), -1).sin()
        for name, p in self.named_parameters():
            if p.dim() == 2:  # the two that write to the residual stream start smaller
                small = name.endswith(("o_proj.weight", "down_proj.weight"))
                shrink = math.sqrt(2 * c["num_hidden_layers"]) if small else 1.0
                nn.init.normal_(p, std=c["initializer_range"] / shrink)

    def forward(self, ids):
        x, n = self.model.embed_tokens(ids), ids.shape[1]
        for layer in self.model.layers:
            x = layer(x, self.cos[:n], self.sin[:n])
        return self.lm_head(self.model.norm(x))

@torch.no_grad()
def bits_per_byte(model, data, n=HYPER["sequence_bytes"]):
    """Mean -log2 p over all bytes but the first, in windows of n bytes that do
    not overlap: the context is empty again at the start of every window."""
    total = 0.0
    for i in range(0, len(data) - 1, n):
        window = data[i:i + n + 1]  # the last one may be shorter
        logits = model(window[:-1].view(1, -1))[0]
        total += F.cross_entropy(logits, window[1:], reduction="sum").item()
    return total / math.log(2) / (len(data) - 1)

def unigram_bits_per_byte(train, held):
    """The baseline: byte frequencies of the training part, plus one each."""
    p = torch.bincount(train, minlength=256).double() + 1
    return -(p / p.sum()).log2()[held[1:]].mean().item()

@torch.no_grad()
def generate(model, prompt, count, temperature, seed=1):
    """temperature 0 takes the likeliest byte; otherwise draws one."""
    g = torch.Generator().manual_seed(seed)
    ids = torch.tensor([list(prompt.encode())])
    for _ in range(count):
        logits = model(ids[:, -CONFIG["max_position_embeddings"]:])[0, -1]
        nxt = (logits.argmax() if temperature == 0 else
               torch.multinomial((logits / temperature).softmax(-1), 1, generator=g))
        ids = torch.cat((ids, nxt.view(1, 1)), 1)
    return bytes(ids[0].tolist()).decode("utf-8", "replace")

def main():
    ap = argparse.ArgumentParser(description="Train the sample model.")
    ap.add_argument("text", help="the text to train on")
    ap.add_argument("--out", default=".", help="the folder to write to")
    ap.add_argument("--steps", type=int, default=2000)
    args = ap.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(HYPER["seed"])
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)

    raw = Path(args.text).read_bytes()
    sha = hashlib.sha256(raw).hexdigest()
    source = TEXT if sha == TEXT["sha256"] else {"package": None, "sha256": sha}
    data = torch.frombuffer(bytearray(raw), dtype=torch.uint8).long()
    cut = len(data) - int(len(data) * HYPER["held_out_fraction"])
    train, held = data[:cut], data[cut:]

    model = Llama(CONFIG)
    params = sum(p.numel() for p in model.parameters())
    print(f"{params} parameters, {len(train)} bytes to train on, {len(held)} held out", flush=True)
    opt = torch.optim.AdamW(  # no weight decay on the norms
        [{"params": [p for p in model.parameters() if (p.dim() == 2) == matrix],
          "weight_decay": HYPER["weight_decay"] * matrix} for matrix in (True, False)],
        betas=tuple(HYPER["adam_betas"]), eps=HYPER["adam_eps"])

    n, start, losses = HYPER["sequence_bytes"], time.time(), []
    peak, final, warm = HYPER["peak_learning_rate"], HYPER["final_learning_rate"], HYPER["warmup_steps"]
    for step in range(args.steps):
        turn = max(0, step - warm) / max(1, args.steps - warm)  # 0 to 1 after the warm-up
        lr = final + (peak - final) * 0.5 * (1 + math.cos(math.pi * turn))
        for group in opt.param_groups:
            group["lr"] = lr * min(1.0, (step + 1) / warm)
        at = torch.randint(len(train) - n, (HYPER["batch_sequences"],)).tolist()
        x = torch.stack([train[i:i + n] for i in at])
        y = torch.stack([train[i + 1:i + n + 1] for i in at])
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        opt.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), HYPER["gradient_clip"])
        opt.step()
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}: {sum(losses[-100:]) / 100:.4f} nats/byte", flush=True)
    seconds = time.time() - start

    f32_bits = bits_per_byte(model, held)
    # Round to BF16 (to nearest, ties to even) and save in the order of names.
    rounded = {k: v.to(torch.bfloat16).contiguous() for k, v in sorted(model.state_dict().items())}
    save_file(rounded, out / "model.safetensors", metadata={"format": "pt"})
    # Read the file back: what is measured from here on is what was saved.
    with safe_open(out / "model.safetensors", "pt") as f:
        loaded = {k: f.get_tensor(k) for k in f.keys()}
    assert loaded.keys() == rounded.keys()
    assert all(torch.equal(loaded[k].view(torch.int16), rounded[k].view(torch.int16)) for k in rounded)
    model.load_state_dict({k: v.float() for k, v in loaded.items()})

    # An excerpt from the middle of the held-out part, from the start of a line.
    at = raw.index(b"\n", cut + len(held) // 2) + 1
    (out / "excerpt.txt").write_bytes(raw[at:at + 4096])
    (out / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    recipe = {
        "text": dict(source, bytes=len(raw), train_bytes=len(train), held_out_bytes=len(held),
                     excerpt_offset=at, excerpt_bytes=4096),
        "hyperparameters": dict(HYPER, steps=args.steps, optimizer="AdamW",
                                schedule="linear warm-up, then cosine", arithmetic="F32"),
        "parameters": params,
        "bytes_seen": args.steps * HYPER["batch_sequences"] * n,
        "torch_version": torch.__version__.split("+")[0],
        "device": "cpu, 1 thread",
        "training_seconds": round(seconds),
        "results": {
            "train_loss_nats_per_byte_last_100_steps": sum(losses[-100:]) / len(losses[-100:]),
            "held_out_bits_per_byte_f32": f32_bits,
            "held_out_bits_per_byte_bf16": bits_per_byte(model, held),
            "held_out_bits_per_byte_unigram": unigram_bits_per_byte(train, held),
            "excerpt_bits_per_byte_bf16": bits_per_byte(model, data[at:at + 4096]),
        },
    }
    (out / "recipe.json").write_text(json.dumps(recipe, indent=2) + "\n")
    (out / "sample.txt").write_text("\n\n".join(
        f"== {title}\n" + generate(model, "And it came to pass", 500, t)
        for title, t in (("greedy", 0), ("temperature 0.7", 0.7))) + "\n")

if __name__ == "__main__":
    main()
