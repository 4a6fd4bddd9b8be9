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
model=alone title=DeepSeek-V3/R1
plan() { # plan CARDS TARGET CARD [OPTION...]
    want=$1 t=$2 c=$3
    shift 3
    case $t in *.json) how=--target-file ;; *) how=--target ;; esac
    expect_exit 0 "$OCTAVO" fit $model $how "$t" --card "$c" --json "$@"
    [ "$(field cards)" = "$want" ] && [ "$(field fits)" = true ] || { cat out; fail "$want x $c of $t"; }
    printf 'REPORT fit: %-14s as %-16s on %3d x %-10s tp %-3s %6.1f of %6.1f GB a card  %s\n' \
        "$title" "$(field scheme)" "$want" "$c" "$(field tp)" "$(awk -v x="$(field weights_per_card)" -v y="$(field kv_per_card)" 'BEGIN { print (x + y) / 1e9 }')" \
        "$(awk -v x="$(field room)" 'BEGIN { print x / 1e9 }')" "$why"
}
why='as documented (one Atlas 800 A3: 16 devices)' plan 16 ascend-910c '910C die'
why='as documented (two Atlas 800 A2)' plan 16 ascend-910b 910B
why='as documented' plan 8 hygon-bw1100 BW1100
why='as documented' plan 8 hygon-bw1100 BW1100 --form int8
why='as documented' plan 16 hygon-bw1000 BW1000
why='no deployment; by arithmetic 8' plan 8 nvidia-sm90 H200
why='no deployment; by arithmetic 8 do not hold it' plan 16 musa-mp31 S5000
why='no deployment; by arithmetic 8' plan 8 metax-c600 C600
why='all in FP4; documented with attention in FP8: see mix' plan 8 ascend-950 950DT --form w4a8-mx
why='FP8 needs 711 GB, and 8 have 659' plan 16 ascend-950 950DT
why='BF16 on cards of 64 GB; by arithmetic 32' plan 32 chana-tpu Chana --form bf16 --memory 64e9
why='by arithmetic 24: see the next line' plan 32 enflame-gcu300 S60
why='11 of 256 experts on some cards, 10 on others' plan 24 enflame-gcu300 S60 --cards 24
why='V3.2 is documented on 8: 96 % of the memory, next lines' plan 16 kunlunxin-p800 P800
why='with --usable 1' plan 8 kunlunxin-p800 P800 --usable 1
# DeepSeek-V3.2: the same and an indexer in each of 62 layers.
sed -e 's/deepseek_v3/deepseek_v32/' -e 's/^{/{"index_n_heads": 64, "index_head_dim": 128, "index_topk": 2048,/' v3/config.json >v32.json
model=v32.json title=DeepSeek-V3.2
why='as documented, with --usable 1' plan 8 kunlunxin-p800 P800 --usable 1
[ "$(field elements)" = $((680571043840 + 3918786560 + 15104 + 62 * (8192 * 1536 + 128 * 7168 + 64 * 7168 + 256))) ] ||
    fail "elements of V3.2"
[ "$(field kv_per_token)" = $((61 * (512 + 64 + 128) * 2)) ] || fail "KV cache per token of V3.2"
why='as documented' plan 8 hygon-bw1100 BW1100
model=alone title=DeepSeek-V3/R1
# INT4 experts, other weights INT8.
cat >w4a8.json <<'END'
{
  "id": "w4a8", "title": "BW1000", "vendor": "Hygon", "evidence": "vendor source",
  "forms": [{"name": "w4a8", "note": "INT4 experts", "scheme": "int8-channel", "convention": "compressed-tensors",
             "packed_scale": {"dtype": "F32"}, "dense": {"weight": "r0 c0", "scale": "r0 c0"},
             "expert": {"scheme": "int4-channel", "packed_scale": {"dtype": "F32"}, "weight": "r0 c0", "scale": "r0 c0"}}],
  "cards": [{"name": "BW1000", "memory_bytes": 64000000000, "evidence": "vendor documentation", "source": "HYGON-AI/inference-cookbook-das"}],
  "sources": ["HYGON-AI/inference-cookbook-das"]
}
END
why='INT4 experts, as documented' plan 8 w4a8.json BW1000
sed -e 's/int8-channel/mxfp8/' -e 's/int4-channel/mxfp4/' -e 's/"packed_scale": {"dtype": "F32"}/"packed_scale": {"dtype": "F8_E8M0"}/g' \
    -e 's/compressed-tensors/ascend-v1/' -e 's/"BW1000", "memory_bytes": 64/"950DT", "memory_bytes": 96/' w4a8.json >mix.json
why='FP4 experts, the rest FP8, as documented' plan 8 mix.json 950DT
# What does not hold it by arithmetic, one card fewer by a power of two.
for no in 'musa-mp31 S5000 8' 'hygon-bw1000 BW1000 8' 'enflame-gcu300 S60 16' 'ascend-910b 910B 8'; do
    set -- $no
    expect_exit 0 "$OCTAVO" fit alone --target "$1" --card "$2" --cards "$3" --json
    [ "$(field fits)" = false ] && [ "$(field limit)" = weights ] || { cat out; fail "$3 x $2 not to hold it"; }
done
expect_exit 0 "$OCTAVO" fit alone --target chana-tpu --card Chana --form bf16 --memory 64e9 --cards 16 --json
[ "$(field fits)" = false ] || fail "16 x 64 GB not to hold BF16"
expect_exit 0 "$OCTAVO" fit alone --target nvidia-sm90 --card H200
expect_out "fewer     4 would need" ": weights"
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

# What every target's default form takes is what quantize writes, but for what only files have: scales that a convention
# writes in F32, the offsets of symmetric INT8 (all 0), norms that GGUF wants in F32.
octavo fit "$MODEL" --json >all
while read -r line; do
    echo "$line" >out
    octavo quantize -q -f "$MODEL" --target "$(field target)" --form "$(field form)" -o q2.safetensors
    octavo ls -q --json q2.safetensors | sed 's/.*"bytes":\([0-9]*\).*/\1/' |
        awk -v x="$(field bytes)" '{ n += $1 } END { exit !(x <= n && n - x <= 0.015 * n) }' || fail "bytes for $(field target)"
done <all

# A GGUF file says what config.json says, and an output head that is the embedding is read.
octavo convert -q "$MODEL" --names gguf -o m.gguf
expect_exit 0 "$OCTAVO" fit m.gguf --target nvidia-sm90 --card H100 --context 100 --batch 2 --json
[ "$(field kv_per_token)" -gt 0 ] && [ "$(field fits)" = true ] || fail "a plan of GGUF"
sed 's/"tie_word_embeddings": false/"tie_word_embeddings": true/' "$MODEL/config.json" >tied.json
expect_exit 0 "$OCTAVO" fit tied.json --target nvidia-sm90 --card H100 --context 100 --batch 2 --json
[ "$(field bytes)" = $((weights - embed)) ] || fail "one embedding"
[ "$(field read_per_step)" = $((weights - embed + 200 * $(field kv_per_token))) ] || fail "a tied embedding is read"

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
expect_exit 0 "$OCTAVO" fit alone --target kunlunxin-p800 --bandwidth 1e12
expect_out "power is not known: --power WATTS"
refute_out "tokens/J,"
expect_exit 0 "$OCTAVO" fit alone --target kunlunxin-p800 --json
expect_out '"unknown":["bandwidth","power"]'
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
while read -r option; do
    refused 2 fit alone $option
    expect_err "${option%% *}"
done <<'END'
--cards 0
--cards -1
--cards 2.5
--cards 1e30
--tp 3
--tp 0.5
--usable 2
--usable 0
--batch 0
--batch 1.5
--context -1
--context 1e30
--overhead -1
--memory 0
--memory -64e9
--bandwidth 0
--power -300
END
# One that no target has; of all targets those that have it are planned for.
refused 2 fit alone --card H999
expect_err H999
refused 2 fit alone --form nothing
expect_err nothing
expect_exit 0 "$OCTAVO" fit alone --form deepgemm --json
[ "$(grep -c '"form":"deepgemm"' out)" = "$(wc -l <out)" ] && [ "$(wc -l <out)" -ge 2 ] || fail "those with deepgemm"
sed 's/"num_hidden_layers"/"layer_types": ["mamba"], "num_hidden_layers"/' v3/config.json >config2.json
refused 3 fit config2.json
expect_err mamba
mkdir empty
refused 3 fit empty
refused 3 fit nowhere
