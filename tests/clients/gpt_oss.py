"""GPT-OSS: transformers opens stacks of experts in MXFP4 that Octavo wrote, and has the same weights and
logits as from octavo dequantize."""

import torch
from common import check, config, differences, finish, octavo, path, story
from transformers import AutoModelForCausalLM, GptOssConfig, Mxfp4Config


def made():
    """A small model, named and saved by transformers itself; random weights."""
    to = path("models", "gpt-oss")
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(
        GptOssConfig(
            vocab_size=256,
            hidden_size=256,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=64,
            num_local_experts=4,
            num_experts_per_tok=2,
            max_position_embeddings=256,
        )
    )
    with torch.no_grad():  # from_config leaves what it does not know as it was in memory
        for p in model.parameters():
            p.normal_(0, 0.02)
    model.to(torch.bfloat16).save_pretrained(to)
    return to


def load(folder, **more):
    model, said = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, output_loading_info=True, **more
    )
    return model.eval(), [f"{k}: {sorted(map(str, v))[:3]}" for k, v in said.items() if v]


def logits(model):
    with torch.no_grad():
        return model(torch.arange(256).reshape(2, 128)).logits


def main():
    source, folder, plain = made(), path("gpt-oss", "mxfp4"), path("gpt-oss", "plain")
    rules = path("gpt-oss", "rules")
    with open(rules, "w", encoding="utf-8") as f:
        f.write("*self_attn* = keep\n")
    octavo(
        "quantize", source, "--scheme", "mxfp4", "--convention", "gpt-oss", "--rules", rules, "-o", folder
    )
    octavo("dequantize", folder, "--dtype", "bf16", "-o", plain)
    said = config(folder)["quantization_config"]
    check(
        "gpt-oss: quant_method in config.json",
        "" if said["quant_method"] == "mxfp4" else f"it is {said['quant_method']}",
    )
    got, wrong = load(folder, quantization_config=Mxfp4Config(dequantize=True))
    want, more = load(plain)
    wrong += more + differences(dict(got.named_parameters()), dict(want.named_parameters()))
    check("gpt-oss: transformers, dequantize=True: weights", wrong)
    check(
        "gpt-oss: transformers, dequantize=True: logits",
        "" if torch.equal(logits(got), logits(want)) else "they differ",
    )
    first = dict(load(source)[0].named_parameters())
    name = "model.layers.1.mlp.experts.down_proj"
    error = (first[name].float() - dict(got.named_parameters())[name].float()).norm() / first[name].float().norm()
    check(f"gpt-oss: {name} is itself, {error:.3f} of its norm away", "" if error < 0.15 else "it is not")


with story("gpt-oss"):
    main()
finish()
