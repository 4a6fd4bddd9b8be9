# The preset of a model's family, chosen by config.json, printed, and overridden.
. "$ROOT/tests/cli/lib.sh"
chosen() { # chosen MODEL NAME OPTION...
    _m=$1 _n=$2
    shift 2
    octavo quantize "$_m" --print-rules "$@" >printed || fail "--print-rules of $_m"
    grep -q "^# preset $_n\(:\|\$\)" printed || { cat printed; fail "preset $_n for $_m"; }
}
chosen "$MODEL" llama
chosen "$MODEL" qwen3-moe --preset qwen3-moe
chosen "$MODEL" generic --preset generic
octavo quantize "$MODEL" --print-rules --preset none >printed
! grep '^# preset' printed | grep -qv 'preset none' || fail "no preset"
refused 2 quantize "$MODEL" --preset '?' -n
expect_err "there are:" deepseek-v3 qwen3-moe gpt-oss kimi-k2 glm-4.5 none
# Nothing is kept but what is no matrix: the head and the embedding are quantized, too.
quantized() {
    expect_exit 0 "$OCTAVO" quantize "$@" -n --json
    grep -c '"transform":"encode"' out || true
}
[ "$(quantized "$MODEL")" -eq "$(($(quantized "$MODEL" --preset none) - 4))" ] ||
    fail "two tensors more, each with its scale, without a preset"
# A rule, and a default of a file, are before the preset.
echo 'lm_head.weight ?= quantize' >head
[ "$(quantized "$MODEL" --rules head)" -eq "$(quantized "$MODEL" --include lm_head.weight)" ] || fail "the head"

# What the FP8 release of DeepSeek-V3 has quantized, its layer for MTP included.
mini bf16 bf16
chosen bf16 deepseek-v3
octavo quantize -q bf16 -o q
mini v3 v3
octavo ls -q v3 | awk '/weight / { print $1, $2 }' | grep -v _scale >a
octavo ls -q q | awk '/weight / { print $1, $2 }' | grep -v _scale >b
same a b
grep -q '^model.layers.3.eh_proj.weight BF16' b || fail "eh_proj to stay"
grep -q '^model.layers.3.mlp.experts.0.up_proj.weight F8_E4M3' b || fail "experts of the MTP layer in FP8"
# A pipe carries config.json, and so the family.
octavo convert -q bf16 -o piped.safetensors
octavo quantize --print-rules piped.safetensors >printed
grep -q '^# preset deepseek-v3' printed || fail "the preset of a file with its config inside"
# An imposter: by another preset, the attention of the same model stays.
octavo quantize -q bf16 --preset gpt-oss -o kept
octavo ls -q kept | grep self_attn | grep -q F8_E4M3 && fail "no attention in FP8"
octavo ls -q kept | grep experts.0.up_proj | grep -q F8_E4M3 || fail "experts in FP8"

# What is quantized already stays so, and that is said.
octavo quantize -q "$MODEL" --include lm_head.weight --scheme fp8-channel -o headed
expect_exit 0 "$OCTAVO" quantize headed -n --scheme fp8-tensor
expect_out "lm_head.weight'" "quantized already and stay"
