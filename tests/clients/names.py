"""Hugging Face to GGUF and back: transformers and gguf-py open both, small models of every architecture whose
keys Octavo makes."""

import os
import re
import shutil

import gguf
import numpy as np
import torch
from common import ROOT, bits, check, config, differences, finish, octavo, path, read, skip, story
from transformers import AutoConfig, AutoModelForCausalLM

SMALL = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "initializer_range": 0.3,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
    "rope_theta": 500000.0,
}
# name: model_type, what differs; whether transformers reads the GGUF of it
MODELS = {
    "llama": ("llama", {"rope_theta": 10000.0}, True),
    "llama tied": ("llama", {"tie_word_embeddings": True}, True),
    "llama one head per key": ("llama", {"num_key_value_heads": 4, "head_dim": 24}, False),
    "llama 3": ("llama", {"rope_parameters": LLAMA3, "head_dim": 32}, False),
    "llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True}, False),
    "mistral": ("mistral", {"sliding_window": None, "head_dim": 16}, True),
    "mixtral": ("mixtral", {"num_local_experts": 3, "num_experts_per_tok": 2, "sliding_window": None}, False),
    "qwen2": ("qwen2", {}, True),
    "qwen2_moe": ("qwen2_moe", {**EXPERTS, "shared_expert_intermediate_size": 48, "norm_topk_prob": False}, False),
    "qwen3": ("qwen3", {"head_dim": 24}, False),
    "qwen3 with heads of 128": ("qwen3", {"head_dim": 128}, True),  # what transformers takes for granted in a GGUF
    "qwen3_moe": ("qwen3_moe", {**EXPERTS, "head_dim": 24, "norm_topk_prob": True}, False),
    "qwen3_moe as large as 30B": (
        "qwen3_moe",
        {**EXPERTS, "head_dim": 128, "moe_intermediate_size": 768, "norm_topk_prob": True},
        True,
    ),
}
# Those of which only names are known.
NAMES_ONLY = {
    "deepseek_v3": {
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "n_group": 2,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "q_lora_rank": 32,
        "kv_lora_rank": 32,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 16,
        "v_head_dim": 16,
        "num_key_value_heads": 4,
    },
    "glm4_moe": {
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "head_dim": 16,
        "use_qk_norm": True,
        "attention_bias": True,
    },
    "phi3": {"pad_token_id": 0},
}
IDS = torch.tensor([[1, 5, 77, 30, 12, 9, 41, 3, 90, 2]])


def logits(model):
    with torch.no_grad():
        return model.eval()(IDS).logits


def load(directory, **more):
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, **more)


def make(name):
    """A model with random weights, norms included, as transformers writes it."""
    kind, differs = MODELS[name][:2] if name in MODELS else (name, NAMES_ONLY[name])
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SMALL, **differs}), dtype=torch.float32)
    for n, p in model.named_parameters():
        with torch.no_grad():
            p.copy_(torch.randn_like(p) * (0.1 if p.dim() > 1 else 0.05) + (1.0 if "norm" in n and p.dim() == 1 else 0.0))
    to = path("names", name.replace(" ", "-"))
    model.save_pretrained(to)
    return to


def same_config(a, b):
    """Fields in which two directories differ once transformers has filled in what neither says."""
    skipped = {"_name_or_path", "transformers_version", "dtype", "initializer_range", "bos_token_id", "eos_token_id",
               "pad_token_id"}
    x, y = (AutoConfig.from_pretrained(d).to_dict() for d in (a, b))
    if x.get("head_dim") is None or y.get("head_dim") is None:
        skipped.add("head_dim")  # said on one side only, where it is hidden_size / heads
    return [f"{k} is {y.get(k)}, not {x.get(k)}" for k in sorted((x.keys() | y.keys()) - skipped) if x.get(k) != y.get(k)]


def by_name_map(file, source):
    """Where the names in a file are not those that gguf-py's own map has for the names of the source."""
    reader = gguf.GGUFReader(file)
    arch = reader.get_field("general.architecture").contents()
    key = next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == arch)
    table = gguf.get_tensor_name_map(key, SMALL["num_hidden_layers"])
    want = {}
    for n in read(source):
        if n == "lm_head.weight" and config(source)["tie_word_embeddings"]:
            continue
        # as llama.cpp's converter has them: stacks of experts, and a bias that is one
        merged = re.sub(r"\.experts\.\d+\.", ".experts.", n).replace("correction_bias", "correction.bias")
        want[table.get_name(merged, try_suffixes=(".weight", ".bias"))] = n
    have = {t.name for t in reader.tensors} - {"rope_freqs.weight"}
    return [f"{n} ({want.get(n)})" for n in sorted(map(str, want.keys() ^ have))]


def one(name):
    kind, _, loads = MODELS[name]
    source = make(name)
    file, back = path("names", "gguf", f"{name.replace(' ', '-')}.gguf"), path("names", "back", name.replace(" ", "-"))
    octavo("convert", source, "-o", file)
    octavo("convert", file, "--names", "hf", "-o", back)
    want = logits(load(source))
    check(f"{name}: gguf-py's map has the names of the GGUF", by_name_map(file, source))
    got, tensors = read(back), read(source)
    check(f"{name}: what comes back has the same tensors", differences(got, tensors))
    if kind == "mistral":  # a GGUF does not tell it from llama
        check(f"{name}: becomes a llama", "" if config(back)["model_type"] == "llama" else config(back)["model_type"])
    else:
        check(f"{name}: and the same config.json", same_config(source, back))
    x = logits(load(back))
    check(f"{name}: and the same logits", "" if torch.equal(bits(x), bits(want)) else f"up to {(x - want).abs().max():.3g} apart")
    if not loads:
        return
    x = logits(load(os.path.dirname(file), gguf_file=os.path.basename(file)))
    check(f"{name}: transformers has the same logits from the GGUF",
          "" if torch.equal(bits(x), bits(want)) else f"up to {(x - want).abs().max():.3g} apart")


def names_only(name):
    source = make(name)
    file, back = path("names", "gguf", f"{name}.gguf"), path("names", "back", name)
    octavo("convert", source, "-o", file)
    octavo("convert", file, "--names", "hf", "-o", back)
    check(f"{name}: gguf-py's map has the names of the GGUF", by_name_map(file, source))
    check(f"{name}: what comes back has the same tensors", differences(read(back), read(source)))
    os.link(os.path.join(source, "config.json"), os.path.join(back, "config.json"))
    x, want = logits(load(back)), logits(load(source))
    check(f"{name}: and the same logits", "" if torch.equal(bits(x), bits(want)) else f"up to {(x - want).abs().max():.3g} apart")


def factors():
    """rope_freqs.weight, as llama.cpp's converter computes it, in FP32."""
    source, file = path("names", "llama-3"), path("names", "gguf", "llama-3.gguf")
    tensor = next(t for t in gguf.GGUFReader(file).tensors if t.name == "rope_freqs.weight")
    rope = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(source)).model.rotary_emb
    plain = 1.0 / (LLAMA3["rope_theta"] ** (torch.arange(0, 32, 2, dtype=torch.float64) / 32))
    want = (plain / rope.inv_freq.double()).numpy()
    worst = np.abs(np.array(tensor.data) / want - 1).max()
    check("llama 3: the factors are what transformers divides by, to 1e-6", "" if worst < 1e-6 else f"{worst:.3g}")


def stories():
    """The real model, when it is there."""
    data = os.path.join(ROOT, "..", "shared", "data", "models")
    source = os.path.join(data, "stories260K-hf")
    if not os.path.isdir(source):
        skip("stories260K: the model is not there")
        return
    file = path("names", "gguf", "stories.gguf")
    octavo("convert", os.path.join(data, "stories260K.bin"), "-o", file)
    want, x = logits(load(source)), logits(load(os.path.dirname(file), gguf_file="stories.gguf"))
    check("stories260K: llama2.c to GGUF has the logits of the safetensors",
          "" if torch.equal(bits(x), bits(want)) else f"up to {(x - want).abs().max():.3g} apart")


shutil.rmtree(path("names"), ignore_errors=True)
for n in MODELS:
    with story(n):
        one(n)
for n in NAMES_ONLY:
    with story(n):
        names_only(n)
with story("llama 3: factors"):
    factors()
with story("stories260K"):
    stories()
finish()
