# The loaders of samples/: one C file, and one of Python, see what octavo sees.
. "$ROOT/tests/cli/lib.sh"
cc=${CC:-cc}
command -v "$cc" >/dev/null 2>&1 || cc=gcc
"$cc" -O1 -Wall -Wextra -Werror -o load_packed "$ROOT/samples/load_packed.c" || fail "load_packed.c compiles without a word"
# Under the sanitizers where the compiler has them: what reads outside the map or is undefined fails.
"$cc" -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -o sanitized "$ROOT/samples/load_packed.c" 2>/dev/null &&
    ./sanitized nowhere 2>/dev/null || [ $? -ne 3 ] || mv sanitized load_packed
[ "$(wc -l <"$ROOT/samples/load_packed.c")" -le 155 ] || fail "a short loader"
octavo quantize -q "$MODEL" --target kunlunxin-p800 -o q.safetensors
octavo pack -q q.safetensors --target kunlunxin-p800 -o k.octp
octavo ls -q --json k.octp | sed 's/.*"name":"\([^"]*\)","dtype":"\([^"]*\)","shape":\(\[[0-9,]*\]\).*"bytes":\([0-9]*\).*/\1 \2 \3 \4/' | sort >want
./load_packed k.octp | grep -v computed | awk '{ print $1, $2, $3, $4 }' | sort >got
[ "$(wc -l <got)" -ge 60 ] && same want got
[ "$(./load_packed k.octp | grep -c 'absmax.*computed')" -ge 20 ] || fail "what was computed"
# A tensor that lies plain has the bytes of the checkpoint.
bytes_of() {
    n=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    at=$(head -c $((n + 8)) "$1" | tail -c +9 | sed 's/"__metadata__":{[^}]*}//' | tr '}' '\n' | grep -F "\"$2\":" |
        sed 's/.*"data_offsets":\[\([0-9]*\),\([0-9]*\)\].*/\1 \2/')
    set -- "$1" $at
    tail -c +$((n + 9 + $2)) "$1" | head -c $(($3 - $2))
}
for t in model.norm.weight model.layers.2.mlp.up_proj.weight model.layers.2.mlp.up_proj.weight_scale; do
    bytes_of q.safetensors $t >want
    ./load_packed k.octp $t >got
    [ -s got ] && same want got
done
# Damage is a sentence, never a crash: every length, and bytes changed all over head and manifest.
refuses() {
    _r=0
    ./load_packed "$@" >out 2>err || _r=$?
    [ $_r -eq 3 ] && [ "$(wc -l <err)" -eq 1 ] || { cat err; fail "exit 3 and a sentence, not $_r: $*"; }
}
refuses k.octp no.such.tensor
refuses nowhere
for n in 0 1 63 64 100 1000 5000 20000; do
    head -c $n k.octp >cut
    refuses cut
done
i=16
while [ $i -lt 6000 ]; do
    cp k.octp broken
    printf '\377' | dd of=broken bs=1 seek=$i conv=notrunc 2>/dev/null
    _r=0
    ./load_packed broken >out 2>err || _r=$?
    [ $_r -eq 0 ] || [ $_r -eq 3 ] || fail "exit 0 or 3, not $_r, with byte $i changed"
    i=$((i + 149))
done

# ---- Python ------------------------------------------------------------------------------
python=${PYTHON:-python3}
"$python" -c 'import numpy' 2>/dev/null || { echo "REPORT loader: no numpy here, samples/octp.py was not tried"; exit 0; }
cat >check.py <<'P'
import json, struct, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import octp
data = open(sys.argv[2], "rb").read()
n = struct.unpack("<Q", data[:8])[0]
head = json.loads(data[8:8 + n])
m = octp.Packed(sys.argv[3])
count = 0
for name in m.keys():
    a, b = head[name]["data_offsets"]
    want = np.frombuffer(data[8 + n + a:8 + n + b], np.uint8)
    got = np.ascontiguousarray(m[name])
    if got.nbytes != want.nbytes:  # nibbles, one in a byte; codes of scales for their values
        e = m.entry[name]["stored"]["dtype"]
        if e in ("I4", "F4"):
            got = got.reshape(-1, 2)
            got = (got[:, 0] | got[:, 1] << 4).astype(np.uint8)
        elif e == "F8_E8M0":
            got = (got.astype(np.uint32) << 23).view(np.uint8)
        elif e == "BF16":
            got = (got.astype(np.uint32) << 16).view(np.uint8)
        else:
            continue
    if m.entry[name].get("stored", {}).get("shift"):
        continue
    assert (got.view(np.uint8).reshape(-1) == want).all(), name
    count += 1
assert count >= 35, count
P
for t in nvidia-sm90 nvidia-sm100 ascend-950 ascend-910b hygon-bw1100 biren-br288 iluvatar-bi nvidia-sm80-marlin; do
    octavo quantize -q "$MODEL" --target $t -o q.safetensors -f
    octavo pack -q q.safetensors --target $t -o t.octp -f
    "$python" check.py "$ROOT/samples" q.safetensors t.octp || fail "octp.py and octavo to agree about $t"
done
echo "REPORT loader: samples/octp.py undoes the layouts of eight targets"
