# audit: what is sound has no findings, what is not is named, with its place and the exit code.
. "$ROOT/tests/cli/lib.sh"

# patch FILE TENSOR BYTE ESCAPES: writes over bytes of a tensor of a safetensors file.
patch() {
    _n=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    _at=$(head -c $((_n + 8)) "$1" | tail -c +9 | sed -n 's/.*"'"$2"'":{[^}]*"data_offsets":\[\([0-9]*\),.*/\1/p')
    [ "$_at" ] || fail "$2 in $1"
    printf "$4" | dd of="$1" bs=1 seek=$((_n + 8 + _at + $3)) conv=notrunc 2>/dev/null
}

# ---- sound ----
expect_exit 0 "$OCTAVO" audit "$MODEL"
expect_out "39 tensors, 0 quantized weights" "0 errors, 0 warnings, 0 notes"
octavo quantize -q "$MODEL" -o fp8
expect_exit 0 "$OCTAVO" audit fp8 --fail-on note
expect_exit 0 "$OCTAVO" audit fp8 --source "$MODEL" --fail-on warning
expect_out "rounded to nearest at the scales of smallest" "28 notes"
expect_exit 0 "$OCTAVO" audit fp8 --source "$MODEL" --json -T 1
valid_json_lines out
mv out one
expect_exit 0 "$OCTAVO" audit fp8 --source "$MODEL" --json -T 2
same one out
[ "$(wc -l <out)" -eq 29 ] || fail "28 findings and the account"

# ---- not ----
w=model.layers.2.mlp.up_proj.weight
cp -r fp8 bad
patch bad/model.safetensors $w 1000 '\177'
patch bad/model.safetensors "${w}_scale_inv" 4 '\000\000\200\177'
expect_exit 1 "$OCTAVO" audit bad
cols=$(octavo ls "$MODEL" | awk -v w=$w '$1 == w { gsub(/[][]/, "", $3); split($3, d, ","); print d[2] }')
expect_out "error   nan-code    $w [$((1000 / cols)),$((1000 % cols))]: 1 of " "error   bad-scale   $w [0,1]: 1 of " "is inf"
expect_err "tensor '$w'"
cp -r fp8 off
patch off/model.safetensors $w 1000 "$(bytes_of fp8/model.safetensors $w | tail -c +1001 | head -c 1 | od -An -tu1 | awk '{ x = $1 % 2 ? $1 - 1 : $1 + 1; x = x % 128 >= 126 ? x - 8 : x; printf "\\%03o", x }')"
expect_exit 0 "$OCTAVO" audit off
expect_exit 1 "$OCTAVO" audit off --source "$MODEL"
expect_out "error   made        $w" "1 of " "codes are not the nearest, the first at [$((1000 / cols)),$((1000 % cols))], and all others are"

# Labelled UE8M0, and no power of two: DeepSeek-V3.1's o_proj.
if [ -x "${OCTAVO%/*}/mini" ]; then
    mini v3.1 v31
    expect_exit 1 "$OCTAVO" audit v31
    expect_out "o_proj.weight: " "are labelled UE8M0 and are no powers of two, all of them 1.32287562 times one"
    mini v3.1-pure pure
    expect_exit 0 "$OCTAVO" audit pure
    # A layer that predicts further tokens, lost on the way.
    layers=$(sed -n 's/.*"num_hidden_layers": *\([0-9]*\).*/\1/p' pure/config.json)
    octavo convert -q pure --exclude "model.layers.$layers.*" -o short
    expect_exit 0 "$OCTAVO" audit short
    expect_out "warning mtp" "layers for the prediction of further tokens (MTP), and 0 of them are there"
    expect_exit 1 "$OCTAVO" audit short --fail-on warning
    expect_exit 1 "$OCTAVO" audit short --source pure
    expect_out "error   lost        model.layers.$layers."
fi

# ---- every rule that is published, and every convention, is told from the bytes ----
told=0
for s in fp8-ue8m0-128x128 fp8-f32-128x128 mxfp8 mxfp4 int8-channel; do
    refused 2 quantize "$MODEL" --scheme $s --scale-rule none -o null:
    for r in $(sed 's/.*there are: //' err); do
        octavo quantize -q "$MODEL" --include '*.layers.3.*_proj.weight' --scheme $s --scale-rule $r --convention octavo -o rule.safetensors -f
        octavo verify "$MODEL" rule.safetensors --inspect --json >report
        sed -n 's/.*"scale_rules":\[\([^]]*\)\].*/\1/p' report >rules
        [ -s rules ] && ! grep -qv "\"$r\"" rules || { head -n 3 rules; fail "the rule $r of $s in each tensor"; }
        ! grep -q '"made":"bad"' report || { grep -o '"signature":"[^"]*"' report | sort | uniq -c; fail "nothing bad about $r of $s"; }
        told=$((told + 1))
    done
done
[ $told -ge 60 ] || fail "60 rules and more, not $told"
if [ -x "${OCTAVO%/*}/mini" ]; then
    for style in $("${OCTAVO%/*}/mini" --list | sed 's/ .*//'); do
        rm -rf style
        mini $style style
        got=0
        octavo audit style --no-twins >out 2>err || got=$?
        case $style in
        v3.1) want=1 ;;
        *) want=0 ;;
        esac
        [ $got -eq $want ] || { cat out err; fail "exit $want for $style"; }
        case $style in
        bf16) who= ;;
        v4) who=deepseek-v4 ;;
        v3* | qwen*) who=deepseek ;;
        ct-*) who=compressed-tensors ;;
        ascend-*) who=ascend-v1 ;;
        *) who=${style%%-[mnf]*} ;;
        esac
        [ -z "$who" ] || tail -n 1 out | grep -qF "quantized weights ($who)," || { tail -n 1 out; fail "the convention $who of $style"; }
    done
fi

# ---- what cannot be audited ----
refused 2 audit
refused 2 audit "$MODEL" --fail-on never
refused 3 audit no-such-file
head -c 300 fp8/model.safetensors >cut.safetensors
refused 3 audit cut.safetensors
refused 3 audit - </dev/null
refused 2 audit - --source "$MODEL" <fp8/model.safetensors
mkfifo pipe
refused 2 audit pipe --source "$MODEL"

# ---- shapes: against config.json in the families it is known for, else against the other layers ----
swap_shape() { # MODEL NAME FROM TO: the header says another shape of as many elements
    for f in "$1"/*.safetensors; do
        LC_ALL=C sed -i 's/"'"$2"'":{"dtype":"BF16","shape":\['"$3"'\]/"'"$2"'":{"dtype":"BF16","shape":['"$4"']/' "$f"
    done
}
mini bf16 turned
swap_shape turned model.layers.2.self_attn.o_proj.weight 256,128 128,256
expect_exit 1 "$OCTAVO" audit --no-twins turned
expect_out "error   shape       model.layers.2.self_attn.o_proj.weight: is [128,256], and config.json makes it [256,128]" ': 1 error, 0 warnings'
mini bf16 config
sed -i 's/"q_lora_rank": 128/"q_lora_rank": 64/' config/config.json
expect_exit 1 "$OCTAVO" audit --no-twins config
expect_out "model.layers.0.self_attn.q_a_proj.weight: is [128,256], and config.json makes it [64,256]; 3 more of its kind differ" \
    "model.layers.0.self_attn.q_b_proj.weight: is [192,128], and config.json makes it [192,64]; 3 more of its kind differ"
# Of 4 layers one is no exception; of 12 it is.
sed -i 's/"deepseek_v3"/"other"/' turned/config.json
expect_exit 0 "$OCTAVO" audit --no-twins turned
mini bf16 many
sed -i 's/"deepseek_v3"/"other"/' many/config.json
swap_shape many model.layers.1.mlp.experts.5.down_proj.weight 256,128 128,256
expect_exit 0 "$OCTAVO" audit --no-twins many
expect_out "warning shape       model.layers.1.mlp.experts.5.down_proj.weight: is [128,256], and in other layers [256,128]"
# Other layers beside those of the language model have shapes of their own.
mini bf16 beside
for f in beside/*; do LC_ALL=C sed -i 's/model.layers.2.self_attn.o_proj.weight/tower.layers.2.self_attn.o_proj.weight/' "$f"; done
swap_shape beside tower.layers.2.self_attn.o_proj.weight 256,128 128,256
expect_exit 0 "$OCTAVO" audit --no-twins beside
