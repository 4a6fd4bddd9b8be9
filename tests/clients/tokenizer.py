"""Ids of texts against tokenizers: small ones of every kind that Octavo reads, trained here, with added tokens of every
kind; texts of English, Chinese, emoji, digits and white space, in random order."""

import json
import os
import random
import struct
import subprocess

from common import ROOT, SAMPLE, check, finish, path, story
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

IDS = os.path.join(os.path.dirname(os.environ["OCTAVO"]), "logits")
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHINESE = [
    "今天天气很好，我们去公园散步。",
    "量化把权重变成八位的浮点数。",
    "大语言模型读的是词元，不是文字。",
    "他说：“你好，世界！”",
    "二〇二四年三月十五日，气温一十二度。",
]
# What random texts are made of; some of it is in no text of the training.
PARTS = [
    *"the a of weights quantized tensors don't we'LL I'm café naïve Ünïcode русский ひらがな カタカナ 한국어".split(),
    *CHINESE,
    *("😀", "👍🏽", "👨‍👩‍👧", "🇨🇳", "ʘ", "ᚠᚢ", "𝔘𝔫", "½", "²", "①", "٣٤", "Ⅷ"),
    *("1", "12", "123456", "3.14", "1e-5", "0x1F", "2024年"),
    *(" ", " ", " ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", " \n ", "\u00a0", "\u3000", "\u2003", "▁", "▁▁"),
    *(",", ".", "，", "。", "(", ")", "_", "--", "x_y=f(1.5)", '"q"', "<", ">", "<s", "[[", "]]"),
]
ADDED = [
    AddedToken("<s>", special=True),
    AddedToken("</s>", special=True),
    AddedToken("<|left|>", lstrip=True, special=True),
    AddedToken("<|right|>", rstrip=True, special=True),
    AddedToken("<|both|>", lstrip=True, rstrip=True, special=True),
    AddedToken("<|both|>!", special=True),  # the longer one of two
    AddedToken("[[", normalized=True),
    AddedToken("a [[b]] c", normalized=True, lstrip=True),
    AddedToken("[[b", normalized=False),  # goes before those that are normalized, which begin earlier
    AddedToken("量化", normalized=True, rstrip=True),
    AddedToken("\n\n", normalized=False),  # may lie in the white space of another
    AddedToken("<|one|>", single_word=True, normalized=False),
]


def corpus():
    with open(os.path.join(SAMPLE, "excerpt.txt"), encoding="utf-8", errors="ignore") as f:
        lines = f.read().splitlines()[:400]
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
        lines += f.read().splitlines()
    return lines + CHINESE * 8 + ["一二三 1234 5678 90 café 😀👍", "\tx = f(1.5)  # twice", "русский ひらがな カタカナ"] * 4


def texts(added, seed):
    r = random.Random(seed)
    single = [" <|one|> ", "\n<|one|>.", "(<|one|>)"]
    parts = PARTS + [t.content for t in ADDED if not t.single_word] * 2 + single if added else PARTS
    made = [" ", "a", "  a", "Hello world", "\n", "".join(CHINESE), "<s>", "<s> a<s>b", " ▁a", "ʘ", "ʘʘ 1ʘ2"]
    made += ["".join(r.choices(parts, k=r.randrange(1, 30))) for _ in range(400)]
    made += [" ".join(r.choices(parts, k=r.randrange(1, 30))) for _ in range(200)]
    return made


def ids(tokenizer, of):
    """Octavo's: a list for every text."""
    with open(path("texts"), "wb") as f:
        f.write(b"".join(t.encode() + b"\0" for t in of))
    p = subprocess.run([IDS, tokenizer, path("texts")], capture_output=True, check=False)
    if p.returncode:
        raise RuntimeError(p.stderr.decode())
    numbers, at, lists = struct.unpack(f"<{len(p.stdout) // 4}I", p.stdout), 0, []
    while at < len(numbers):
        lists.append(list(numbers[at + 1 : at + 1 + numbers[at]]))
        at += 1 + numbers[at]
    return lists


def trained(model, normalizer, pieces, vocabulary=900):
    """A tokenizer; the model is bytes, pieces (of characters) or unigram."""
    special = [] if model == "bytes" else ["<unk>"]
    if model == "unigram":
        t = Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(vocab_size=vocabulary, special_tokens=special, unk_token="<unk>", show_progress=False)
    else:
        t = Tokenizer(models.BPE(unk_token=special[0] if special else None))
        alphabet = pre_tokenizers.ByteLevel.alphabet() if model == "bytes" else []
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
    if normalizer:
        t.normalizer = normalizer
    if pieces:
        t.pre_tokenizer = pieces
    t.train_from_iterator(corpus(), trainer)
    return t


def changed(t, **of_model):
    """The same with other words in its model; byte_fallback with a token for every byte, and for none of its letters."""
    o = json.loads(t.to_str())
    o["model"] |= of_model
    if of_model.get("byte_fallback"):
        have = o["model"]["vocab"]
        for b in range(256):
            if isinstance(have, dict):
                have[f"<0x{b:02X}>"] = len(have)
            else:
                have.append([f"<0x{b:02X}>", -20.0])
    return Tokenizer.from_str(json.dumps(o))


def space(scheme="always", split=True):
    return pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)


def byte_level(**how):
    return pre_tokenizers.ByteLevel(**{"add_prefix_space": False} | how)


def split(pattern, invert=False):
    return pre_tokenizers.Split(Regex(pattern), "removed" if invert else "isolated", invert)


LLAMA2 = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
TOKENIZERS = {
    "bytes": lambda: trained("bytes", None, byte_level()),
    "bytes, a space before": lambda: trained("bytes", None, byte_level(add_prefix_space=True)),
    "bytes, NFC": lambda: trained("bytes", normalizers.NFC(), byte_level()),
    "bytes, digits": lambda: trained(
        "bytes", None, pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()])
    ),
    "bytes, runs of digits": lambda: trained("bytes", None, pre_tokenizers.Sequence([pre_tokenizers.Digits(), byte_level()])),
    "bytes, Llama 3": lambda: changed(
        trained("bytes", None, pre_tokenizers.Sequence([split(LLAMA3), byte_level(use_regex=False)])), ignore_merges=True
    ),
    "bytes, what a pattern leaves is dropped": lambda: trained(
        "bytes", None, pre_tokenizers.Sequence([split(r"\p{L}+|\p{N}", invert=True), byte_level(use_regex=False)])
    ),
    "pieces": lambda: trained("pieces", None, space()),
    "pieces, unknown ones side by side are one": lambda: changed(trained("pieces", None, space()), fuse_unk=True),
    "pieces, a space before the first": lambda: trained("pieces", None, space("first")),
    "pieces, not split": lambda: trained("pieces", None, space("never", False), 500),
    "pieces, bytes to fall back to": lambda: changed(trained("pieces", None, space()), byte_fallback=True),
    "pieces, Llama 2": lambda: changed(trained("pieces", LLAMA2, None, 500), byte_fallback=True, fuse_unk=True),
    "unigram": lambda: trained("unigram", None, space()),
    "unigram, a space before the first": lambda: trained("unigram", None, space("first")),
    "unigram, not split": lambda: trained("unigram", None, space("always", False)),
    "unigram, digits": lambda: trained("unigram", None, pre_tokenizers.Sequence([space(), pre_tokenizers.Digits()])),
    "unigram, bytes to fall back to": lambda: changed(trained("unigram", None, space()), byte_fallback=True),
}


def compare(name, t, added, seed):
    file = path("tokenizers", f"{seed}{'-added' if added else ''}.json")
    t.save(file)
    of = texts(added, seed)
    got = ids(file, of)
    wrong = [
        f"{text!r} is {mine[:40]}, not {want[:40]}"
        for text, mine in zip(of, got, strict=True)
        if mine != (want := t.encode(text, add_special_tokens=False).ids)
    ]
    check(f"{name}{', added tokens' if added else ''}: ids of {len(of)} texts", wrong)
    return file


def refused(name, file, text, says):
    with story(f"{name} is refused"):
        try:
            ids(file, [text])
            check(f"{name} is refused", "it is not")
        except RuntimeError as e:
            check(f"{name} is refused", "" if says in str(e) else str(e).strip())


for seed, (name, make) in enumerate(TOKENIZERS.items()):
    with story(f"tokenizer {name}"):
        t = make()
        compare(name, t, False, seed)
        t.add_tokens(ADDED)
        file = compare(name, t, True, seed)
        refused(f"{name}: a token beside a word", file, "one<|one|>", "single_word")
finish()
