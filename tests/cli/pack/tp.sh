# What each rank has, and that all ranks together are the model again.
. "$ROOT/tests/cli/lib.sh"
mini bf16 m
cp -r "$MODEL" sample
bytes_of() { # bytes_of FILE.safetensors NAME
    n=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    at=$(head -c $((n + 8)) "$1" | tail -c +9 | sed 's/"__metadata__":{[^}]*}//' | tr '}' '\n' | grep -F "\"$2\":" |
        sed 's/.*"data_offsets":\[\([0-9]*\),\([0-9]*\)\].*/\1 \2/')
    [ "$at" ] || fail "$2 in $1"
    set -- "$1" $at
    tail -c +$((n + 9 + $2)) "$1" | head -c $(($3 - $2))
}

# ---- every way that is possible, on every target; and that the others are refused --------
joined=0
for t in $(octavo targets | awk '{ print $1 }'); do
    case $t in musa-mp22 | lisuan-7g | chana-tpu | nvidia-trtllm-w8a16) continue ;; esac
    for model in sample m; do
        octavo quantize -q $model --target "$t" -o q
        for way in "2 1" "4 1" "2 2" "1 8" "4 8" "3 1" "8 1"; do
            set -- $way
            got=0
            "$OCTAVO" pack -q q --target "$t" --tp "$1" --ep "$2" -o ranks >out 2>err || got=$?
            case $got in
            0)
                n=$1
                [ "$2" -le "$n" ] || n=$2
                [ "$(ls ranks | wc -l)" -eq "$n" ] || fail "$n files for --tp $1 --ep $2"
                octavo unpack -q ranks -o whole
                same_digest q whole
                same q/config.json whole/config.json
                joined=$((joined + 1))
                ;;
            3)
                grep -q 'cannot be cut for --tp.*(possible --tp' err || { cat err; fail "the reason"; }
                absent ranks
                ;;
            *) cat err; fail "exit 0 or 3, not $got" ;;
            esac
            rm -rf ranks whole
        done
        rm -rf q
    done
done
[ $joined -ge 100 ] || fail "a hundred models cut and joined, not $joined"
echo "REPORT pack --tp --ep: $joined models cut and joined again, digests equal"

# ---- rank by rank: rows of q_proj, columns of o_proj, shared KV heads, norms --------------
octavo quantize -q sample --target kunlunxin-r480 -o q.safetensors
octavo pack -q q.safetensors --target kunlunxin-r480 --tp 4 -o ranks
layer=model.layers.1
for r in 0 1 2 3; do
    octavo unpack -q ranks/rank-0$r-of-4.octp -o r$r.safetensors
    bytes_of q.safetensors $layer.self_attn.q_proj.weight | tail -c +$((r * 64 * 256 + 1)) | head -c $((64 * 256)) >want
    bytes_of r$r.safetensors $layer.self_attn.q_proj.weight >got
    same want got
    bytes_of q.safetensors $layer.self_attn.q_proj.weight_scale | tail -c +$((r * 64 * 4 + 1)) | head -c 256 >want
    bytes_of r$r.safetensors $layer.self_attn.q_proj.weight_scale >got
    same want got
    # Two KV heads for four ranks: ranks 0 and 1 have the first.
    bytes_of q.safetensors $layer.self_attn.k_proj.weight | tail -c +$((r / 2 * 64 * 256 + 1)) | head -c $((64 * 256)) >want
    bytes_of r$r.safetensors $layer.self_attn.k_proj.weight >got
    same want got
    bytes_of q.safetensors $layer.self_attn.o_proj.weight | od -An -v -tu1 -w256 |
        awk -v r=$r '{ for (i = 1; i <= 64; i++) print $(r * 64 + i) }' >want
    bytes_of r$r.safetensors $layer.self_attn.o_proj.weight | od -An -v -tu1 -w1 | tr -d ' ' >got
    same want got
    bytes_of q.safetensors $layer.self_attn.o_proj.weight_scale >want
    bytes_of r$r.safetensors $layer.self_attn.o_proj.weight_scale >got
    same want got
    bytes_of q.safetensors model.norm.weight >want
    bytes_of r$r.safetensors model.norm.weight >got
    same want got
done
# One rank, to a file and to a pipe: the same bytes as among all.
octavo pack -q q.safetensors --target kunlunxin-r480 --tp 4 --rank 2 -o two.octp
same two.octp ranks/rank-02-of-4.octp
octavo unpack -q ranks/rank-03-of-4.octp ranks/rank-01-of-4.octp ranks/rank-02-of-4.octp ranks/rank-00-of-4.octp -o any.safetensors
same_digest q.safetensors any.safetensors

# ---- experts: dealt in order ---------------------------------------------------------------
octavo quantize -q m --target kunlunxin-r480 -o e
octavo pack -q e --target kunlunxin-r480 --tp 2 --ep 4 -o ranks4
for r in 0 1 2 3; do
    octavo ls --json ranks4/rank-0$r-of-4.octp | sed -n 's/.*layers\.1\.mlp\.experts\.\([0-9]*\)\.up_proj\.weight".*/\1/p' | tr '\n' ' ' >got
    [ "$(cat got)" = "$((2 * r)) $((2 * r + 1)) " ] || fail "experts of rank $r: $(cat got)"
done
grep -aq '"parallel":{"tp":2,"ep":4,"ranks":4,"rank":3}' ranks4/rank-03-of-4.octp || fail "the manifest to say which rank"

# ---- what does not go together ----------------------------------------------------------------
refused 3 unpack ranks/rank-00-of-4.octp ranks/rank-01-of-4.octp -o x
expect_err "rank 2 of 4 is missing"
refused 3 unpack ranks/rank-00-of-4.octp ranks/rank-00-of-4.octp -o x
expect_err "twice"
octavo quantize -q sample --target kunlunxin-r480 --exclude '*layers.2.*' -o other
octavo pack -q other --target kunlunxin-r480 --tp 4 -o foreign
cp foreign/rank-02-of-4.octp ranks/rank-02-of-4.octp
refused 3 unpack ranks -o x
octavo pack -q q.safetensors --target kunlunxin-r480 --tp 2 -o two
refused 3 unpack two/rank-00-of-2.octp foreign/rank-01-of-4.octp -o x
expect_err "--tp"
refused 3 unpack two.octp q.safetensors -o x
absent x
refused 2 unpack two -o -
printf '\377' | dd of=two/rank-01-of-2.octp bs=1 seek=20000 conv=notrunc 2>/dev/null
refused 3 unpack two -o x
absent x
refused 2 pack q.safetensors --target kunlunxin-r480 --tp 2 --ep 3 -o x
refused 2 pack q.safetensors --target kunlunxin-r480 --tp 2 --rank 2 -o x
refused 2 pack q.safetensors --target kunlunxin-r480 --rank 1 -o x
refused 3 pack q.safetensors --target kunlunxin-r480 --tp 3 -o x
expect_err "do not divide into 3 parts" "possible --tp: 1, 2, 4"
refused 3 pack q.safetensors --target kunlunxin-r480 --tp 8 -o x
expect_err "4 heads" 
cat q.safetensors | "$OCTAVO" pack - --target kunlunxin-r480 --tp 2 -o x 2>err && fail "a pipe refused"
expect_err "--spool"
absent x
cat q.safetensors | octavo pack -q - --target kunlunxin-r480 --tp 4 --rank 2 --spool -o spooled.octp
same two.octp spooled.octp
# -n says what would be, and writes nothing.
expect_exit 0 "$OCTAVO" pack q.safetensors --target kunlunxin-r480 --tp 4 -o none -n
absent none
