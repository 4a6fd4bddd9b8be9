# The ledger: whatever a verb does, every tensor of the source is mapped, copied, merged
# or dropped, and the sum of these is the number of tensors that ls sees.
. "$ROOT/tests/cli/lib.sh"

# sums N VERB ARGUMENT...: the ledger of the JSON text has N tensors, and so have its fates.
sums() {
    _n=$1
    shift
    "$OCTAVO" "$@" --json --no-progress >out 2>err </dev/null || { cat err; fail "octavo $*"; }
    counted "$_n" out
}
counted() {
    grep -o '"fate":"[a-z]*"' "$2" | sort | uniq -c | awk '{ gsub(/"fate":|"/, "", $2); print $2, $1 }' >lines
    sed -n 's/.*"fates":{"tensors":\([0-9]*\),"mapped":\([0-9]*\),"copied":\([0-9]*\),"merged":\([0-9]*\),"dropped":\([0-9]*\)}.*/\1 \2 \3 \4 \5/p' \
        "$2" >sum
    read -r _all _mapped _copied _merged _dropped <sum
    [ "$_all" -eq "$1" ] || fail "$1 tensors in the ledger, not $_all"
    [ $((_mapped + _copied + _merged + _dropped)) -eq "$1" ] || { cat sum; fail "the sum to be $1"; }
    for _f in mapped copied merged dropped; do
        eval "_want=\$_$_f"
        _got=$(awk -v f=$_f '$1 == f { print $2 }' lines)
        [ "${_got:-0}" -eq "$_want" ] || { cat lines; fail "$_want tensors $_f"; }
    done
}

echo '*self_attn*.weight = bf16' >plain
while read -r style tensors rest; do
    case $style in '#'*) continue ;; esac
    mini "$style" m
    sums $tensors convert m -n
    sums $tensors quantize m -n --scheme fp8-channel --convention octavo
    sums $tensors quantize m -n --scheme mxfp8 --convention octavo --rules plain
    sums $tensors dequantize m -n
    sums $tensors convert m -n --include '*.mlp.*'
    rm -rf m
done <"$ROOT/tests/cli/mini/styles"

# The same account before and after; where something is packed, and unpacked.
mini v3 m
for verb in "quantize m --scheme mxfp8 --allow-requantize" "dequantize m" "convert m --exclude *eh_proj*"; do
    set -f
    sums 239 $verb -n
    grep '"fate"' out | sed 's/,$//' >before
    sums 239 $verb -o null:
    set +f
    grep '"fate"' out | sed 's/,$//' >after
    same before after
done
octavo quantize -q m --scheme fp8-f32-128x128 -o q
sums 239 pack q -t nvidia-sm90 -o q.octp
valid_json out
sums 239 unpack q.octp -o u
counted 239 out
same_digest q u
sums 239 pack q -t nvidia-sm90 --exclude '*.experts.*' -n
grep -q '"name":"model.layers.3.mlp.experts.7.up_proj.weight_scale_inv","fate":"dropped","outputs":\[\],"rule":"--exclude","pattern":"\*.experts.\*"' out ||
    fail "the scale of an expert to be dropped by --exclude"
# A pipe, and GGUF and all that comes through other readers.
octavo convert -q m -o - | "$OCTAVO" quantize - --scheme fp8-f32-128x128 --json -o null: >out 2>err || fail "a pipe"
counted 239 out

# What the text says: counts, each drop by name, and with -v each tensor with its outputs and the rule.
cat >rules <<'END'
*.layers.1.*.weight = keep
model.embed_tokens.weight = drop
END
expect_exit 0 "$OCTAVO" quantize "$MODEL" --rules rules --exclude '*.2.*v_proj*' --scheme fp8-channel -n
expect_out "39 tensors of the source: 20 mapped, 18 copied, 0 merged, 1 dropped" \
    "dropped model.embed_tokens.weight (rules:2 'model.embed_tokens.weight')"
[ "$(grep -c '^dropped\|^copied\|^mapped' out)" -eq 1 ] || fail "one line of the ledger"
expect_exit 0 "$OCTAVO" quantize "$MODEL" --rules rules --exclude '*.2.*v_proj*' --scheme fp8-channel -n -v
[ "$(grep -c '^dropped\|^copied\|^mapped' out)" -eq 39 ] || fail "39 lines of the ledger"
expect_out "copied model.layers.1.self_attn.q_proj.weight -> model.layers.1.self_attn.q_proj.weight (rules:1 '*.layers.1.*.weight')" \
    "copied model.layers.2.self_attn.v_proj.weight -> model.layers.2.self_attn.v_proj.weight (--exclude '*.2.*v_proj*')" \
    "mapped model.layers.0.mlp.up_proj.weight -> model.layers.0.mlp.up_proj.weight, model.layers.0.mlp.up_proj.weight_scale (default '*')" \
    "copied lm_head.weight -> lm_head.weight (lm_head; preset llama 'lm_head.weight')"
expect_exit 0 "$OCTAVO" quantize "$MODEL" --rules rules --scheme fp8-channel -o done
expect_err "39 tensors of the source: 21 mapped, 17 copied, 0 merged, 1 dropped" \
    "octavo quantize: dropped model.embed_tokens.weight (rules:2"
expect_exit 0 "$OCTAVO" convert "$MODEL" --include '*norm*' -o null:
expect_err "9 copied, 0 merged, 30 dropped" "dropped lm_head.weight (no --include takes it; --include '*')"
[ "$(grep -c ': dropped ' err)" -eq 30 ] || fail "thirty tensors by name"

# The layer for multi-token prediction is there, and is counted.
mini bf16 b
expect_exit 0 "$OCTAVO" quantize b -n
expect_out "44 tensors for the prediction of further tokens (MTP, 'model.layers.3." "32 mapped, 12 copied, 0 merged, 0 dropped"
expect_exit 0 "$OCTAVO" dequantize m -o null:
expect_err "76 tensors for the prediction of further tokens" "32 mapped, 12 copied, 32 merged, 0 dropped"

# Other names: tensors as the files have them, those that become one and that become several among them.
octavo dequantize -q m -o floats
sums 135 convert floats -n --container gguf -o -
grep -q '"name":"model.layers.1.mlp.experts.7.up_proj.weight","fate":"merged","outputs":\["blk.1.ffn_up_exps.weight"\].*"reason":"into a stack"' out ||
    fail "an expert to become part of a stack"
octavo convert -q floats -o floats.gguf
sums 72 convert floats.gguf -n --names hf
grep '"name":"blk.1.ffn_up_exps.weight"' out | grep -o 'model.layers.1.mlp.experts.[0-7].up_proj.weight' | sort -u >of
[ "$(wc -l <of)" -eq 8 ] || fail "a stack to become eight experts"
if [ -n "$DATA" ]; then # 48 tensors, the head being a copy of the embedding
    sums 48 convert "$DATA/models/stories260K-hf" -n --container gguf -o -
    grep -q '"name":"lm_head.weight","fate":"dropped","outputs":\[\].*tie_word_embeddings' out || fail "the head to be dropped"
fi
