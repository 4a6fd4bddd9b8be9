"""Packed files (octavo-packed(5)) as numpy arrays, or with torch.from_numpy() as tensors.

    m = octp.Packed("model.octp")
    m["model.norm.weight"]    # codes and values in row-major order, layout and repetition undone
    m.raw("lm_head.weight")   # bytes as they lie, and their layout sentence: a reshape, a transpose and a cut
"""
import json
import mmap
import struct

import numpy as np

TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "U64": "<u8", "I32": "<i4", "U32": "<u4",
         "I16": "<i2", "U16": "<u2", "BF16": "<u2", "I8": "i1"}  # all others: bytes, as codes


def logical(raw, sentence, rows, cols):
    """The [rows, cols] matrix of elements that lie in the order of a sentence."""
    digits, _, sizes = sentence.partition("|")
    names = digits.split()
    size = {k: int(v) for k, v in (x.split("=") for x in sizes.split())}
    for axis, extent in (("r", rows), ("c", cols)):
        own = sorted((n.lstrip("-") for n in names if n.lstrip("-")[0] == axis), key=lambda n: int(n[1:]))
        below = int(np.prod([size[n] for n in own[:-1]], dtype=int))
        size[own[-1]] = -(-extent // below)
    x = raw.reshape([size[n.lstrip("-")] for n in names])
    for i, n in enumerate(names):
        if n[0] == "-":
            x = np.flip(x, i)
    plain = [n.lstrip("-") for n in names]
    order = sorted(range(len(plain)), key=lambda i: (plain[i][0] == "c", -int(plain[i][1:])))
    r = int(np.prod([size[n] for n in plain if n[0] == "r"], dtype=int))
    return x.transpose(order).reshape(r, -1)[:rows, :cols]


class Packed:
    def __init__(self, path):
        with open(path, "rb") as f:
            self.map = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        magic, _, _, length, self.payload = struct.unpack_from("<8sIIQQ", self.map)
        if magic != b"OCTAVO\x1a\n":
            raise ValueError(f"{path} is no packed file")
        self.manifest = json.loads(self.map[64:64 + length])
        self.entry = {t["name"]: t for t in self.manifest["tensors"]}

    def keys(self):
        return [k for k, t in self.entry.items() if "computed" not in t]

    def raw(self, name):
        t = self.entry[name]
        data = np.frombuffer(self.map, np.uint8, t["size"], self.payload + t["offset"])
        return data, t.get("stored", {}).get("layout", "")

    def __getitem__(self, name):
        t, (data, sentence) = self.entry[name], self.raw(name)
        stored = t.get("stored", {})
        dtype = np.dtype(TYPES.get(stored.get("dtype", t["dtype"]), "u1"))
        if not sentence:
            return data.view(dtype).reshape(t["shape"])
        batch, rows, cols = stored["shape"]
        if stored["dtype"] in ("I4", "F4"):  # two codes in a byte, the lower half first
            data, dtype = np.stack([data & 15, data >> 4], -1).reshape(-1), np.dtype("u1")
        parts = data.view(dtype).reshape(batch, -1)
        x = np.stack([logical(p, sentence, rows, cols) for p in parts])
        x = x[:, ::stored["repeat"][0], ::stored["repeat"][1]]
        return x.reshape(t["shape"]) if x.size == int(np.prod(t["shape"])) else x
