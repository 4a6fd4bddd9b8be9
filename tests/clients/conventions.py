"""Each scheme in each convention that Octavo writes, opened by the software that the convention is for: the
same weights as those of octavo dequantize, bit for bit, and the same logits as the plain model that it
gives.

The pairs come from the program. A convention that CLIENTS does not know fails."""

import glob
import json
import os
import shutil

import torch
from common import (
    SAMPLE,
    SCHEMES,
    PAIRS,
    check,
    config,
    counts,
    differences,
    elements,
    even_sample,
    expert_models,
    finish,
    names,
    octavo,
    path,
    read,
    run,
    skip,
    spread,
    story,
)
from compressed_tensors.entrypoints.convert.converters import (
    CompressedTensorsDequantizer,
    FP8BlockDequantizer,
)
from transformers import AutoConfig, AutoModelForCausalLM, CompressedTensorsConfig, FineGrainedFP8Config
from transformers.quantizers.quantizer_finegrained_fp8 import FineGrainedFP8HfQuantizer

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
with open(os.path.join(SAMPLE, "excerpt.txt"), "rb") as excerpt:
    TEXT = torch.tensor(list(excerpt.read(2048))).reshape(-1, 256)


# ---- what a pair is tested with ------------------------------------------------------

# Where a scheme has a place in routed experts only, all others are INT8, and two codes of 4 bits lie so in a byte.
INT4 = torch.tensor(PAIRS["int4"], dtype=torch.float32)


def columns(low, high):
    return torch.stack((low, high), -1).reshape(low.shape[0], -1)


EXPERTS_ONLY = {
    "mlu-smoothquant": lambda low, high: columns(INT4[low], INT4[high]),
    "slimquant-w4a8": lambda low, high: columns(INT4[high], INT4[low]) * 16,  # the upper half of an INT8
    "ascend-v1": lambda low, high: torch.stack((INT4[low], INT4[high]), 1).reshape(-1, low.shape[1]),  # rows
}


class Case:
    """One model in one scheme and convention: the directory, and what octavo dequantize makes of it. experts: only
    they are in this scheme."""

    def __init__(self, model, source, scheme, convention, *options, experts=False):
        self.scheme, self.convention, self.model, self.experts = scheme, convention, model, experts
        self.name = f"{scheme} in {convention}, {model}"
        self.folder = path("pairs", f"{scheme}.{convention}.{model}")
        if experts:
            with open(path("pairs", "experts.rules"), "w", encoding="utf-8") as f:
                f.write(f"*.mlp.experts.* = {scheme}\n")
            scheme, options = "int8-channel", ("--rules", path("pairs", "experts.rules"))
        octavo(
            "quantize", source, "--scheme", scheme, "--convention", convention, "-o", self.folder, *options
        )
        for kind in DTYPES | ct_kinds(self):
            octavo("dequantize", self.folder, "--dtype", kind, "-o", self.plain(kind))

    def plain(self, kind):
        return f"{self.folder}.{kind}"

    def scales(self):
        """(weight, its scale) by name, of what was quantized."""
        t = read(self.folder)
        found = {}
        for n in t:
            for end in ("_scale_inv", "_scale"):
                if n + end in t:
                    found[n] = n + end
            if n.endswith(".weight") and n.removesuffix("weight") + "scale" in t:
                found[n] = n.removesuffix("weight") + "scale"
            if n.endswith(".qweight"):
                found[n] = n.removesuffix("qweight") + "per_channel_scale"
        return t, found

    def four(self, name):
        return self.experts and ".mlp.experts." in name

    def values(self, name, codes):
        if self.four(name):
            both = codes.view(torch.uint8).to(torch.long)
            return EXPERTS_ONLY[self.convention](both & 15, both >> 4)
        return elements("int8-channel" if self.experts else self.scheme, codes)


def load(folder, dtype, **more):
    """The model, and what the loader had to say about names."""
    model, said = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, output_loading_info=True, **more)
    wrong = [f"{k}: {sorted(map(str, v))[:3]}" for k, v in said.items() if v]
    return model.eval(), wrong


def logits(model, text=TEXT[:1]):
    with torch.no_grad():
        return model(text).logits.to(torch.float32)


def compare(case, what, got, kind, dtype, wrong):
    """A loaded model against the plain one: parameters by name, and logits."""
    plain, said = load(case.plain(kind), dtype)
    wrong = wrong + said + differences(dict(got.named_parameters()), dict(plain.named_parameters()))
    if not torch.equal(logits(got), logits(plain)):
        wrong.append(f"logits differ by up to {(logits(got) - logits(plain)).abs().max():.3g}")
    check(f"{case.name}: {what}, {kind}: weights and logits", wrong)


# ---- clients -------------------------------------------------------------------------


def transformers_fp8(case):
    """As a user of a machine without a GPU has it: from_pretrained dequantizes."""
    for kind, dtype in DTYPES.items():
        model, wrong = load(case.folder, dtype)
        compare(case, "transformers", model, kind, dtype, wrong)


def transformers_fp8_modules(case):
    """What from_pretrained fills on a GPU: the FP8 modules that it makes of config.json have the names and
    shapes of the file, and the scales survive the type that it gives them."""
    quantizer = FineGrainedFP8HfQuantizer(
        FineGrainedFP8Config(**config(case.folder)["quantization_config"]), pre_quantized=True
    )
    with torch.device("meta"):
        c = AutoConfig.from_pretrained(case.folder)
        del c.quantization_config
        model = AutoModelForCausalLM.from_config(c, dtype=torch.bfloat16)
        quantizer._process_model_before_weight_loading(model)
    want, got = dict(model.named_parameters()), read(case.folder)
    got = {
        n.replace(".scale", ".weight_scale_inv") if case.convention == "deepseek-v4" else n: t
        for n, t in got.items()
    }
    wrong = [f"only one side has {n}" for n in sorted(want.keys() ^ got.keys())]
    for n in sorted(want.keys() & got.keys()):
        w, t = want[n], got[n]
        if w.shape != t.shape:
            wrong.append(f"{n} is {list(t.shape)}, not {list(w.shape)}")
        elif not torch.equal(t.to(w.dtype).to(torch.float32), t.to(torch.float32)):
            wrong.append(f"{n} changes as {w.dtype}")
    check(f"{case.name}: transformers' modules for a GPU", wrong)


def fp8_converter(case):
    """compressed-tensors' converter of quant_method fp8, on the tensors of the directory; it knows partial
    blocks."""
    block = tuple(config(case.folder)["quantization_config"]["weight_block_size"])
    converted(
        case,
        lambda dtype: FP8BlockDequantizer.from_pretrained(case.folder, weight_block_size=block, dtype=dtype),
    )


def ct_kinds(case):
    """The types in which compressed-tensors gives the product: it multiplies in that of the scales, and FP4
    is BF16 with a second-level scale there."""
    if case.scheme == "q8_0":
        return {"f16": torch.float16}
    bf16 = case.scheme == "nvfp4" or "-bf16-" in case.scheme
    return {k: t for k, t in DTYPES.items() if t == torch.bfloat16 or not bf16}


def ct_converter(case):
    """compressed-tensors' converter of its own formats: config_groups, ignore and format as it reads them.
    It takes every weight for one of a Linear, so it must be told of norms, whoever wrote the checkpoint."""
    converted(
        case,
        lambda dtype: CompressedTensorsDequantizer(case.folder, ignore=["re:.*norm$"], dtype=dtype),
        ct_kinds(case),
    )


def converted(case, make, kinds=DTYPES):
    for kind, dtype in kinds.items():
        converter = make(dtype)
        got, want = converter.validate(read(case.folder)), read(case.plain(kind))
        # What was not quantized stays in its own type there; octavo dequantize widens it.
        got = {
            n: t.to(want[n].dtype) if n in want and t.dtype == torch.bfloat16 else t for n, t in got.items()
        }
        check(f"{case.name}: {type(converter).__name__}, {kind}: weights", differences(got, want))


def transformers_ct(case):
    """from_pretrained that dequantizes through compressed-tensors."""
    for kind, dtype in ct_kinds(case).items():
        model, wrong = load(case.folder, dtype, quantization_config=CompressedTensorsConfig(dequantize=True))
        compare(case, "transformers, dequantize=True", model, kind, dtype, wrong)


def transformers_ct_served(case):
    """from_pretrained as it comes: weights stay compressed until the first batch, and activations are
    quantized as the config says. It keeps scales in the type of the model, so F32 scales are rounded to
    BF16 here and power-of-two ones are not."""
    model, wrong = load(case.folder, torch.bfloat16)
    served = logits(model, TEXT)  # decompresses
    tensors, (want, wide), exact = read(case.folder), (read(case.plain(kind)) for kind in ("bf16", "f32")), True
    for n in sorted(n for n in want if n + "_scale" in tensors and n + "_global_scale" not in tensors):
        s = spread(case.scheme, tensors[n + "_scale"], want[n].shape)
        if torch.equal(s, s.to(torch.bfloat16).to(torch.float32)):
            continue
        exact = False
        codes = tensors[n].to(torch.float32) if n in tensors else (wide[n] / s).round()
        want[n] = codes.to(torch.bfloat16) * s.to(torch.bfloat16)
    got = {n: p for n, p in model.named_parameters() if not n.endswith(("_scale", "_shape"))}
    wrong += differences(got, want)
    what = "equal to octavo dequantize" if exact else "equal but for scales rounded to BF16 by the loader"
    check(f"{case.name}: transformers as served: weights {what}", wrong)

    for module in model.modules():
        module.quantization_enabled = False
    plain, said = load(case.plain("bf16"), torch.bfloat16)
    plain.load_state_dict({n: want[n] for n in got})
    check(
        f"{case.name}: transformers as served: logits without its activation quantization",
        said + ([] if torch.equal(logits(model), logits(plain)) else ["they differ"]),
    )

    def loss(x):
        return torch.nn.functional.cross_entropy(x[:, :-1].reshape(-1, 256), TEXT[:, 1:].reshape(-1)).item()

    before, after = loss(logits(plain, TEXT)), loss(served)
    check(
        f"{case.name}: transformers as served: 8-bit activations cost {after - before:+.4f} nats per byte",
        "" if abs(after - before) < 0.02 else f"{before:.4f} became {after:.4f}",
    )


def formula(case):
    """The formula of octavo-schemes(7) in torch, on the tensors as they lie in the file."""
    tensors, found = case.scales()
    for kind, dtype in DTYPES.items():
        want, parts = read(case.plain(kind)), set()
        got = {}
        for n, s in found.items():
            stem = n.removesuffix("weight").removesuffix("q")
            parts |= {n, s, n + "_offset", n + "_scale_2", n + "_zero_point", stem + "smooth", stem + "scale_bias"}
            value, scale = case.values(n, tensors[n]), tensors[s]
            if n + "_offset" in tensors:
                value = value - tensors[n + "_offset"]
            scale = spread(case.scheme, scale, value.shape)
            if n + "_scale_2" in tensors:
                scale = scale * tensors[n + "_scale_2"]
            got[stem + "weight"] = (value * scale).to(dtype)
        got |= {n: t.to(want[n].dtype) for n, t in tensors.items() if n not in parts}
        check(f"{case.name}: codes times scales, {kind}: weights", differences(got, want))


# The tensors that each type of msmodelslim has for X.weight, their types, and how many scales a row of K
# columns has.
ASCEND = {
    "W8A8_MXFP8": ({"weight": torch.float8_e4m3fn, "weight_scale": torch.uint8}, lambda k: k // 32),
    "WFP8AFP8_DYNAMIC": (
        {"weight": torch.float8_e4m3fn, "weight_scale": torch.float32, "weight_offset": torch.float32},
        lambda k: 1,
    ),
    "W8A8_DYNAMIC": (
        {"weight": torch.int8, "weight_scale": torch.float32, "weight_offset": torch.float32},
        lambda k: 1,
    ),
    "W4A8_DYNAMIC": (
        {
            "weight": torch.int8,
            "weight_scale": torch.float32,
            "weight_offset": torch.float32,
            "scale_bias": torch.float32,
        },
        lambda k: 1,
    ),
    "W4A8_MXFP": ({"weight": torch.uint8, "weight_scale": torch.uint8}, lambda k: k // 32),
}


def ascend_description(case):
    """quant_model_description.json as vllm-ascend looks it up: a type for every tensor, and what that type
    needs."""
    with open(os.path.join(case.folder, "quant_model_description.json"), encoding="utf-8") as f:
        said = json.load(f)
    tensors, found = case.scales()
    strongest = said["model_quant_type"]
    wrong, want = [], {n: "FLOAT" for n in tensors}
    for n in found:
        kind = "W8A8_DYNAMIC" if case.experts and not case.four(n) else strongest
        parts, groups = ASCEND[kind]
        value = case.values(n, tensors[n])
        ranks = 16 if "down_proj" in n else 1  # that may share the columns of this one
        for part, dtype in parts.items():
            name = n.removesuffix("weight") + part
            want[name] = kind
            rows, k = value.shape
            shape = [rows, ranks if part == "scale_bias" else groups(k)]
            shape = list(tensors[n].shape) if part == "weight" else shape
            if name not in tensors or tensors[name].dtype != dtype or list(tensors[name].shape) != shape:
                wrong.append(f"{name} is not {dtype} {shape}")
        if "scale_bias" in parts:
            sums = 8 * value.reshape(rows, ranks, -1).sum(-1) * tensors[n + "_scale"]
            if not torch.equal(sums, tensors[n.removesuffix("weight") + "scale_bias"]):
                wrong.append(f"scale_bias of {n} is not 8 times the sum of its weights")
    wrong += [f"{n} is '{said.get(n)}', not '{want.get(n)}'" for n in sorted(want) if said.get(n) != want[n]]
    if case.experts and strongest != "W4A8_DYNAMIC":
        wrong.append(f"model_quant_type is {strongest}")
    if said["group_size"] != (32 if "MX" in strongest else 0):
        wrong.append(f"group_size is {said['group_size']}")
    if "quantization_config" in config(case.folder):
        wrong.append("config.json has a quantization_config, which servers would believe instead")
    check(f"{case.name}: quant_model_description.json", wrong)


# quant_algo of each scheme, the types of X.weight and X.weight_scale, the rank of the scale, and group_size.
MODELOPT = {
    "fp8-tensor": ("FP8", torch.float8_e4m3fn, torch.float32, 0, None),
    "fp8-channel": ("FP8_PER_CHANNEL_PER_TOKEN", torch.float8_e4m3fn, torch.float32, 1, None),
    "mxfp8": ("MXFP8", torch.float8_e4m3fn, torch.uint8, 2, 32),
    "mxfp4": ("W4A8_MXFP4_FP8", torch.uint8, torch.uint8, 2, 32),
    "nvfp4": ("W4A16_NVFP4", torch.uint8, torch.float8_e4m3fn, 2, 16),
}


def kept(case, listed):
    """Matrices that have no scale are those that the config lists, and no other."""
    tensors, found = case.scales()
    plain = {n.removesuffix(".weight") for n, t in tensors.items() if n.endswith(".weight") and t.dim() == 2}
    plain -= {n.removesuffix(".weight") for n in found}
    return [f"{m} is listed by one side only" for m in sorted(plain ^ set(listed))]


def modelopt_files(case):
    """hf_quant_config.json and its mirror, as vLLM and TensorRT-LLM read them, and the tensors that the
    algorithm has."""
    with open(os.path.join(case.folder, "hf_quant_config.json"), encoding="utf-8") as f:
        said = json.load(f)
    mirror, q = config(case.folder)["quantization_config"], said["quantization"]
    algo, weight, scale, rank, group = MODELOPT[case.scheme]
    tensors, found = case.scales()
    wrong = kept(case, q["exclude_modules"]) + kept(case, mirror["ignore"])
    for what, is_, want in (
        ("producer", said["producer"]["name"], "modelopt"),
        ("quant_method", mirror["quant_method"], "modelopt"),
        ("quant_algo", q["quant_algo"], algo),
        ("the mirror's quant_algo", mirror["quant_algo"], algo),
        ("group_size", q.get("group_size"), group),
        ("kv_cache_quant_algo", q["kv_cache_quant_algo"], None),
    ):
        if is_ != want:
            wrong.append(f"{what} is {is_}, not {want}")
    for n, s in found.items():
        if tensors[n].dtype != weight or tensors[s].dtype != scale or tensors[s].dim() != rank:
            wrong.append(f"{s} is {tensors[s].dtype} {list(tensors[s].shape)} of {tensors[n].dtype}")
        if case.scheme == "nvfp4" and tensors[n + "_scale_2"].shape != torch.Size([]):
            wrong.append(f"{n}_scale_2 is {list(tensors[n + '_scale_2'].shape)}")
    check(f"{case.name}: hf_quant_config.json and config.json", wrong)


# dtype and qscheme of the weights of each scheme, and the dtype of X.weight_scale.
QUARK = {
    "fp8-tensor": ("fp8_e4m3", "per_tensor", torch.float32),
    "fp8-channel": ("fp8_e4m3", "per_channel", torch.float32),
    "mxfp4": ("fp4", "per_group", torch.uint8),
    "int8-tensor": ("int8", "per_tensor", torch.float32),
    "int8-channel": ("int8", "per_channel", torch.float32),
}


def quark_config(case):
    """quantization_config as vLLM and transformers read it: what is excluded, the spec of the weights, and
    the keys without which they stop."""
    q = config(case.folder)["quantization_config"]
    dtype, qscheme, scale = QUARK[case.scheme]
    tensors, found = case.scales()
    spec, wrong = q["global_quant_config"]["weight"], kept(case, q["exclude"])
    if (q["quant_method"], spec["dtype"], spec["qscheme"]) != ("quark", dtype, qscheme):
        wrong.append(f"{q['quant_method']}: {spec['dtype']} {spec['qscheme']}")
    if (spec["group_size"], spec["scale_format"]) != ((32, "e8m0") if dtype == "fp4" else (None, None)):
        wrong.append(f"group_size is {spec['group_size']}, scale_format {spec['scale_format']}")
    if q["export"]["kv_cache_group"] != [] or q["export"]["weight_format"] != "real_quantized":
        wrong.append(f"export is {q['export']}")
    if q["layer_quant_config"] != {} or q["layer_type_quant_config"] != {}:
        wrong.append("layers of their own in a model of one scheme")
    for n, s in found.items():
        if tensors[s].dtype != scale or tensors[s].dim() != ("tensor", "channel", "group").index(qscheme[4:]):
            wrong.append(f"{s} is {tensors[s].dtype} {list(tensors[s].shape)}")
        if dtype == "int8" and tensors[n + "_zero_point"].shape != tensors[s].shape:
            wrong.append(f"{n}_zero_point is {list(tensors[n + '_zero_point'].shape)}")
    check(f"{case.name}: quantization_config", wrong)


def row_scales(case, shape):
    """Every scale is F32, one of a row, in this shape."""
    tensors, found = case.scales()
    return [
        f"{s} is {tensors[s].dtype} {list(tensors[s].shape)}"
        for n, s in found.items()
        if tensors[s].dtype != torch.float32 or list(tensors[s].shape) != shape(len(case.values(n, tensors[n])))
    ]


def said_in(what, has, want):
    return [f"{k} of {what} is {has.get(k)!r}, not {v!r}" for k, v in want.items() if has.get(k) != v]


def mlu_fp8_config(case):
    """quantization_config as Cambricon's vllm-mlu reads it."""
    q = config(case.folder)["quantization_config"]
    want = {"quant_method": "fp8", "activation_scheme": "dynamic"}
    want |= {"weight_quant_method": "per_channel", "activation_quant_method": "per_token"}
    wrong = said_in("quantization_config", q, want) + kept(case, q["ignored_layers"])
    check(f"{case.name}: quantization_config", wrong + row_scales(case, lambda rows: [rows]))


def mlu_smoothquant_file(case):
    """quantize_config.json as vllm-mlu reads it, and inputs that nothing smoothed."""
    with open(os.path.join(case.folder, "quantize_config.json"), encoding="utf-8") as f:
        said = json.load(f)
    want = {"quant_mode": "SmoothQuant", "input_quant_method": "per_token", "group_size": 1}
    want |= {"weight_precision": "int8", "activation_precision": "int8", "expert_activation_precision": "int8"}
    want["expert_weight_precision"] = "int4" if case.experts else "int8"
    wrong = said_in("quantize_config.json", said, want) + row_scales(case, lambda rows: [rows])
    tensors, found = case.scales()
    for n in found:
        ones = torch.ones(case.values(n, tensors[n]).shape[1])
        smooth = n.removesuffix("qweight") + "smooth"
        if smooth not in tensors or not torch.equal(tensors[smooth], ones):
            wrong.append(f"{smooth} is not {len(ones)} ones")
    check(f"{case.name}: quantize_config.json", wrong)


def slimquant_config(case):
    """quantization_config as Hygon's SGLang reads it, which is by the name of the method."""
    q = config(case.folder)["quantization_config"]
    wrong = said_in("quantization_config", q, {"quant_method": "slimquant_w4a8", "activation_scheme": "dynamic"})
    wrong += kept(case, q["modules_to_not_convert"]) + row_scales(case, lambda rows: [rows, 1])
    check(f"{case.name}: quantization_config", wrong)


# data_type and quant_type of each scheme.
TIM_VX = {
    "int8-channel": ("INT8", "SYMMETRIC_PER_CHANNEL"),
    "fp8-channel": ("FLOAT8_E4M3", "SYMMETRIC_PER_CHANNEL"),
}


def tim_vx_file(case):
    """tim_vx_quant.json: a TensorSpec for every tensor of codes, and for no other."""
    with open(os.path.join(case.folder, "tim_vx_quant.json"), encoding="utf-8") as f:
        said = json.load(f)
    tensors, found = case.scales()
    wrong = [f"{n} is on one side only" for n in sorted(said["tensors"].keys() ^ found.keys())]
    data, quant = TIM_VX[case.scheme]
    for n in said["tensors"].keys() & found.keys():
        want = {"data_type": data, "quant_type": quant, "shape": list(tensors[n].shape)[::-1], "scales": found[n]}
        wrong += said_in(n, said["tensors"][n], want | {"channel_dim": 1})
    wrong += row_scales(case, lambda rows: [rows, 1])
    check(f"{case.name}: tim_vx_quant.json", wrong)


# ---- pairs ---------------------------------------------------------------------------

# Which client opens which model.  "sample" has 464 columns and rows, which 128 does not divide; "even" is the
# same function without partial blocks; the other two have experts.
ALL = "even", "sample", "qwen3-moe", "deepseek-v3"
DENSE = "even", "sample"
WHOLE = "even", "qwen3-moe", "deepseek-v3"  # transformers on a CPU misreads partial blocks: see README.md
CLIENTS = {
    "deepseek": {transformers_fp8: WHOLE, fp8_converter: ALL, transformers_fp8_modules: ("even", "sample")},
    "deepseek-v4": {transformers_fp8: WHOLE, formula: ALL, transformers_fp8_modules: ("even", "sample")},
    "compressed-tensors": {
        transformers_ct: ("even", "sample"),
        ct_converter: ALL,
        transformers_ct_served: ("even",),
    },
    "ascend-v1": {formula: ALL, ascend_description: ALL},
    "octavo": {formula: ALL},
    "modelopt": {formula: ALL, modelopt_files: ALL},
    "quark": {formula: ALL, quark_config: ALL},
    "mlu-fp8": {formula: ALL, mlu_fp8_config: ALL},
    "mlu-smoothquant": {formula: ALL, mlu_smoothquant_file: ALL},
    "slimquant-w4a8": {formula: ALL, slimquant_config: ALL},
    "tim-vx": {formula: ALL, tim_vx_file: ALL},
}
# Where a convention has schemes that its clients above do not know: those of other servers.
SPECIAL = {
    ("deepseek", "mxfp8"): {formula: ALL},  # quant_method mxfp8, of SGLang
    ("deepseek", "fp8-tensor"): {formula: ALL},  # quant_method fp8 without blocks, of vLLM
    ("deepseek-v4", "mxfp4"): {formula: ALL},
    ("slimquant-w4a8", "int8-channel"): {formula: DENSE, slimquant_config: DENSE},  # its experts have 4 bits
}


def pairs():
    """(scheme, convention, whether in experts only) that the program takes: exit 2 means that there is no place."""
    for scheme in names("--scheme"):
        for convention in names("--convention"):
            if convention == "gguf":
                continue  # a container of its own: gguf_read.py
            status, _, err = run("quantize", SAMPLE, "--scheme", scheme, "--convention", convention, "-n")
            if status == 0:
                yield scheme, convention, False
            elif status == 2 and "expert" in err and convention in EXPERTS_ONLY:
                yield scheme, convention, True
            elif status != 2 or "no place" not in err:
                check(f"{scheme} in {convention}", f"exit {status}: {err.strip()}")


def main():
    models = {"even": even_sample(), "sample": SAMPLE, **expert_models()}
    tried = 0
    for scheme, convention, experts in pairs():
        tried += 1
        name = f"{scheme} in {convention}"
        if convention == "compressed-tensors" and scheme not in SCHEMES:
            continue  # the story compressed opens every scheme of it
        if scheme not in SCHEMES:
            check(name, "SCHEMES of tests/clients/common.py does not know this scheme")
            continue
        if convention not in CLIENTS:
            check(name, "CLIENTS of tests/clients/conventions.py does not know who reads this convention")
            continue
        if SCHEMES[scheme] is None:
            skip(name)
            continue
        clients = SPECIAL.get((convention, scheme), CLIENTS[convention])
        for model, source in models.items():
            if (experts and model in DENSE) or not any(model in whose for whose in clients.values()):
                continue
            failed = counts["not ok"]
            with story(f"{name}, {model}"):
                case = Case(model, source, scheme, convention, experts=experts)
                for client, whose in clients.items():
                    if model in whose:
                        with story(f"{name}, {model}: {client.__name__}"):
                            client(case)
            if counts["not ok"] == failed:  # what failed stays to be looked at
                for folder in glob.glob(path("pairs", f"{scheme}.{convention}.{model}*")):
                    shutil.rmtree(folder)
    check(
        f"{tried} pairs of scheme and convention come from the program",
        "" if tried >= 11 else "at least 11 are known",
    )
    with story("a directory of shards"):
        transformers_fp8(
            Case("even-in-shards", models["even"], "fp8-ue8m0-128x128", "deepseek", "--shard-size", "1MB")
        )


main()
finish()
