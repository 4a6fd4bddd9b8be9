"""compressed-tensors itself on both sides: config.json in the words of its presets, what it packs is read by
Octavo, and what Octavo packs is read by it."""

import json
import os
import shutil

import torch
from common import check, config, differences, even_sample, expert_models, finish, names, octavo, path, read, run
from common import save_file, story
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.format import infer_module_format
from compressed_tensors.entrypoints.convert.converters import CompressedTensorsDequantizer
from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme
from compressed_tensors.quantization.quant_scheme import preset_name_to_scheme
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

torch.manual_seed(1)

# ---- the words of config.json ------------------------------------------------------------

# A preset of llm-compressor, and what Octavo calls it.
PRESETS = {
    "W8A8": ("int8-channel", "dynamic"),
    "W4A16": ("int4-g128", "none"),
    "W8A16": ("int8-g128", "none"),
    "FP8": ("fp8-tensor", "static"),
    "FP8_DYNAMIC": ("fp8-channel", "dynamic"),
    "FP8_BLOCK": ("fp8-f32-128x128", "dynamic"),
    "NVFP4": ("nvfp4", "static"),
    "NVFP4A16": ("nvfp4", "none"),
    "MXFP4": ("mxfp4", "dynamic"),
    "MXFP4A16": ("mxfp4", "none"),
    "MXFP8": ("mxfp8", "dynamic"),
    "MXFP8A16": ("mxfp8", "none"),
}


def input_scales(source):
    """A file with a scale for the activations of every weight, whatever it may be called."""
    at = path("compressed", "input-scales.safetensors")
    scales = {}
    for name in read(source):
        if name.endswith(".weight"):
            for part in ("input_scale", "input_global_scale"):
                scales[name.removesuffix("weight") + part] = torch.tensor([0.5])
    save_file(scales, at)
    return at


def presets(source):
    scales = input_scales(source)
    for preset, (scheme, activations) in PRESETS.items():
        with story(f"{preset} is {scheme}"):
            to = path("compressed", "presets", preset)
            more = ("--activation-scales", scales) if activations == "static" else ()
            octavo(
                "quantize", source, "--scheme", scheme, "--convention", "compressed-tensors", "--activations",
                activations, "-o", to, *more,
            )  # fmt: skip
            section = config(to)["quantization_config"]
            got = section["config_groups"]["group_0"]
            want = preset_name_to_scheme(preset, ["Linear"])
            want.format = infer_module_format(torch.nn.Linear, want)
            want = json.loads(want.model_dump_json())
            wrong = [f"{k} is {got.get(k)}, not {want.get(k)}" for k in want | got if got.get(k) != want.get(k)]
            if section["format"] != want["format"]:
                wrong.append(f"format is {section['format']}")
            for extra in ("sparsity_config", "transform_config", "version"):
                section.pop(extra)
            kept = QuantizationConfig(**section)
            if kept.quantization_status != "compressed" or "lm_head" not in kept.ignore:
                wrong.append(f"status {kept.quantization_status}, ignore {kept.ignore}")
            check(f"{preset}: config.json of {scheme} with activations {activations}", wrong)
            shutil.rmtree(to)


# ---- what compressed-tensors packs -----------------------------------------------------------


def exact(codes, scale, point, group):
    """Codes times scales, rounded once."""
    rows, cols = codes.shape
    size = group or cols
    scale = scale.double().reshape(rows if scale.shape[0] > 1 else 1, -1).repeat_interleave(size, 1)[:, :cols]
    point = 0 if point is None else point.double().reshape(rows, -1).repeat_interleave(size, 1)[:, :cols]
    return ((codes.double() - point) * scale).float()


def saved(name, tensors, scheme, version="0.20.0"):
    to = path("compressed", "made", name, "model.safetensors")
    save_file({k: v.contiguous() for k, v in tensors.items()}, to)
    group = json.loads(scheme.model_dump_json())
    section = {
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
        "version": version,
        "format": group["format"],
        "config_groups": {"group_0": group},
    }
    with open(os.path.join(os.path.dirname(to), "config.json"), "w", encoding="utf-8") as f:
        json.dump({"quantization_config": section}, f)
    return os.path.dirname(to)


def values(folder):
    octavo("dequantize", folder, "--dtype", "f32", "-f", "-o", folder + ".f32.safetensors")
    return read(folder + ".f32.safetensors")


def copied(what, folder, scheme, tensors):
    """Recoded to its own scheme, nothing changes."""
    to = folder + ".copy"
    octavo("quantize", folder, "--scheme", scheme, "--convention", "compressed-tensors", "--include", "a", "-f", "-o", to)
    check(f"{what}: copied code by code", differences(read(to), tensors))


def packed_integers():
    for bits in range(2, 9):
        for symmetric in (True, False):
            for group in (32, None):
                kind = f"int{bits}-bf16-{'g32' if group else 'channel'}{'' if symmetric else '-asym'}"
                with story(kind):
                    args = QuantizationArgs(
                        num_bits=bits, type="int", symmetric=symmetric, group_size=group,
                        strategy="group" if group else "channel",
                    )  # fmt: skip
                    scheme = QuantizationScheme(targets=["Linear"], weights=args, format="pack-quantized")
                    w = torch.randn(40, 192)
                    blocks = w.reshape(40, -1, group or 192)
                    scale, point = calculate_qparams(blocks.amin(-1), blocks.amax(-1), args)
                    scale = scale.bfloat16()
                    compressor = BaseCompressor.get_value_from_registry("pack-quantized")
                    state = {"weight": w, "weight_scale": scale, "weight_zero_point": point}
                    packed = compressor.compress(state, scheme)
                    back = compressor.decompress(packed | {"weight_scale": packed["weight_scale"].double()}, scheme)
                    tensors = {"a." + k: v for k, v in packed.items()}
                    folder = saved(kind, tensors, scheme)
                    check(f"{kind}: read", differences(values(folder), {"a.weight": back["weight"].float()}))
                    if bits < 8 or group or not symmetric:  # that one is int-quantized here
                        copied(kind, folder, kind, tensors)


def floats():
    for preset in ("NVFP4A16", "MXFP4A16", "MXFP8A16", "FP8_DYNAMIC", "W8A8"):
        with story(preset):
            scheme = preset_name_to_scheme(preset, ["Linear"])
            scheme.format = infer_module_format(torch.nn.Linear, scheme)
            args = scheme.weights
            w = torch.randn(48, 256).bfloat16()
            w[5, 32:64] = 0  # a block of zeros
            w[7] = 0
            blocks = w.reshape(48, -1, args.group_size or 256)
            top = generate_gparam(w.amin().float(), w.amax().float()).reshape(1) if preset == "NVFP4A16" else None
            scale, point = calculate_qparams(blocks.amin(-1), blocks.amax(-1), args, top)
            state = {"weight": w, "weight_scale": scale, "weight_zero_point": point}
            if top is not None:
                state["weight_global_scale"] = top
            compressor = BaseCompressor.get_value_from_registry(scheme.format)
            packed = compressor.compress(state, scheme)
            if top is not None:
                codes = compressor.decompress(packed | {"weight_global_scale": torch.ones(1), "weight_scale": torch.ones(48, 16)}, scheme)
                codes = codes["weight"].float()
                want = exact(codes, packed["weight_scale"].float() / top, None, 16)
            elif "weight_packed" in packed:
                want = compressor.decompress(packed, scheme)["weight"].float()  # powers of two: exact in BF16
            else:
                s = packed["weight_scale"]
                s = 2.0 ** (s.double() - 127) if s.dtype == torch.uint8 else s
                want = exact(packed["weight"].float(), s, None, args.group_size)
            tensors = {"a." + k: v for k, v in packed.items()}
            folder = saved(preset, tensors, scheme)
            check(f"{preset}: read", differences(values(folder), {"a.weight": want}))
            kind = PRESETS[preset][0]
            kind = kind.replace("channel", "bf16-channel") if kind.endswith("channel") else kind
            copied(preset, folder, kind, tensors)


# ---- its own arithmetic --------------------------------------------------------------------


def hard_weights(dtype):
    """Rows of every magnitude, with the largest one negative or not, zeros, and numbers that are hardly any."""
    w = torch.randn(256, 256) * 2.0 ** torch.arange(-128, 128)[:, None].float().clamp(max=100)
    w[3] = 0
    w[4, 1:] = 0
    w[5] = -w[5].abs()
    w[6] = w[6].abs().amax()
    w[7] = -w[7].abs().amax()
    return w.to(dtype)


# Scheme, rule, type of the weights, and what compressed-tensors is asked.
RULES = (
    ("fp8-bf16-channel", "ct-bf16", torch.bfloat16, "FP8_DYNAMIC"),
    ("fp8-bf16-tensor", "ct-bf16", torch.bfloat16, "FP8"),
    ("fp8-bf16-128x128", "ct-bf16", torch.bfloat16, "FP8_BLOCK"),
    ("int8-bf16-channel", "ct-bf16", torch.bfloat16, "W8A8"),
    ("int4-bf16-g128", "ct-bf16", torch.bfloat16, "W4A16"),
    ("int8-bf16-g128", "ct-bf16", torch.bfloat16, "W8A16"),
    ("int8-channel", "ct-int8", torch.float32, "W8A8"),
    ("int4-g128", "ct-int4", torch.float32, "W4A16"),
    ("fp8-channel", "absmax", torch.float32, "FP8_DYNAMIC"),
    ("mxfp8", "ct", torch.bfloat16, "MXFP8"),
    ("mxfp4", "ct", torch.bfloat16, "MXFP4A16"),
)


def rules():
    for kind, rule, dtype, preset in RULES:
        with story(f"{rule} of {kind}"):
            scheme = preset_name_to_scheme(preset, ["Linear"])
            scheme.format = infer_module_format(torch.nn.Linear, scheme)
            args = scheme.weights
            w = hard_weights(dtype)
            if rule == "absmax":
                w[3] = 1  # zeros get 1 there
            if rule != "ct-bf16":
                w = w + 0  # it adds a zero point of 0, which takes the sign of zeros away; these rules leave it
            if dtype == torch.float32:
                w = w[12:]  # a scale that is no normal number becomes one in rules of FP32
            if args.strategy == "block":
                size = args.block_structure
                blocks = w.reshape(w.shape[0] // size[0], size[0], -1, size[1]).transpose(1, 2).flatten(2)
            else:
                blocks = w.reshape(1 if args.strategy == "tensor" else len(w), -1, args.group_size or w.shape[1])
                blocks = w.reshape(1, 1, -1) if args.strategy == "tensor" else blocks
            scale, point = calculate_qparams(blocks.amin(-1), blocks.amax(-1), args)
            scale, point = (x.reshape(1) if args.strategy == "tensor" else x for x in (scale, point))
            compressor = BaseCompressor.get_value_from_registry(scheme.format)
            packed = compressor.compress({"weight": w, "weight_scale": scale, "weight_zero_point": point}, scheme)
            at, to = path("compressed", "rules", kind + ".safetensors"), path("compressed", "rules", kind + ".out")
            save_file({"a.weight": w}, at)
            octavo(
                "quantize", at, "--scheme", kind, "--scale-rule", rule, "--convention", "compressed-tensors", "-o", to
            )  # fmt: skip
            check(
                f"rule {rule} of {kind}: the bytes of {preset}",
                differences(read(to), {"a." + k: v for k, v in packed.items()}),
            )


# ---- what Octavo packs ------------------------------------------------------------------------

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def written(models):
    count = 0
    for scheme in names("--scheme"):
        status, _, _ = run("quantize", models["even"], "--scheme", scheme, "--convention", "compressed-tensors", "-n")
        if status:
            continue
        count += 1
        for model, source in models.items():
            with story(f"{scheme}, {model}"):
                to = path("compressed", "written", f"{scheme}.{model}")
                octavo("quantize", source, "--scheme", scheme, "--convention", "compressed-tensors", "-o", to)
                converter = CompressedTensorsDequantizer(to, ignore=["re:.*norm$"], dtype=torch.float32)
                got = converter.validate(read(to))
                octavo("dequantize", to, "--dtype", "f32", "-o", to + ".f32")
                want = read(to + ".f32")
                wrong = []
                for n in sorted(got.keys() | want.keys()):
                    if n not in got or n not in want or got[n].shape != want[n].shape:
                        wrong.append(f"{n} is not on both sides")
                        continue
                    # It computes in the type of the scales: in BF16 for FP4 too, whose scale over a global one
                    # takes two steps.
                    b = want[n].bfloat16() if "bf16" in scheme else want[n]
                    b = b.half() if scheme == "q8_0" and n + "_scale" in read(to) else b
                    a, b = got[n].double(), b.double()
                    near = 2.0**-7 if "nvfp4" in scheme else 0
                    if ((a - b).abs() > near * b.abs()).any():
                        wrong.append(f"{n} differs by up to {(a - b).abs().max():.3g}")
                check(f"{scheme}, {model}: CompressedTensorsDequantizer reads it", wrong)
                shutil.rmtree(to)
    check(f"{count} schemes have a place in compressed-tensors", "" if count >= 12 else "at least 12 are known")


with story("presets"):
    presets(even_sample())
packed_integers()
floats()
rules()
written({"even": even_sample(), **expert_models()})
finish()
