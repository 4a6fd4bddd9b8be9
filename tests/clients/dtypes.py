"""safetensors and torch read every type that Octavo writes, and its codes are those that torch and ml_dtypes
make of the same values."""

import os
import re

import ml_dtypes
import numpy as np
import safetensors
from common import (
    ROOT,
    SAMPLE,
    SCHEMES,
    bits,
    check,
    differences,
    elements,
    finish,
    names,
    nearest,
    octavo,
    path,
    power,
    read,
    save_file,
    skip,
    spread,
    story,
    torch,
)

# safetensors' names and torch's; None: torch has no such type, and the bytes are compared.
TYPES = {
    "BOOL": torch.bool,
    "F4": None,
    "F6_E2M3": None,
    "F6_E3M2": None,
    "U8": torch.uint8,
    "I8": torch.int8,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E8M0": torch.float8_e8m0fnu,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "I16": torch.int16,
    "U16": torch.uint16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I32": torch.int32,
    "U32": torch.uint32,
    "F32": torch.float32,
    "C64": torch.complex64,
    "F64": torch.float64,
    "I64": torch.int64,
    "U64": torch.uint64,
}
EVERY_BYTE = bytes(range(256))


def raw(name, dtype, shape, data):
    """A safetensors file by hand, for the types that torch does not have."""
    header = (
        f'{{"{name}":{{"dtype":"{dtype}","shape":{list(shape)},"data_offsets":[0,{len(data)}]}}}}'.encode()
    )
    return len(header).to_bytes(8, "little") + header + data


# ---- every type ----------------------------------------------------------------------


def types_of_the_source():
    """The types of formats/dtype.def that safetensors has, which are the first ones, up to U64."""
    with open(os.path.join(ROOT, "formats", "dtype.def"), encoding="utf-8") as f:
        found = re.findall(r'^DT\(\w+,\s*"(\w+)"', f.read(), re.M)
    return found[: found.index("U64") + 1]


def every_type():
    check(
        "every safetensors type of formats/dtype.def is known here",
        [f"{n} is on one side only" for n in sorted(set(types_of_the_source()) ^ set(TYPES))],
    )
    for name, dtype in TYPES.items():
        with story(f"{name}: written by Octavo, read by safetensors"):
            data = bytes(i & 1 for i in EVERY_BYTE) if name == "BOOL" else EVERY_BYTE * 3
            at, to = path("types", f"{name}.in.safetensors"), path("types", f"{name}.safetensors")
            width = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}.get(name) or dtype.itemsize * 8
            shape = (len(data) * 8 // width,)  # a vector: a matrix of FP8 needs a scale
            with open(at, "wb") as f:
                f.write(raw("x", name, shape, data))
            octavo("convert", at, "-o", to)
            with open(to, "rb") as f:
                ((_, entry),) = safetensors.deserialize(f.read())
            wrong = [
                f"{k} is {entry[k]}, not {v}"
                for k, v in (("dtype", name), ("shape", list(shape)))
                if entry[k] != v
            ]
            if bytes(entry["data"]) != data:
                wrong.append("other bytes")
            if dtype:
                want = torch.frombuffer(bytearray(data), dtype=torch.uint8).view(dtype).reshape(shape)
                wrong += differences(read(to), {"x": want})
            check(f"{name}: written by Octavo, read by safetensors" + (" and torch" if dtype else ""), wrong)


# ---- decoding ------------------------------------------------------------------------


def value_differences(got, want):
    """NaN is NaN whatever its bits; all else bit for bit."""
    nan = torch.isnan(want)
    if not torch.equal(torch.isnan(got), nan):
        return "NaN in other places"
    wrong = bits(got[~nan]) != bits(want[~nan])
    return f"{int(wrong.sum())} bytes differ" if wrong.any() else ""


def decode():
    config = (
        '{"quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}}'
    )
    every = torch.arange(256, dtype=torch.uint8)

    where = path("decode", "e4m3", "config.json")
    with open(where, "w", encoding="utf-8") as f:
        f.write(config)
    folder = os.path.dirname(where)
    save_file(
        {"x.weight": every.view(torch.float8_e4m3fn).reshape(2, 128), "x.weight_scale_inv": torch.ones(1, 1)},
        os.path.join(folder, "model.safetensors"),
    )
    octavo("dequantize", folder, "--dtype", "f32", "-o", path("decode", "e4m3.safetensors"))
    got = read(path("decode", "e4m3.safetensors"))["x.weight"].reshape(-1)
    check(
        "all 256 codes of F8_E4M3 decode as torch does",
        value_differences(got, every.view(torch.float8_e4m3fn).to(torch.float32)),
    )
    check(
        "all 256 codes of F8_E4M3 decode as ml_dtypes does",
        value_differences(
            got, torch.from_numpy(every.numpy().view(ml_dtypes.float8_e4m3fn).astype(np.float32))
        ),
    )

    # One block of ones per code; Octavo takes 1 to 254.
    codes = torch.arange(1, 255, dtype=torch.uint8)
    where = path("decode", "e8m0", "config.json")
    with open(where, "w", encoding="utf-8") as f:
        f.write(config)
    folder = os.path.dirname(where)
    one = torch.ones(254 * 128, 128, dtype=torch.float32).to(torch.float8_e4m3fn)
    save_file(
        {"x.weight": one, "x.scale": codes.view(torch.float8_e8m0fnu).reshape(254, 1)},
        os.path.join(folder, "model.safetensors"),
    )
    octavo("dequantize", folder, "--dtype", "f32", "-o", path("decode", "e8m0.safetensors"))
    got = read(path("decode", "e8m0.safetensors"))["x.weight"].reshape(254, -1)
    check(
        "codes 1 to 254 of F8_E8M0 decode as torch does",
        value_differences(got, power(codes).reshape(254, 1).expand(got.shape)),
    )
    check(
        "codes 1 to 254 of F8_E8M0 decode as ml_dtypes does",
        value_differences(
            got[:, 0], torch.from_numpy(codes.numpy().view(ml_dtypes.float8_e8m0fnu).astype(np.float32))
        ),
    )


# ---- encoding ------------------------------------------------------------------------


def rows_with_amax(x, amax, columns):
    """Rows of `columns` values of which the last is amax, so that the scale of each is 1."""
    n = columns - 1
    x = torch.cat([x, x[:1].expand(-len(x) % n)]).reshape(-1, n)
    return torch.cat([x, torch.full((len(x), 1), amax, dtype=x.dtype)], 1)


def of_type(dtype, top):
    """Every value of a 16-bit type up to top; for F32, values around each tie between neighbours of
    E4M3 and of the integers, and random ones."""
    if dtype.itemsize == 2:
        x = torch.arange(65536, dtype=torch.int32).to(torch.uint16).view(dtype)
        return x[torch.isfinite(x) & (x.abs() <= top)]
    grid = (
        torch.arange(0x7F, dtype=torch.uint8).view(torch.float8_e4m3fn).to(dtype)
        if top == 448
        else torch.arange(128.0)
    )
    middle = (grid[1:] + grid[:-1]) / 2
    middle = torch.cat([middle, torch.nextafter(middle, middle + 1), torch.nextafter(middle, middle * 0)])
    g = torch.Generator().manual_seed(1)
    x = torch.rand(1 << 18, generator=g) * top * torch.exp2(torch.randint(-20, 1, (1 << 18,), generator=g))
    x = torch.cat([grid, middle, x])
    return torch.cat([x, -x])


def encode():
    for dtype in torch.bfloat16, torch.float16, torch.float32:
        name = str(dtype).removeprefix("torch.")
        w = rows_with_amax(of_type(dtype, 448), 448, 32)
        what = f"{w.numel()} values of {name} to F8_E4M3"
        with story(what):
            at, to = path("encode", f"{name}.safetensors"), path("encode", f"{name}.e4m3.safetensors")
            save_file({"x.weight": w}, at)
            octavo("quantize", at, "--scheme", "mxfp8", "-o", to)
            got = read(to)
            one = "" if (got["x.weight_scale"] == 127).all() else "the scale of amax 448 is not 1"
            check(
                f"{what}, as torch does",
                one or differences({"x": got["x.weight"]}, {"x": w.to(torch.float8_e4m3fn)}),
            )
            numpy = w.to(torch.float32).numpy().astype(ml_dtypes.float8_e4m3fn).view(np.uint8)
            check(
                f"{what}, as ml_dtypes does",
                "" if np.array_equal(got["x.weight"].view(torch.uint8).numpy(), numpy) else "other codes",
            )
        w = rows_with_amax(of_type(dtype, 127), 127, 64)
        what = f"{w.numel()} values of {name} to I8"
        with story(what):
            at, to = path("encode", f"{name}.safetensors"), path("encode", f"{name}.i8.safetensors")
            save_file({"x.weight": w}, at)
            octavo("quantize", at, "--scheme", "int8-channel", "-o", to)
            got = read(to)
            one = "" if (got["x.weight_scale"] == 1).all() else "the scale of amax 127 is not 1"
            check(
                f"{what}, as torch rounds",
                one
                or differences(
                    {"x": got["x.weight"]}, {"x": torch.round(w.to(torch.float32)).to(torch.int8)}
                ),
            )


def schemes():
    """Real weights: the codes that torch makes with Octavo's scales, and the values of these codes in all
    types."""
    source = read(SAMPLE)
    for scheme in names("--scheme"):
        what = f"{scheme}: codes of the sample model, with its scales, as torch makes them"
        with story(what):
            if scheme not in SCHEMES:
                check(what, "SCHEMES of tests/clients/common.py does not know it")
                continue
            if SCHEMES[scheme] is None:
                skip(f"{scheme}: torch does not have it")
                continue
            to = path("schemes", f"{scheme}.safetensors")
            # The convention in which all codes are called X.weight, two of 4 bits in a byte.
            octavo("quantize", SAMPLE, "--scheme", scheme, "--convention", "octavo", "-o", to)
            got, codes, values = read(to), {}, {}
            for n, w in source.items():
                s = got.get(n + "_scale_inv", got.get(n + "_scale"))
                if s is None:
                    codes[n] = values[n] = w
                    continue
                s = spread(scheme, s, w.shape)
                if n + "_scale_2" in got:
                    s = s * got[n + "_scale_2"]
                codes[n] = nearest(scheme, w.to(torch.float32) / s.to(torch.float32))
                values[n] = (elements(scheme, codes[n]) * s).to(torch.float32)
            check(what, differences({n: got[n] for n in codes}, codes))
            for kind, dtype in ("f32", torch.float32), ("bf16", torch.bfloat16), ("f16", torch.float16):
                back = path("schemes", f"{scheme}.{kind}.safetensors")
                octavo("dequantize", to, "--dtype", kind, "-o", back)
                want = {n: v if v is source[n] else v.to(dtype) for n, v in values.items()}
                check(
                    f"{scheme}: codes times scales to {kind}, as torch rounds", differences(read(back), want)
                )


for part in every_type, decode, encode, schemes:
    with story(part.__name__):
        part()
finish()
