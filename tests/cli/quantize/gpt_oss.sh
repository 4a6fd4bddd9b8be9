# GPT-OSS: experts as it stores them, which unquantized have their inputs first.
. "$ROOT/tests/cli/lib.sh"
mini --reference ref gpt-oss m
expect_exit 0 "$OCTAVO" verify --require-exact ref m
octavo dequantize -q --dtype f32 m -o d
grep -q '"quant_method"' d/config.json && fail "no quantization in d/config.json"
octavo ls -q d --include '*gate_up_proj' >out
grep -q '\[4,256,256\]' out || fail "gate_up_proj as [E, K, N]"
expect_exit 0 "$OCTAVO" verify --require-exact d m
expect_exit 0 "$OCTAVO" verify --require-exact m d
# Back again: the codes and scales that it had, by files and by pipes.
echo '*self_attn* = keep' >rules
octavo quantize -q d --scheme mxfp4 --scale-rule floor --convention gpt-oss --rules rules -o q
same_digest m q
octavo dequantize -q --dtype f32 m -o - | octavo quantize -q - --scheme mxfp4 --scale-rule floor --convention gpt-oss \
    --rules rules -o - | octavo digest - >a
octavo digest m >b
[ "$(cut -c1-64 a)" = "$(cut -c1-64 b)" ] || fail "the same through pipes"
grep -q '"quant_method": "mxfp4"' q/config.json || fail "mxfp4 in q/config.json"
grep -q '"model.layers.0.mlp.router"' q/config.json || fail "the router among what is kept"
# To FP8 blocks: power-of-two scales hold FP4 exactly; to DeepSeek-V4's clothes and back, codes stay.
octavo quantize -q m --scheme fp8-ue8m0-128x128 --require-exact --rules rules -o f || fail "FP8 to be exact"
expect_exit 0 "$OCTAVO" verify --require-exact m f
octavo quantize -q m --scheme mxfp4 --convention deepseek-v4 --rules rules -o v4
octavo quantize -q v4 --scheme mxfp4 --convention gpt-oss --rules rules -o back
same_digest m back
# What it has no place for.
refused 2 quantize "$MODEL" --scheme mxfp4 --convention gpt-oss --include '*down_proj.weight' -o x
expect_err "outside stacks of experts" "down_proj"
absent x
