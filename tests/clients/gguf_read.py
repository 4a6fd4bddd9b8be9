"""GGUF between Octavo and gguf-py: Octavo decodes the block types that gguf-py writes to the same values,
and gguf-py reads what Octavo writes.

gguf_read.py FILE.gguf REFERENCE compares a file with a safetensors file or directory instead"""

import json
import re
import sys

import gguf
import numpy as np
import torch
from common import SAMPLE, bits, check, finish, octavo, path, read, run, skip, story

# ---- comparing -----------------------------------------------------------------------


def as_array(tensor):
    """A tensor as GGUF stores it: NumPy has no BF16, so its bits."""
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.uint16).numpy(), gguf.GGMLQuantizationType.BF16
    return tensor.numpy(), None


def values(entry):
    """The values of a tensor that gguf-py read, as F32."""
    data = np.array(entry.data)
    if entry.tensor_type == gguf.GGMLQuantizationType.F32:
        return data
    if entry.tensor_type == gguf.GGMLQuantizationType.F16:
        return data.astype(np.float32)
    with np.errstate(all="ignore"):  # random blocks have scales that are not finite
        return gguf.quants.dequantize(data, entry.tensor_type).astype(np.float32)


def text_field(reader, key):
    field = reader.get_field(key)
    return field.contents() if field else None


def interleaved(w, heads):
    """Rows of Q and K as llama.cpp has them for a Llama: the two halves of each head's rotary pairs side by
    side."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def expected(reader, reference):
    """The reference under the names of the file: its own, or those of gguf-py's map, where Q and K of a
    Llama are also in another order."""
    if all(t.name in reference for t in reader.tensors):
        return reference
    arch = text_field(reader, "general.architecture")
    kind = next((k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == arch), None)
    if kind is None:
        raise RuntimeError(f"general.architecture is '{arch}', which gguf-py does not know")
    table = gguf.get_tensor_name_map(kind, text_field(reader, f"{arch}.block_count"))
    want = {}
    for n, t in reference.items():
        name = table.get_name(n, try_suffixes=(".weight", ".bias"))
        if arch == "llama" and re.search(r"\.attn_[qk]\.", name or ""):
            heads = text_field(reader, f"{arch}.attention.head_count" + ("_kv" if "attn_k." in name else ""))
            t = interleaved(t, heads)
        want[name or n] = t
    return want


def compare(file, reference):
    """What differs between a GGUF file and tensors by name; lossless types must have the bits of the
    reference."""
    reader = gguf.GGUFReader(file)
    want = expected(reader, reference)
    got = {t.name: t for t in reader.tensors}
    wrong = [f"only one side has {n}" for n in sorted(want.keys() ^ got.keys())]
    for n in sorted(want.keys() & got.keys()):
        g, w = torch.from_numpy(values(got[n])), want[n].to(torch.float32)
        if g.shape != w.shape:
            wrong.append(f"{n} is {list(g.shape)}, not {list(w.shape)}")
        elif got[n].tensor_type.name in ("F32", "F16", "BF16"):
            if not torch.equal(bits(g), bits(w)):
                wrong.append(f"{n} ({got[n].tensor_type.name}) differs by up to {(g - w).abs().max():.3g}")
        elif (g - w).norm() > 0.15 * w.norm():
            wrong.append(
                f"{n} ({got[n].tensor_type.name}) is off by {(g - w).norm() / w.norm():.3g} of its norm"
            )
    return wrong


# ---- files of gguf-py ----------------------------------------------------------------


def write(file, tensors):
    """A Llama of the sample's shape; tensors: name, array, type or None."""
    w = gguf.GGUFWriter(file, "llama")
    w.add_block_count(4)
    w.add_head_count(4)
    w.add_head_count_kv(2)
    for name, array, kind in tensors:
        w.add_tensor(name, array, raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return file


def decoded_by_octavo():
    """Random bytes in every block type that gguf-py can decode, so every code and every scale, NaN and Inf
    included."""
    unread = []
    for kind in gguf.quants._type_traits:
        with story(f"gguf-py's {kind.name}, decoded by Octavo"):
            columns, size = gguf.GGML_QUANT_SIZES[kind]
            g = np.random.default_rng(7)
            blocks = g.integers(0, 256, (64, 8 * size), dtype=np.uint8)
            file, to = path("gguf", f"{kind.name}.gguf"), path("gguf", f"{kind.name}.safetensors")
            write(file, [("x.weight", blocks.view(np.uint16) if kind.name == "BF16" else blocks, kind)])
            status, _, err = run("convert", file, "-o", to)
            if status == 3 and "not read by this version" in err:
                unread.append(kind.name)
                continue
            if status:
                raise RuntimeError(err)
            want = torch.from_numpy(values(gguf.GGUFReader(file).tensors[0]))
            got = read(to)["x.weight"].to(torch.float32)
            wrong = "" if list(got.shape) == [64, 8 * columns] else f"its shape is {list(got.shape)}"
            same = (bits(got).view(-1, 4) == bits(want).view(-1, 4)).all(1) | (
                torch.isnan(got) & torch.isnan(want)
            ).reshape(-1)
            check(
                f"gguf-py's {kind.name}, decoded by Octavo",
                wrong or ("" if same.all() else f"{int((~same).sum())} of {same.numel()} values differ"),
            )
    if unread:
        skip(f"types that Octavo does not read: {' '.join(unread)}")


def comparison_itself():
    """compare() finds no difference where there is none, under both sorts of names, and one where there is
    one."""
    source = read(SAMPLE)
    same = write(path("gguf", "same.gguf"), [(n, *as_array(t)) for n, t in source.items()])
    check("gguf-py: the comparison passes on the sample model", compare(same, source))
    table = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 4)
    renamed = []
    for n, t in source.items():
        heads = 4 if "q_proj" in n else 2 if "k_proj" in n else 0
        t = interleaved(t, heads) if heads else t
        renamed.append((table.get_name(n, try_suffixes=(".weight",)), *as_array(t.contiguous())))
    file = write(path("gguf", "renamed.gguf"), renamed)
    check("gguf-py: the comparison passes under llama.cpp's names and order", compare(file, source))
    source["lm_head.weight"][255, 255] += 1
    check(
        "gguf-py: the comparison sees one changed value",
        "" if len(compare(same, source)) == 1 else "it does not",
    )
    to = path("gguf", "same.safetensors")
    octavo("convert", same, "-o", to)
    source["lm_head.weight"] = read(SAMPLE)["lm_head.weight"]
    got = read(to)
    check(
        "gguf-py's BF16 file of the sample model, converted by Octavo",
        [n for n in source if n not in got or not torch.equal(bits(got[n]), bits(source[n]))],
    )


def same_tensors(file, reference):
    """Types, shapes and values of a file that gguf-py reads, against Octavo's own idea of them."""
    got = {t.name: t for t in gguf.GGUFReader(file).tensors}
    wrong = [f"only one side has {n}" for n in sorted(reference.keys() ^ got.keys())]
    for n in sorted(reference.keys() & got.keys()):
        g, w = torch.from_numpy(values(got[n])), reference[n].to(torch.float32)
        if list(g.shape) != list(w.shape):
            wrong.append(f"{n} is {list(g.shape)}, not {list(w.shape)}")
        elif not torch.equal(g, w):
            wrong.append(f"{n} ({got[n].tensor_type.name}) differs by up to {(g - w).abs().max():.3g}")
    return wrong


def written_by_octavo():
    file = path("gguf", "octavo.gguf")
    octavo("convert", SAMPLE, "-o", file)
    check("GGUF of Octavo, read by gguf-py", compare(file, read(SAMPLE)))
    reader = gguf.GGUFReader(file)
    norms = {t.name: t.tensor_type.name for t in reader.tensors if len(t.shape) == 1}
    check("its vectors are F32", [f"{n} is {t}" for n, t in norms.items() if t != "F32"])
    check(
        "its file_type is BF16's",
        "" if text_field(reader, "general.file_type") == gguf.LlamaFileType.MOSTLY_BF16 else "it is not",
    )


def keys_of_octavo():
    """Keys of every type: those of JSON, and those of gguf-py that are carried."""
    w = gguf.GGUFWriter(path("gguf", "keys.gguf"), "llama")
    w.add_uint8("k.u8", 200)
    w.add_int8("k.i8", -3)
    w.add_uint16("k.u16", 65535)
    w.add_int16("k.i16", -300)
    w.add_uint64("k.u64", 2**63)
    w.add_float64("k.f64", 0.1)
    w.add_array("k.list", ["a", "caf\u00e9", ""])
    w.add_array("k.numbers", [1, -2, 3])
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    said = {
        "llama.block_count": 4,
        "llama.rope.freq_base": 10000.5,
        "general.tags": ["x", "y"],
        "tokenizer.ggml.scores": [0.5, -1.0],
        "tokenizer.ggml.token_type": [1, 3],
        "tokenizer.ggml.add_bos_token": True,
        "k.u8": 5,
    }
    with open(path("gguf", "keys.json"), "w", encoding="utf-8") as f:
        json.dump(said, f)
    file = path("gguf", "with-keys.gguf")
    octavo(
        *("convert", SAMPLE, "-o", file),
        *("--gguf-metadata", path("gguf", "keys.gguf"), "--gguf-metadata", path("gguf", "keys.json")),
    )
    was, now = gguf.GGUFReader(path("gguf", "keys.gguf")), gguf.GGUFReader(file)
    wrong = []
    for key, field in was.fields.items():
        if not key.startswith("GGUF.") and key not in said and text_field(now, key) != field.contents():
            wrong.append(f"{key} is {text_field(now, key)}, not {field.contents()}")
    wrong += [f"{k} is {text_field(now, k)}, not {v}" for k, v in said.items() if text_field(now, k) != v]
    types = {k: now.get_field(k).types for k in said}
    kind = gguf.GGUFValueType
    for key, want in (
        ("llama.block_count", [kind.UINT32]),
        ("llama.rope.freq_base", [kind.FLOAT32]),
        ("tokenizer.ggml.token_type", [kind.ARRAY, kind.INT32]),
        ("tokenizer.ggml.scores", [kind.ARRAY, kind.FLOAT32]),
    ):
        if types[key] != want:
            wrong.append(f"{key} is of type {types[key]}, not {want}")
    check("keys that Octavo carried and made, read by gguf-py", wrong)


def quantized_by_octavo():
    """Blocks that Octavo makes: gguf-py decodes them as Octavo does, and makes the same ones."""
    for scheme, kind, cls in (
        ("q8_0", gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
        ("mxfp4", gguf.GGMLQuantizationType.MXFP4, gguf.LlamaFileType.MOSTLY_MXFP4_MOE),
    ):
        with story(f"GGUF in {scheme}"):
            file, to = path("gguf", f"{scheme}.gguf"), path("gguf", f"{scheme}.dequantized.safetensors")
            octavo("quantize", SAMPLE, "--scheme", scheme, "--names", "hf", "-o", file)
            octavo("dequantize", file, "--dtype", "f32", "-o", to)
            check(f"GGUF in {scheme}, decoded by gguf-py and by Octavo", same_tensors(file, read(to)))
            reader, source = gguf.GGUFReader(file), read(SAMPLE)
            wrong = [] if text_field(reader, "general.file_type") == cls else ["file_type"]
            blocks = [t for t in reader.tensors if t.tensor_type == kind]
            for t in blocks:
                want = gguf.quants.quantize(source[t.name].to(torch.float32).numpy(), kind)
                if not np.array_equal(np.array(t.data).reshape(-1), want.reshape(-1)):
                    wrong.append(f"{t.name} is not what gguf-py makes")
            check(f"{len(blocks)} weights in {scheme} as gguf-py makes them", wrong or ("" if blocks else "none"))


if len(sys.argv) == 3:
    check(f"{sys.argv[1]} against {sys.argv[2]}", compare(sys.argv[1], read(sys.argv[2])))
else:
    for part in decoded_by_octavo, comparison_itself, written_by_octavo, keys_of_octavo, quantized_by_octavo:
        with story(part.__name__):
            part()
finish()
