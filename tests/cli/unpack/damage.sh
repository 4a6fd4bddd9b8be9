# A packed file knows its bytes: damage anywhere is found, and nothing is written.
. "$ROOT/tests/cli/lib.sh"
octavo quantize -q "$MODEL" -o q
octavo pack -q q -t ascend-950 -o p.octp
size=$(size_of p.octp)
damage() { # damage OFFSET: one byte becomes another
    cp p.octp d.octp
    byte=$(od -An -tu1 -j "$1" -N 1 p.octp | tr -d ' ')
    printf "\\$(printf %03o $((byte ^ 32)))" | dd of=d.octp bs=1 seek="$1" conv=notrunc 2>/dev/null
}
for at in 0 5 9 17 40 70 500 4096 8192 100000 1234567 2000000 $((size - 33)) $((size - 1)); do
    [ "$at" -lt "$size" ] || continue
    damage "$at"
    cmp -s p.octp d.octp && fail "a damaged byte at $at"
    got=0
    "$OCTAVO" unpack d.octp -o b >out 2>err || got=$?
    # Padding between tensors is not covered by a digest of theirs: then the tensors are right.
    if [ $got -eq 0 ]; then
        same_digest q b
        rm -rf b
    else
        [ $got -eq 3 ] || { cat err; fail "exit 3 for a byte at $at, not $got"; }
        [ "$(wc -l <err)" -eq 1 ] || fail "one sentence"
        absent b
    fi
done
damage 100000 && expect_exit 0 "$OCTAVO" unpack d.octp --no-check -o unchecked
# Cut anywhere, or longer.
for n in 0 1 63 64 1000 100000 $((size - 100)) $((size - 1)); do
    head -c "$n" p.octp >d.octp
    refused 3 unpack d.octp -o b
    absent b
done
{ cat p.octp; echo more; } >d.octp
refused 3 unpack d.octp -o b
refused 3 unpack q -o b
expect_err "not a packed file"
absent b
# From a pipe and into shards.
octavo unpack -q - -o one.safetensors <p.octp
same_digest q one.safetensors
head -c $((size / 2)) p.octp >half
got=0
"$OCTAVO" unpack - -o b.safetensors <half 2>err || got=$?
[ $got -eq 3 ] || fail "exit 3 for half a pipe, not $got"
absent b.safetensors
octavo unpack -q p.octp --shard-size 500KB -o shards
same_digest q shards
[ -s shards/model.safetensors.index.json ] || fail "an index of the shards"
# Packed once more: the same bytes.
octavo pack -q shards -t ascend-950 -o p2.octp
same p.octp p2.octp
no_temporary .
