"""What the stories share: running Octavo, one line per check, models to try things on.

OCTAVO is the program under test, ROOT the source tree, WORK a scratch directory;
run.sh sets all three.
"""

import glob
import json
import os
import subprocess
import sys
import traceback
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing here comes from a hub
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the same path on every machine
warnings.filterwarnings("ignore")

import torch
from safetensors.torch import load_file, save_file

ROOT = os.environ["ROOT"]
OCTAVO = os.environ["OCTAVO"]
WORK = os.environ["WORK"]
SAMPLE = os.path.join(ROOT, "samples", "model")

torch.set_num_threads(1)  # sums in one order, so that equal weights give equal logits
torch.use_deterministic_algorithms(True)


# ---- checks ------------------------------------------------------------------------

counts = {"ok": 0, "not ok": 0}


def check(what, wrong):
    """One line. wrong is empty when all is well, else a sentence (or a list of them)."""
    if isinstance(wrong, (list, tuple)):
        wrong = f"{wrong[0]} ({len(wrong)} such)" if len(wrong) > 1 else "".join(wrong)
    word = "not ok" if wrong else "ok"
    counts[word] += 1
    print(f"{word} {what}" + (f": {wrong}" if wrong else ""), flush=True)


class story:
    """A group of checks: what it raises is a failed check of that name, and the rest goes on."""

    def __init__(self, what):
        self.what = what

    def __enter__(self):
        return self

    def __exit__(self, kind, error, where):
        if error is None or not isinstance(error, Exception):
            return False
        traceback.print_exception(kind, error, where, file=sys.stderr)
        check(self.what, f"{kind.__name__}: {' '.join(str(error).split())[:300]}")
        return True


def skip(what):
    print(f"skip {what}", flush=True)


def finish():
    """The last line; exit 1 when something failed."""
    print(f"{counts['ok']} passed, {counts['not ok']} failed", flush=True)
    sys.exit(1 if counts["not ok"] else 0)


# ---- Octavo ------------------------------------------------------------------------


def run(*args):
    """Exit status, standard output and standard error of octavo ARGS."""
    p = subprocess.run([OCTAVO, *map(str, args)], capture_output=True, text=True, check=False)
    return p.returncode, p.stdout, p.stderr


def octavo(*args):
    status, out, err = run(*args)
    if status:
        raise RuntimeError(f"{err.strip()} (exit {status})")
    return out


def names(option, *args):
    """What there is, from the sentence that says what there is not."""
    _, _, err = run("quantize", *args, option, "?", "-n", "/dev/null")
    if "there are:" not in err:
        raise RuntimeError(f"octavo quantize {option} ?: no list in '{err.strip()}'")
    return err.split("there are:")[1].split()


def path(*parts):
    p = os.path.join(WORK, *parts)
    os.makedirs(os.path.dirname(p), exist_ok=True)
    return p


def read(model):
    """Every tensor of a model that is a directory or a file."""
    files = sorted(glob.glob(os.path.join(model, "*.safetensors"))) if os.path.isdir(model) else [model]
    if not files:
        raise RuntimeError(f"{model}: no safetensors files")
    return {k: v for f in files for k, v in load_file(f).items()}


def config(model):
    with open(os.path.join(model, "config.json"), encoding="utf-8") as f:
        return json.load(f)


def bits(t):
    """Its bytes, so that NaN equals NaN and -0 differs from 0."""
    return t.contiguous().reshape(-1).view(torch.uint8)


def differences(got, want):
    """One sentence per tensor in which two tables differ, types and bits included."""
    out = [f"only one side has {n}" for n in sorted(got.keys() ^ want.keys())]
    for n in sorted(got.keys() & want.keys()):
        a, b = got[n], want[n]
        if a.dtype != b.dtype or a.shape != b.shape:
            out.append(f"{n} is {a.dtype} {list(a.shape)}, not {b.dtype} {list(b.shape)}")
        elif not torch.equal(bits(a), bits(b)):
            out.append(f"{n} {list(a.shape)} differs by up to {(a.double() - b.double()).abs().max():.3g}")
    return out


# ---- models ------------------------------------------------------------------------


def even_sample():
    """The sample model with its MLP padded from 464 to 512 by zeros: the same function, no partial
    blocks."""
    to = path("models", "even")
    if os.path.isdir(to):
        return to
    c, tensors = config(SAMPLE), read(SAMPLE)
    old = c["intermediate_size"]
    new = c["intermediate_size"] = -(-old // 128) * 128
    for n, t in tensors.items():
        if ".mlp." in n:
            rows, cols = (new if x == old else x for x in t.shape)
            tensors[n] = torch.zeros(rows, cols, dtype=t.dtype)
            tensors[n][: t.shape[0], : t.shape[1]] = t
    os.makedirs(to)
    with open(os.path.join(to, "config.json"), "w", encoding="utf-8") as f:
        json.dump(c, f, indent=2)
    save_file(tensors, os.path.join(to, "model.safetensors"), metadata={"format": "pt"})
    return to


def expert_models():
    """Two small models with experts, named and saved by transformers itself; random weights."""
    from transformers import AutoModelForCausalLM, DeepseekV3Config, Qwen3MoeConfig

    common = {
        "vocab_size": 256,
        "hidden_size": 256,
        "intermediate_size": 512,
        "moe_intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
        "tie_word_embeddings": False,
    }
    made = {
        "qwen3-moe": Qwen3MoeConfig(
            **common,
            num_key_value_heads=2,
            head_dim=64,
            num_experts=4,
            num_experts_per_tok=2,
            mlp_only_layers=[0],
        ),
        "deepseek-v3": DeepseekV3Config(
            **common,
            num_key_value_heads=4,
            n_routed_experts=4,
            n_shared_experts=1,
            num_experts_per_tok=2,
            n_group=2,
            topk_group=1,
            first_k_dense_replace=1,
            q_lora_rank=128,
            kv_lora_rank=128,
            qk_nope_head_dim=64,
            qk_rope_head_dim=128,
            v_head_dim=64,
        ),
    }
    for name, c in made.items():
        to = path("models", name)
        if not os.path.isdir(to):
            torch.manual_seed(1)
            AutoModelForCausalLM.from_config(c).to(torch.bfloat16).save_pretrained(to)
    return {name: path("models", name) for name in made}


# ---- schemes -----------------------------------------------------------------------

# What a scheme of octavo-schemes(7) is: the type of its elements, and the rows and columns that share a
# scale (0: all of them). The one place that knows; names() says what there is, and what is missing here
# fails. No software but Octavo has HiFloat8.
E4M3, FNUZ = torch.float8_e4m3fn, torch.float8_e4m3fnuz
SCHEMES = {
    "fp8-ue8m0-128x128": (E4M3, 128, 128),
    "fp8-f32-128x128": (E4M3, 128, 128),
    "fp8-bf16-128x128": (E4M3, 128, 128),
    "mxfp8": (E4M3, 1, 32),
    "fp8-channel": (E4M3, 1, 0),
    "fp8-tensor": (E4M3, 0, 0),
    "fp8fnuz-f32-128x128": (FNUZ, 128, 128),
    "fp8fnuz-ue8m0-128x128": (FNUZ, 128, 128),
    "fp8fnuz-channel": (FNUZ, 1, 0),
    "fp8fnuz-tensor": (FNUZ, 0, 0),
    "mxfp4": ("e2m1", 1, 32),
    "nvfp4": ("e2m1", 1, 16),
    "hif8": None,
    "int8-channel": (torch.int8, 1, 0),
    "int8-g128": (torch.int8, 1, 128),
    "q8_0": (torch.int8, 1, 32),
    "int8-tensor": (torch.int8, 0, 0),
    "int4-g128": ("int4", 1, 128),
    "int4-g32": ("int4", 1, 32),
    "int4-channel": ("int4", 1, 0),
}
PAIRS = {  # the values of codes of 4 bits, of which a byte has two, the even column in its low half
    "e2m1": [s * x for s in (1.0, -1.0) for x in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)],
    "int4": [*range(8), *range(-8, 0)],
}


def elements(scheme, codes):
    """The values of a tensor of codes, as F32."""
    element = SCHEMES[scheme][0]
    if isinstance(element, torch.dtype):
        return codes.view(element).to(torch.float32)
    both = torch.stack((codes & 15, codes >> 4), -1).reshape(*codes.shape[:-1], -1)
    return torch.tensor(PAIRS[element], dtype=torch.float32)[both.to(torch.long)]


def power(code):
    """The value of an E8M0 code: torch's own reading of the byte."""
    return code.view(torch.float8_e8m0fnu).to(torch.float32)


def spread(scheme, scale, shape):
    """A scale tensor as F32, repeated so that there is one for every element of a weight."""
    _, rows, cols = SCHEMES[scheme]
    is_power = scale.dtype in (torch.uint8, torch.float8_e8m0fnu)
    s = power(scale) if is_power else scale.to(torch.float32)
    s = s.reshape(-(-shape[0] // rows) if rows else 1, -(-shape[1] // cols) if cols else 1)
    s = s.repeat_interleave(rows or shape[0], 0).repeat_interleave(cols or shape[1], 1)
    return s[: shape[0], : shape[1]]


def nearest(scheme, y):
    """The codes of values that are divided by their scale, as a weight tensor."""
    elem = SCHEMES[scheme][0]
    if elem == torch.int8:
        return torch.round(y).clamp(-127, 127).to(elem)
    if elem == "int4":
        return pair((torch.round(y).clamp(-7, 7).to(torch.int8) & 15).to(torch.uint8))
    if elem != "e2m1":
        top = torch.finfo(elem).max
        return y.clamp(-top, top).to(elem)
    least = torch.tensor(PAIRS[elem][:8])
    middle = (least[:7] + least[1:]) / 2
    low = torch.bucketize(y.abs(), middle.to(y.dtype))  # a tie goes down
    up = low + ((low < 7) & (y.abs() == middle.to(y.dtype)[low.clamp(max=6)]) & (low % 2 == 1))
    return pair((up + 8 * torch.signbit(y)).to(torch.uint8))


def pair(code):
    """Two codes in a byte, the even column in its low half."""
    return code[:, 0::2] | code[:, 1::2] << 4
