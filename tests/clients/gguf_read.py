"""GGUF between Octavo and gguf-py: Octavo decodes the block types that gguf-py writes to the same values,
and gguf-py reads what Octavo writes.

gguf_read.py FILE.gguf REFERENCE compares a file with a safetensors file or directory instead"""

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


def written_by_octavo():
    file = path("gguf", "octavo.gguf")
    status, _, err = run("convert", SAMPLE, "-o", file)
    if status == 2 and "does not write GGUF" in err:
        skip("GGUF of Octavo, read by gguf-py: this version of Octavo does not write GGUF")
        return
    if status:
        raise RuntimeError(err)
    check("GGUF of Octavo, read by gguf-py", compare(file, read(SAMPLE)))


if len(sys.argv) == 3:
    check(f"{sys.argv[1]} against {sys.argv[2]}", compare(sys.argv[1], read(sys.argv[2])))
else:
    for part in decoded_by_octavo, comparison_itself, written_by_octavo:
        with story(part.__name__):
            part()
finish()
