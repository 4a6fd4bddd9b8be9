"""The forward pass against transformers: logits of small models with random weights, every architecture that has one,
and of a GGUF of them where Octavo makes that."""

import os
import subprocess

import numpy as np
import torch
from common import ROOT, check, finish, octavo, path, story
from safetensors.numpy import load_file
from transformers import AutoConfig, AutoModelForCausalLM

LOGITS = os.path.join(os.path.dirname(os.environ["OCTAVO"]), "logits")
SMALL = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "initializer_range": 0.3,
}
EXPERTS = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LATENT = {
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 32,
    "n_group": 4,
    "topk_group": 2,
    "first_k_dense_replace": 1,
    "q_lora_rank": 24,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
    "num_key_value_heads": 4,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
    "rope_theta": 500000.0,
}
YARN = {
    "rope_type": "yarn",
    "factor": 4.0,
    "beta_fast": 32,
    "beta_slow": 1,
    "mscale": 1.0,
    "mscale_all_dim": 0.7,
    "original_max_position_embeddings": 32,
    "rope_theta": 10000.0,
}
V2 = {k: v for k, v in LATENT.items() if k not in ("n_group", "topk_group")}
# name: model_type, what differs; whether there is a GGUF of it
MODELS = {
    "llama": ("llama", {"rope_theta": 10000.0}, True),
    "llama tied, one head per key": ("llama", {"tie_word_embeddings": True, "num_key_value_heads": 4, "head_dim": 24}, False),
    "llama 3": ("llama", {"rope_parameters": LLAMA3, "head_dim": 32}, False),
    "llama, linear": ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}}, False),
    "llama, yarn": ("llama", {"rope_parameters": {**YARN, "mscale": 0, "mscale_all_dim": 0}}, False),
    "llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True}, False),
    "mistral": ("mistral", {"sliding_window": None, "head_dim": 16}, True),
    "mistral, window": ("mistral", {"sliding_window": 7, "head_dim": 16}, False),
    "qwen2": ("qwen2", {}, True),
    "qwen2, window of the last layers": ("qwen2", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}, False),
    "qwen3": ("qwen3", {"head_dim": 24}, True),
    "mixtral": ("mixtral", {"num_local_experts": 5, "num_experts_per_tok": 2, "sliding_window": None}, False),
    "qwen3_moe": ("qwen3_moe", {**EXPERTS, "head_dim": 24, "norm_topk_prob": True, "mlp_only_layers": []}, False),
    "qwen3_moe, every other layer": ("qwen3_moe", {**EXPERTS, "decoder_sparse_step": 2, "norm_topk_prob": False, "mlp_only_layers": []}, False),
    "deepseek_v2, lite": ("deepseek_v2", {**V2, "q_lora_rank": None, "topk_method": "greedy", "norm_topk_prob": False, "routed_scaling_factor": 1.0}, False),
    "deepseek_v2, groups": (
        "deepseek_v2",
        {**LATENT, "topk_method": "group_limited_greedy", "norm_topk_prob": False, "routed_scaling_factor": 16.0, "rope_parameters": YARN},
        False,
    ),
    "deepseek_v3": ("deepseek_v3", {**LATENT, "norm_topk_prob": True, "routed_scaling_factor": 2.5}, False),
    "deepseek_v3, yarn": ("deepseek_v3", {**LATENT, "norm_topk_prob": True, "routed_scaling_factor": 2.5, "rope_parameters": YARN}, False),
}
TOKENS, LENGTH = 90, 30


def model(kind, changes):
    torch.manual_seed(5)
    config = AutoConfig.for_model(kind, **{**SMALL, **changes})
    config._attn_implementation = "eager"
    m = AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for name, p in list(m.named_parameters()) + list(m.named_buffers()):
            if "norm" in name and name.endswith("weight"):
                p.copy_(1 + 0.3 * torch.randn_like(p))
            elif "bias" in name:
                p.copy_(0.2 * torch.randn_like(p))
            elif "inv_freq" not in name:
                p.copy_(0.15 * torch.randn_like(p))
    return m


def ours(directory, ids):
    """Logits of our forward pass."""
    ids.astype("<u4").tofile(path("ids"))
    p = subprocess.run([LOGITS, directory, path("ids"), str(LENGTH)], capture_output=True, check=False)
    if p.returncode:
        raise RuntimeError(p.stderr.decode())
    return np.frombuffer(p.stdout, "<f4").reshape(len(ids), -1)


def compare(what, want, got):
    worst = np.abs(want - got).max() / np.abs(want).max()
    check(what, "" if worst <= 1e-4 else f"logits differ by {worst:.2g} of the largest")


def caches(name, directory, m, ids):
    """The largest keys and values of each layer, as transformers caches them."""
    ids.astype("<u4").tofile(path("ids"))
    octavo("calibrate", "-q", directory, "--tokens", path("ids"), "--length", str(LENGTH), "--holdout-every", "2", "--kv-cache", "--diagonal", "-o", path("kv"), "-f")
    with torch.no_grad():
        cache = m(torch.tensor(ids.reshape(-1, LENGTH)), use_cache=True).past_key_values
    ours = load_file(path("kv"))
    worst = 0.0
    for layer in range(SMALL["num_hidden_layers"]):
        for which, x in (("k", cache.layers[layer].keys), ("v", cache.layers[layer].values)):
            want = x.abs().amax(dim=(0, 2)).reshape(-1).numpy()
            got = ours[f"model.layers.{layer}.self_attn.{which}_cache.amax"]
            worst = max(worst, float(np.abs(want - got).max() / want.max()))
    check(f"{name}: largest keys and values", "" if worst <= 1e-4 else f"differ by {worst:.2g} of the largest")


for name, (kind, changes, has_gguf) in MODELS.items():
    with story(f"forward {name}"):
        m = model(kind, changes)
        directory = path(f"forward-{name.replace(' ', '-').replace(',', '')}")
        m.save_pretrained(directory)
        ids = np.random.default_rng(3).integers(0, SMALL["vocab_size"], TOKENS)
        with torch.no_grad():
            want = m(torch.tensor(ids.reshape(-1, LENGTH))).logits.reshape(TOKENS, -1).numpy()
        compare(f"{name}: logits", want, ours(directory, ids))
        if "kv_lora_rank" not in changes and "sliding_window" not in changes:  # what a window has left is not kept there
            caches(name, directory, m, ids)
        if has_gguf:
            octavo("convert", "-q", directory, "-o", directory + ".gguf", "-f")
            compare(f"{name}: logits of its GGUF", want, ours(directory + ".gguf", ids))

finish()
