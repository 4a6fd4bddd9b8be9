# The conventions of Cambricon, Enflame, Hygon and VeriSilicon: what is written, that
# it is read again, and that values are the same whatever the convention.
. "$ROOT/tests/cli/lib.sh"
mini bf16 m
mini modelopt-fp8 scales
echo 'model.layers.*.experts.* ?= int4-channel' >rules

shape_of() { octavo ls --json "$1" | sed -n "s/.*\"name\":\"$2\",\"dtype\":\"\([^\"]*\)\",\"shape\":\([[0-9,]*]\).*/\1 \2/p"; }
want() { # want MODEL NAME "DTYPE SHAPE"
    got=$(shape_of "$1" "$2")
    [ "$got" = "$3" ] || fail "$2 of $1 to be $3, not '$got'"
}
d=model.layers.0.mlp.down_proj e=model.layers.1.mlp.experts.3.up_proj     # [256,512], [128,256]

# ---- what is written ----------------------------------------------------------------
octavo quantize -q m --scheme fp8-channel --convention mlu-fp8 -o fp8
want fp8 $d.weight 'F8_E4M3 [256,512]'
want fp8 $d.weight_scale 'F32 [256]'
grep -q '"weight_quant_method": "per_channel"' fp8/config.json && grep -q '"activation_quant_method": "per_token"' fp8/config.json ||
    fail "how weights are quantized in config.json"
grep -q '"lm_head"' fp8/config.json || fail "ignored_layers"

octavo quantize -q m --scheme int8-channel --rules rules --convention mlu-smoothquant -o smooth
want smooth $d.qweight 'I8 [256,512]'
want smooth $d.per_channel_scale 'F32 [256]'
want smooth $d.smooth 'F32 [512]'
want smooth $e.qweight 'I8 [128,128]'
valid_json smooth/quantize_config.json
grep -q '"expert_weight_precision": "int4"' smooth/quantize_config.json || fail "the precision of experts"
! grep -q quantization_config smooth/config.json || fail "no quantization_config"

octavo quantize -q m --scheme int8-channel --rules rules --convention slimquant-w4a8 -o slim
want slim $d.weight 'I8 [256,512]'
want slim $e.weight 'I8 [128,128]'
want slim $e.weight_scale 'F32 [128,1]'
grep -q '"quant_method": "slimquant_w4a8"' slim/config.json || fail "the method in config.json"

octavo quantize -q m --scheme int8-channel --convention gcu-w8a8 --activations static --activation-scales scales -o gcu
want gcu $d.weight 'I8 [256,512]'
want gcu $d.out_scales 'F32 [256]'
want gcu $d.in_scales 'F32 [1]'
grep -q '"quant_method": "w8a8"' gcu/quantize_config.json || fail "the method"

octavo quantize -q m --scheme int8-ue8m0-tensor --convention tim-vx -o vx.dfp
want vx.dfp $d.weight_scale 'F32 [1]'
grep -A10 "\"$d.weight\"" vx.dfp/tim_vx_quant.json | tr -d '\n ' | grep -qF DYNAMIC_FIXED_POINT || fail "dynamic fixed point"
for s in int8-channel fp8-channel; do
    octavo quantize -q m --scheme $s --convention tim-vx -o vx.$s
    want vx.$s $d.weight_scale 'F32 [256,1]'
    valid_json vx.$s/tim_vx_quant.json
    grep -A10 "\"$d.weight\"" vx.$s/tim_vx_quant.json | tr -d '\n ' | grep -qF '"shape":[512,256]' || fail "the shape, fastest first"
done

# ---- the bits: nibbles and scales, by od and awk ---------------------------------------
octavo quantize -q m --scheme int8-channel --rules rules --convention mlu-smoothquant -o smooth.safetensors
octavo quantize -q m --scheme int8-channel --rules rules --convention slimquant-w4a8 -o slim.safetensors
octavo quantize -q m --scheme int8-channel --convention gcu-w8a8 --activations static --activation-scales scales -o gcu.safetensors
octavo quantize -q m --scheme int8-channel --convention compressed-tensors -o ct.safetensors
bytes_of() {
    n=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    at=$(head -c $((n + 8)) "$1" | tail -c +9 | sed 's/"__metadata__":{[^}]*}//' | tr '}' '\n' | grep -F "\"$2\":" |
        sed 's/.*"data_offsets":\[\([0-9]*\),\([0-9]*\)\].*/\1 \2/')
    [ "$at" ] || fail "$2 in $1"
    set -- "$1" $at
    tail -c +$((n + 9 + $2)) "$1" | head -c $(($3 - $2))
}
bytes_of smooth.safetensors $e.qweight | od -An -v -tu1 -w1 | awk '{ print $1 % 16 * 16 + int($1 / 16) }' >want
bytes_of slim.safetensors $e.weight | od -An -v -tu1 -w1 | awk '{ print $1 + 0 }' >got
[ -s got ] && same want got
bytes_of smooth.safetensors $e.per_channel_scale | od -An -v -tf4 -w4 >want
bytes_of slim.safetensors $e.weight_scale | od -An -v -tf4 -w4 >got
paste want got | awk '{ d = $1 / 16 - $2; if (d > $2 * 2e-7 || -d > $2 * 2e-7) exit 1 }' || fail "a sixteenth of the scale"
bytes_of smooth.safetensors $d.smooth | od -An -v -tf4 -w4 | sort -u >got
[ "$(tr -d ' ' <got)" = 1 ] || fail "factors that are ones"
in=$(bytes_of gcu.safetensors $d.in_scales | od -An -tf4 | tr -d ' ')
bytes_of ct.safetensors $d.weight_scale | od -An -v -tf4 -w4 >want
bytes_of gcu.safetensors $d.out_scales | od -An -v -tf4 -w4 >got
paste want got | awk -v in_=$in '{ d = $1 * in_ - $2; if (d > $2 * 2e-7 || -d > $2 * 2e-7) exit 1 }' || fail "the product of both scales"
bytes_of gcu.safetensors $d.weight >a
bytes_of ct.safetensors $d.weight >b
same a b

# ---- values are the same, and go from one to the other without a change ------------------
octavo dequantize -q slim -o slim.bf16
octavo dequantize -q smooth -o smooth.bf16
same_digest slim.bf16 smooth.bf16
octavo quantize -q smooth --scheme int8-channel --rules rules --convention slimquant-w4a8 -o slim2
octavo quantize -q slim --scheme int8-channel --rules rules --convention mlu-smoothquant -o smooth2
same_digest slim slim2
same_digest smooth smooth2
octavo quantize -q gcu --scheme int8-channel --convention gcu-w8a8 --activations static -o gcu2
same_digest gcu gcu2
octavo quantize -q ct.safetensors --scheme int8-channel --convention gcu-w8a8 --activations static --activation-scales scales -o gcu3
same_digest gcu gcu3
octavo quantize -q fp8 --scheme fp8-channel --convention compressed-tensors -o ct.fp8
octavo quantize -q ct.fp8 --scheme fp8-channel --convention mlu-fp8 -o fp8b
same_digest fp8 fp8b
octavo quantize -q vx.fp8-channel --scheme fp8-channel --convention mlu-fp8 -o fp8c
same_digest fp8 fp8c
for x in fp8 smooth slim gcu vx.dfp vx.int8-channel vx.fp8-channel; do
    octavo convert -q $x -o $x.st.safetensors   # the description travels inside
    octavo dequantize -q $x.st.safetensors -o one
    octavo dequantize -q $x -o two
    same_digest one two
    rm -rf one two
done

# ---- what has no place ------------------------------------------------------------------------
refused 2 quantize m --scheme int4-channel --convention mlu-smoothquant -o x
refused 2 quantize m --scheme int8-channel --convention slimquant-w4a8 -o x
expect_err slimquant-w4a8 experts
refused 2 quantize m --scheme mxfp8 --convention mlu-fp8 -o x
refused 2 quantize m --scheme int8-channel --convention gcu-w8a8 -o x
refused 3 quantize m --scheme int8-channel --convention gcu-w8a8 --activations static -o x
expect_err input_scale --activation-scales
absent x
# Factors that are no ones would change every value.
cp smooth.safetensors bad.safetensors
n=$(od -An -tu8 -N8 bad.safetensors | tr -d ' ')
at=$(head -c $((n + 8)) bad.safetensors | tail -c +9 | sed 's/"__metadata__":{[^}]*}//' | tr '}' '\n' | grep -F "\"$d.smooth\":" |
    sed 's/.*"data_offsets":\[\([0-9]*\),.*/\1/')
printf '\000\000\000\100' | dd of=bad.safetensors bs=1 seek=$((n + 8 + at)) conv=notrunc 2>/dev/null
refused 3 dequantize bad.safetensors -o x
expect_err "$d.smooth" "not 1"
absent x
sed 's/per_token/per_tensor/' smooth/quantize_config.json >q.json && cp q.json smooth/quantize_config.json
refused 3 dequantize smooth -o x
expect_err per_tensor
