# Plans against deployments that makers document, and against arithmetic done here.
. "$ROOT/tests/cli/lib.sh"
mini inventory v3
field() { sed -n "s/.*\"$1\":\"\{0,1\}\([^,\"}]*\).*/\1/p" out; }

# ---- config.json alone is the same inventory: every name and shape of the 91,991, less the scales ----
mkdir alone
cp v3/config.json alone/
for how in v3 v3/config.json alone; do
    expect_exit 0 "$OCTAVO" fit "$how" --target nvidia-sm90 --card H200 --json
    valid_json out
    cp out "got.$(echo $how | tr / .)"
done
cmp got.v3 got.v3.config.json && cmp got.v3 got.alone || fail "config.json alone says what the headers say"
# E4M3 codes, an F32 per 128 x 128, and what is BF16 and F32 in the published files.
[ "$(field codes)" = 680571043840 ] || fail "680571043840 codes, not $(field codes)"
[ "$(field plain)" = $((2 * 3918786560 + 4 * 15104)) ] || fail "bytes that are not quantized: $(field plain)"
[ "$(field scales)" = $((4 * (41555600 - 15104))) ] || fail "bytes of scales: $(field scales)"
[ "$(field kv_per_token)" = $((61 * (512 + 64) * 2)) ] || fail "KV cache per token"

# ---- deployments of chips-1 and chips-2 ------------------------------------------------
plan() { # plan CARDS TARGET CARD [OPTION...]
    want=$1 t=$2 c=$3
    shift 3
    expect_exit 0 "$OCTAVO" fit alone --target "$t" --card "$c" --json "$@"
    [ "$(field cards)" = "$want" ] && [ "$(field fits)" = true ] || { cat out; fail "$want x $c of $t"; }
    printf 'REPORT fit: DeepSeek-V3/R1 as %-16s on %3d x %-10s tp %-3s %6.1f of %6.1f GB a card  %s\n' \
        "$(field scheme)" "$want" "$c" "$(field tp)" "$(awk -v x="$(field weights_per_card)" -v y="$(field kv_per_card)" 'BEGIN { print (x + y) / 1e9 }')" \
        "$(awk -v x="$(field room)" 'BEGIN { print x / 1e9 }')" "$why"
}
why='as documented (one Atlas 800 A3: 16 devices)' plan 16 ascend-910c '910C die'
why='as documented (two Atlas 800 A2)' plan 16 ascend-910b 910B
why='as documented' plan 8 hygon-bw1100 BW1100
why='as documented' plan 16 hygon-bw1000 BW1000
why='as documented' plan 8 nvidia-sm90 H200
why='8 do not hold it, as documented' plan 16 musa-mp31 S5000
why='as documented' plan 8 metax-c600 C600
why='as documented: FP4 experts; in MXFP8 16 are needed' plan 8 ascend-950 950DT --form w4a8-mx
why='MXFP8' plan 16 ascend-950 950DT
why='32 x 64 GB for BF16, as documented' plan 32 chana-tpu Chana --form bf16 --memory 64e9
why='24 would hold it; a power of two of ranks divides 256 experts' plan 32 enflame-gcu300 S60
why='documented on 8, which needs 96 % of the memory: see the next line' plan 16 kunlunxin-p800 P800
why='as documented, with --usable 1' plan 8 kunlunxin-p800 P800 --usable 1
# Bounds: of 16 ways to cut, no part is smaller than 128 rows.
expect_exit 0 "$OCTAVO" fit alone --target nvidia-sm90 --card H20
expect_out "at most   16 parts" "tokens/J"
expect_exit 0 "$OCTAVO" fit alone --target nvidia-sm90 --card H100 --cards 8
expect_out "does not fit: weights"

# ---- arithmetic: one card, everything read once ----------------------------------------
expect_exit 0 "$OCTAVO" fit "$MODEL" --target nvidia-sm90 --card H100 --context 100 --batch 2 --json
weights=$(($(field codes) + $(field scales) + $(field plain)))
[ "$(field bytes)" = $weights ] && [ "$(field cards)" = 1 ] || fail "one card"
octavo quantize -q "$MODEL" --target nvidia-sm90 -o q.safetensors
[ "$(octavo ls -q --json q.safetensors | sed 's/.*"bytes":\([0-9]*\).*/\1/' | awk '{ n += $1 } END { printf "%.0f", n }')" = $weights ] ||
    fail "the bytes that quantize --target makes"
embed=$(octavo ls --json "$MODEL" | sed -n 's/.*"name":"model.embed_tokens.weight".*"bytes":\([0-9]*\).*/\1/p')
[ "$(field read_per_step)" = $((weights - embed + 200 * $(field kv_per_token))) ] || fail "what a step reads"
awk -v t="$(field tokens_per_second)" -v r="$(field read_per_step)" 'BEGIN { x = 2 * 3.35e12 / r; d = t / x - 1; exit d * d > 1e-9 }' ||
    fail "tokens per second"

# ---- headers without bytes ----------------------------------------------------------------
n=$(od -An -tu8 -N8 q.safetensors | tr -d ' ')
head -c $((n + 8)) q.safetensors >headers.safetensors
cp "$MODEL/config.json" .
expect_exit 0 "$OCTAVO" fit headers.safetensors --target musa-mp31 --json
[ "$(field bytes)" = $weights ] || fail "headers alone are enough"
refused 3 ls headers.safetensors

# ---- unknown figures are asked for, never guessed -----------------------------------------
expect_exit 0 "$OCTAVO" fit alone
expect_out "--memory BYTES" "--bandwidth BYTES"
expect_exit 0 "$OCTAVO" fit alone --target kunlunxin-p800 --bandwidth 1e12 --power 300
expect_out "tokens/J"
expect_exit 0 "$OCTAVO" fit alone --target biren-br2xx --json
refute_out '"cards"' tokens
expect_exit 0 "$OCTAVO" fit alone --target all --json
valid_json_lines out
[ "$(wc -l <out)" -ge 30 ] || fail "a line per target"

# ---- refusals --------------------------------------------------------------------------------
sed 's/deepseek_v3/some_model/' v3/config.json >config2.json
refused 3 fit config2.json
expect_err some_model config2.json
sed '/kv_lora_rank/d' v3/config.json >config2.json
refused 3 fit config2.json
expect_err kv_lora_rank
echo '{' >config2.json
refused 3 fit config2.json
refused 2 fit alone --target nowhere
refused 2 fit alone --target nvidia-sm90 --form nothing
expect_err nothing
refused 2 fit alone --target nvidia-sm90 --card H999
expect_err H999
refused 2 fit alone --kv-dtype fp3
refused 2 fit alone --cards 12
refused 2 fit alone --usable 2
refused 2 fit alone --batch 0
mkdir empty
refused 3 fit empty
refused 3 fit nowhere
