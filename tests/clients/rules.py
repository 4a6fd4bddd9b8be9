"""The scale rules that bear a client's name give the scales that the client computes.

compressed-tensors works in the type of the weights; these are F32, where nothing is rounded on the way."""

import torch
from common import check, finish, octavo, path, power, read, save_file, story
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.utils import calculate_qparams

MXFP8, MXFP4 = (
    QuantizationArgs(
        num_bits=bits,
        type="float",
        strategy="group",
        group_size=32,
        symmetric=True,
        scale_dtype=torch.uint8,
        zp_dtype=torch.uint8,
    )
    for bits in (8, 4)
)
INT8 = QuantizationArgs(num_bits=8, type="int", strategy="channel", symmetric=True)
FP8 = QuantizationArgs(num_bits=8, type="float", strategy="channel", symmetric=True)


def magnitudes(least):
    """Every BF16 magnitude above `least`, and the F32 values beside each."""
    x = torch.arange(0x7F80, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16).to(torch.float32)
    x = x[(x > least) & (x < 2.0**127)]
    return torch.cat([x, torch.nextafter(x, x * 2), torch.nextafter(x, x * 0)])


# Scheme, rule, what compressed-tensors is asked, the amax from which on: below it FP32 scales are no normal
# numbers. Codes of powers of two are compared for every magnitude, zeros and subnormal numbers included.
for scheme, rule, args, least in (
    ("mxfp8", "ct", MXFP8, -1),
    ("mxfp4", "ct", MXFP4, -1),
    ("int8-channel", "ct-int8", INT8, 2.0**-118),
    ("fp8-channel", "absmax", FP8, 2.0**-116),
):
    amax = magnitudes(least)
    what = f"rule {rule} of {scheme} for {len(amax)} magnitudes, as compressed-tensors"
    with story(what):
        at, to = path("rules", f"{scheme}.in.safetensors"), path("rules", f"{scheme}.safetensors")
        w = torch.zeros(len(amax), 32)
        w[:, 3] = -amax
        save_file({"x.weight": w}, at)
        octavo("quantize", at, "--scheme", scheme, "--scale-rule", rule, "-o", to)
        got = read(to)["x.weight_scale"].reshape(-1)
        got = power(got) if got.dtype == torch.uint8 else got
        want, _ = calculate_qparams(-amax, amax * 0, args)
        off = (got != want).nonzero().reshape(-1)
        check(what, [f"amax {amax[i]:.9g} gives {got[i]:.9g}, not {want[i]:.9g}" for i in off])
finish()
