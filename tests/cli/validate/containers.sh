# Directories that quantize writes, looked at with the rules of the software that serves
# them (tests/validate, which shares no line with octavo): what we write is taken, and
# at least ten ways to break it are not.
. "$ROOT/tests/cli/lib.sh"
V=${OCTAVO%/*}/validate
[ -x "$V" ] || skip "there is no $V"
mini bf16 deepseek
mini modelopt-fp8 scales
cp -r "$MODEL" sample
echo 'model.layers.*.experts.* ?= int4-channel' >experts
echo 'model.layers.*.experts.* ?= mxfp4' >v4
d=model.layers.0.mlp.down_proj        # [256,512]
g=model.layers.0.mlp.gate_proj        # [512,256]
printf '%-26s %8s %8s\n' convention accepted refused >table

taken() { # taken CONVENTION DIR
    expect_exit 0 "$V" "$1" "$2"
    [ ! -s out ] || { head -n 3 out; fail "no finding in $2"; }
    accepted=$((accepted + 1))
}
# broken CONVENTION FILE WHAT 'SED': a copy of q with the file edited is refused, and the finding has WHAT in it.
broken() {
    rm -rf b
    cp -r q b
    LC_ALL=C sed -i "$4" "b/$2"
    ! cmp -s "q/$2" "b/$2" || fail "$1: '$4' to change $2"
    case $2 in *.safetensors) [ "$(size_of "q/$2")" -eq "$(size_of "b/$2")" ] || fail "$2 to keep its size" ;; esac
    expect_exit 1 "$V" "$1" b
    grep -qF -e "$3" out || { head -n 5 out; fail "$1: a finding that says '$3' after '$4'"; }
    refused=$((refused + 1))
}
# Directories of this convention: both models, one file and shards; then q is broken.
begin() { # begin CONVENTION OPTION...
    c=$1 accepted=0 refused=0
    shift
    for m in sample deepseek; do
        for s in '' '--shard-size=1MB'; do
            [ "$m$1" != sample--rules ] || [ -z "$s" ] || continue
            rm -rf q
            octavo quantize -q $m "$@" -o q $s
            taken $c q
        done
    done
    # One with an index, and two wrong ones.
    broken $c "$(cd q && ls *.index.json)" total_size 's/"total_size": [0-9]*/"total_size": 7/'
    broken $c "$(cd q && ls *.index.json)" "the index says" "s/\(\"model.norm.weight\": \"[^\"]*\)-0000[0-9]*-of/\1-00099-of/"
    # What is loaded as one is quantized in two ways.
    rm -rf b
    octavo quantize -q deepseek "$@" --exclude '*layers.0.mlp.up_proj*' -o b
    expect_exit 1 "$V" $c b
    grep -qF 'loaded as one' out || { head -n 3 out; fail "$c: gate and up in two ways"; }
    rm -rf b
    octavo quantize -q deepseek "$@" --exclude '*experts.3.*' -o b
    expect_exit 1 "$V" $c b
    grep -qF 'other experts' out || { head -n 3 out; fail "$c: experts in two ways"; }
    refused=$((refused + 2))
    rm -rf q one
    octavo quantize -q deepseek "$@" -o one
    mkdir q
    cp one/*.json q/
    rm -f q/*.index.json
    octavo convert -q one -o "q/model.safetensors"
    taken $c q
}
end() {
    [ $refused -ge 10 ] || fail "$c: ten broken ones, not $refused"
    printf '%-26s %8d %8d\n' $c $accepted $refused >>table
}
# What every convention has: a weight and its scale. NAME of the scale, its DTYPE and SHAPE, those of the weight.
parts() { # parts WEIGHT DTYPE SHAPE SCALE DTYPE SHAPE OTHER_SHAPE
    x=$(printf %s "$4" | sed 's/.$/~/')
    broken $c model.safetensors "there is no $4" "s/\"$4\"/\"$x\"/"
    broken $c model.safetensors "$4 is" "s/\(\"$4\":{\"dtype\":\"\)$5/\1$(printf %s "$5" | sed 's/^F32$/I32/;s/^U8$/I8/;s/^F8_E8M0$/F8_E5M2/;s/^F8_E4M3$/F8_E5M2/')/"
    broken $c model.safetensors "$4: its shape" "s/\(\"$4\":{[^}]*\"shape\":\)\[$6\]/\1[$7]/"
    broken $c model.safetensors "${1%.*}" "s/\(\"$1\":{\"dtype\":\"\)$2/\1$(printf %s "$2" | sed 's/^F8_E4M3$/F8_E5M2/;t;s/^I8$/U8/;t;s/^U8$/I8/;s/^I32$/U32/')/"
    broken $c model.safetensors "${1%.*}" "s/\(\"$1\":{[^}]*\"shape\":\)\[$3\]/\1[$(printf %s "$3" | sed 's/\(.*\),\(.*\)/\2,\1/')]/"
}
lists() { # lists FILE KEY: of modules that are not quantized
    broken $c $1 "lm_head is not quantized and not listed" 's/"lm_head"/"lm_haed"/'
    broken $c $1 "$d is quantized" "s/\"lm_head\"/\"lm_head\",\"$d\"/"
}

begin deepseek --convention deepseek
parts $d.weight F8_E4M3 256,512 $d.weight_scale_inv F32 2,4 4,2
lists config.json
broken $c config.json quant_method 's/"quant_method": "fp8"/"quant_method": "fp9"/'
broken $c config.json weight_block_size 's/"weight_block_size"/"weight_block"/'
broken $c config.json activation_scheme 's/"dynamic"/"static"/'
broken $c config.json fmt 's/"e4m3"/"e5m2"/'
broken $c config.json scale_fmt 's/"ue8m0"/"e8m0"/'
end

begin compressed-tensors --scheme int8-channel --convention compressed-tensors
parts $d.weight I8 256,512 $d.weight_scale F32 256,1 1,256
lists config.json
broken $c config.json format 's/"int-quantized"/"int_quantized"/'
broken $c config.json num_bits 's/"num_bits": 8/"num_bits": 4/'
broken $c config.json strategy 's/"strategy": "channel"/"strategy": "tensor"/'
broken $c config.json "no argument" 's/"symmetric"/"symetric"/'
broken $c config.json symmetric 's/"symmetric": true/"symmetric": false/'
broken $c config.json targets 's/"targets"/"target"/'
end

begin compressed-tensors:mxfp8 --scheme mxfp8 --convention compressed-tensors
parts $d.weight F8_E4M3 256,512 $d.weight_scale U8 256,16 16,256
lists config.json
broken $c config.json format 's/"mxfp8-quantized"/"mxfp4-quantized"/'
broken $c config.json group_size 's/"group_size": 32/"group_size": 16/'
broken $c config.json type 's/"type": "float"/"type": "int"/'
end

begin compressed-tensors:int4 --scheme int4-channel --convention compressed-tensors
parts $d.weight_packed I32 256,64 $d.weight_scale F32 256,1 1,256
broken $c model.safetensors "there is no $d.weight_shape" "s/\"$d.weight_shape\"/\"$d.weight_shap~\"/"
broken $c model.safetensors "$d.weight_shape is" "s/\(\"$d.weight_shape\":{\"dtype\":\"\)I64/\1F64/"
lists config.json
broken $c config.json num_bits 's/"num_bits": 4/"num_bits": 8/'
broken $c config.json format 's/"pack-quantized"/"pack_quantized"/'
end

begin compressed-tensors:block --scheme fp8-f32-128x128 --convention compressed-tensors
parts $d.weight F8_E4M3 256,512 $d.weight_scale F32 2,4 4,2
lists config.json
broken $c config.json block_structure 's/"block_structure"/"block_struct"/'
broken $c config.json strategy 's/"strategy": "block"/"strategy": "channel"/'
broken $c config.json quantization_status 's/"compressed"/"frozen"/'
end

begin compressed-tensors:mxfp4 --scheme mxfp4 --convention compressed-tensors
parts $g.weight_packed U8 512,128 $g.weight_scale U8 512,8 8,512
lists config.json
broken $c config.json format 's/"mxfp4-pack-quantized"/"nvfp4-pack-quantized"/'
broken $c config.json group_size 's/"group_size": 32/"group_size": 16/'
end

begin compressed-tensors:nvfp4 --scheme nvfp4 --convention compressed-tensors
parts $g.weight_packed U8 512,128 $g.weight_scale F8_E4M3 512,16 16,512
broken $c model.safetensors "there is no $d.weight_global_scale" "s/\"$d.weight_global_scale\"/\"$d.weight_global_scal~\"/"
lists config.json
broken $c config.json strategy 's/"tensor_group"/"group"/'
end

begin deepseek-v4 --scheme fp8-ue8m0-128x128 --rules v4 --convention deepseek-v4
parts $d.weight F8_E4M3 256,512 $d.scale F8_E8M0 2,4 4,2
e=model.layers.1.mlp.experts.3.down_proj
parts $e.weight I8 256,64 $e.scale F8_E8M0 256,4 4,256
lists config.json
broken $c config.json scale_fmt 's/"ue8m0"/"e8m0"/'
broken $c config.json expert_dtype 's/"expert_dtype": "fp4"/"expert_dtype": "fp8"/'
end

# GPT-OSS: stacks of experts, of a model that has them.
mini gpt-oss oss
octavo dequantize -q oss -o plain
c=gpt-oss accepted=0 refused=0
for s in '' '--shard-size=1MB'; do
    rm -rf q
    octavo quantize -q plain --scheme mxfp4 --convention gpt-oss -o q $s
    taken $c q
done
broken $c "$(cd q && ls *.index.json)" total_size 's/"total_size": [0-9]*/"total_size": 7/'
broken $c "$(cd q && ls *.index.json)" "the index says" 's/\("model.norm.weight": "[^"]*\)-0000[0-9]*-of/\1-00099-of/'
rm -rf whole q && mkdir q
octavo quantize -q plain --scheme mxfp4 --convention gpt-oss -o whole
cp whole/*.json q/
rm -f q/*.index.json
octavo convert -q whole -o q/model.safetensors
taken $c q
x=model.layers.1.mlp.experts
broken $c model.safetensors "there is no ${x}.down_proj_scales" "s/\"$x.down_proj_scales\"/\"$x.down_proj_scale~\"/"
broken $c model.safetensors "${x}.gate_up_proj_scales is" "s/\(\"$x.gate_up_proj_scales\":{\"dtype\":\"\)U8/\1I8/"
broken $c model.safetensors "${x}.down_proj_scales: its shape" "s/\(\"$x.down_proj_scales\":{[^}]*\"shape\":\)\[4,256,4\]/\1[256,4,4]/"
broken $c model.safetensors "${x}.down_proj" "s/\(\"$x.down_proj_blocks\":{[^}]*\"shape\":\)\[4,256,4,16\]/\1[4,256,16,4]/"
broken $c model.safetensors "there is no ${x}.gate_up_proj_bias" "s/\"$x.gate_up_proj_bias\"/\"$x.gate_up_proj_bia~\"/"
broken $c model.safetensors "${x}.gate_up_proj_bias: its shape" "s/\(\"$x.gate_up_proj_bias\":{[^}]*\"shape\":\)\[4,256\]/\1[256,4]/"
broken $c config.json "lm_head is not quantized and not listed" 's/"lm_head"/"lm_haed"/'
broken $c config.json "self_attn.q_proj is not quantized" 's/"model.layers.0.self_attn.q_proj"/"model.layers.0.self_attn.q_porj"/'
broken $c config.json quant_method 's/"quant_method": "mxfp4"/"quant_method": "mxfp5"/'
end

begin quark:fp8 --scheme fp8-channel --convention quark
parts $d.weight F8_E4M3 256,512 $d.weight_scale F32 256 128
lists config.json
broken $c config.json quant_method 's/"quark"/"quork"/'
broken $c config.json qscheme 's/"per_channel"/"per_row"/g'
broken $c config.json pack_method 's/"pack_method"/"packing"/'
end

begin quark:mxfp4 --scheme mxfp4 --convention quark
parts $g.weight U8 512,128 $g.weight_scale U8 512,8 8,512
lists config.json
broken $c config.json group_size 's/"group_size": 32/"group_size": 16/g'
broken $c config.json scale_format 's/"scale_format": "e8m0"/"scale_format": "float32"/'
end

begin modelopt:nvfp4 --scheme nvfp4 --convention modelopt
parts $g.weight U8 512,128 $g.weight_scale F8_E4M3 512,16 16,512
broken $c model.safetensors "there is no $d.weight_scale_2" "s/\"$d.weight_scale_2\"/\"$d.weight_scale_~\"/"
lists config.json
broken $c hf_quant_config.json group_size 's/"group_size": 16/"group_size": 32/'
broken $c hf_quant_config.json quant_algo 's/NVFP4/FP4/'
end

begin modelopt --scheme mxfp8 --convention modelopt
parts $d.weight F8_E4M3 256,512 $d.weight_scale U8 256,16 16,256
lists config.json
broken $c config.json quant_algo 's/"MXFP8"/"FP8"/'
broken $c hf_quant_config.json quant_algo 's/"MXFP8"/"FP8"/'
broken $c hf_quant_config.json group_size 's/"group_size": 32/"group_size": 16/'
broken $c hf_quant_config.json exclude_modules 's/"lm_head"/"lm_haed"/'
broken $c hf_quant_config.json producer 's/"producer"/"maker"/'
end

for t in "ascend-950 mx F8_E4M3 $d.weight_scale U8 256,16 16,256 256,512" "ascend-910b int8-nz I8 $d.weight_scale F32 256,1 1,256 256,512" \
    "ascend-950 w4a8-mx U8 $d.weight_scale U8 256,16 16,256 256,256"; do
    set -- $t
    begin ascend-v1 --target $1 --form $2
    f=$(cd q && ls *.safetensors)
    [ "$8" = 256,256 ] || parts $d.weight $3 $8 $4 $5 $6 $7
    j=quant_model_description.json
    broken $c $j "$d.weight is" "s/\"$d.weight\"/\"$d.weigth\"/"
    broken $c $j "model.norm.weight is" 's/\("model.norm.weight": "\)FLOAT/\1W8A8/'
    broken $c $j "$d.weight is" "s/\(\"$d.weight\": \"\)[A-Z0-9_]*/\1FLOAT/"
    broken $c $j "in no file" 's/"model.norm.weight"/"model.norm.wieght"/'
    broken $c $j version 's/"1.0.0"/"9.0.0"/'
    broken $c $j model_quant_type 's/"model_quant_type"/"model_quant"/'
    broken $c $j metadata 's/"metadata"/"metadat"/'
    broken $c config.json "believed instead" 's/^{/{"quantization_config": {},/'
    end
done

begin ascend-v1:w4a8 --target ascend-910b --form w4a8
f=$(cd q && ls *.safetensors)
e=model.layers.1.mlp.experts.3.up_proj
parts $d.weight I8 256,512 $d.weight_scale F32 256,1 1,256
parts $e.weight I8 64,256 $e.weight_scale F32 128,1 1,128
broken $c $f "there is no $e.scale_bias" "s/\"$e.scale_bias\"/\"$e.scale_bia~\"/"
broken $c $f "experts.3.down_proj.scale_bias: its shape" "s/\(experts.3.down_proj.scale_bias\":{[^}]*\"shape\":\)\[256,16\]/\1[16,256]/"
broken $c quant_model_description.json group_size 's/"group_size": 0/"group_size": 256/'
broken $c quant_model_description.json "$e.scale_bias is" "s/\(\"$e.scale_bias\": \"\)[A-Z0-9_]*/\1FLOAT/"
end

begin mlu-fp8 --scheme fp8-channel --convention mlu-fp8
parts $d.weight F8_E4M3 256,512 $d.weight_scale F32 256 128
lists config.json
broken $c config.json weight_quant_method 's/"per_channel"/"per_tensor"/'
broken $c config.json activation_quant_method 's/"per_token"/"per_tensor"/'
broken $c config.json weight_block_size 's/"quant_method"/"weight_block_size": [128, 128], "quant_method"/'
end

begin mlu-smoothquant --scheme int8-channel --convention mlu-smoothquant
parts $d.qweight I8 256,512 $d.per_channel_scale F32 256 128
broken $c model.safetensors "there is no $d.smooth" "s/\"$d.smooth\"/\"$d.smoot~\"/"
broken $c model.safetensors "$d.smooth: its shape" "s/\(\"$d.smooth\":{[^}]*\"shape\":\)\[512\]/\1[256]/"
broken $c quantize_config.json quant_mode 's/SmoothQuant/SmothQuant/'
broken $c quantize_config.json input_quant_method 's/per_token/per_chanl/'
broken $c quantize_config.json weight_precision 's/"weight_precision": "int8"/"weight_precision": "int4"/'
broken $c quantize_config.json group_size 's/"group_size": 1/"group_size": 128/'
end

# Scales of activations are there for the miniature only.
rm -rf sample && cp -r deepseek sample
begin gcu-w8a8 --scheme int8-channel --convention gcu-w8a8 --activations static --activation-scales scales
parts $d.weight I8 256,512 $d.out_scales F32 256 128
broken $c model.safetensors "there is no $d.in_scales" "s/\"$d.in_scales\"/\"$d.in_scale~\"/"
lists config.json
broken $c quantize_config.json "not listed" 's/"lm_head"/"lm_haed"/'
broken $c quantize_config.json quant_method 's/"w8a8"/"w8a9"/'
broken $c config.json group_size 's/"group_size"/"group"/'
end

begin modelopt:fp8 --scheme fp8-tensor --convention modelopt --activations static --activation-scales scales
broken $c model.safetensors "there is no $d.weight_scale" "s/\"$d.weight_scale\"/\"$d.weight_scal~\"/"
broken $c model.safetensors "$d.weight_scale is" "s/\(\"$d.weight_scale\":{\"dtype\":\"\)F32/\1I32/"
broken $c model.safetensors "$d" "s/\(\"$d.weight\":{\"dtype\":\"\)F8_E4M3/\1F8_E5M2/"
broken $c model.safetensors "there is no $d.input_scale" "s/\"$d.input_scale\"/\"$d.input_scal~\"/"
lists config.json
broken $c config.json quant_algo 's/"FP8"/"FP9"/'
broken $c hf_quant_config.json quant_algo 's/"FP8"/"FP9"/'
end

begin ascend-v1:static --target ascend-910b --form int8-static --activation-scales scales
f=$(cd q && ls *.safetensors)
broken $c $f "there is no $d.deq_scale" "s/\"$d.deq_scale\"/\"$d.deq_scal~\"/"
broken $c $f "$d.deq_scale is" "s/\(\"$d.deq_scale\":{\"dtype\":\"\)F32/\1I32/"
broken $c $f "$d.deq_scale: its shape" "s/\(\"$d.deq_scale\":{[^}]*\"shape\":\)\[256\]/\1[128]/"
broken $c $f "there is no $d.quant_bias" "s/\"$d.quant_bias\"/\"$d.quant_bia~\"/"
broken $c $f "$d.quant_bias is" "s/\(\"$d.quant_bias\":{\"dtype\":\"\)I32/\1F32/"
broken $c $f "there is no $d.input_offset" "s/\"$d.input_offset\"/\"$d.input_offse~\"/"
broken $c quant_model_description.json "$d.input_scale is" "s/\(\"$d.input_scale\": \"\)W8A8/\1FLOAT/"
end

begin slimquant-w4a8 --scheme int8-channel --rules experts --convention slimquant-w4a8
parts $d.weight I8 256,512 $d.weight_scale F32 256,1 1,256
e=model.layers.1.mlp.experts.3.up_proj
broken $c model.safetensors "$e.weight_scale: its shape" "s/\(\"$e.weight_scale\":{[^}]*\"shape\":\)\[128,1\]/\1[1,128]/"
lists config.json
broken $c config.json quant_method 's/slimquant_w4a8/slimquant_w8a8/'
broken $c config.json activation_scheme 's/"dynamic"/"static"/'
end

begin tim-vx --scheme int8-channel --convention tim-vx
parts $d.weight I8 256,512 $d.weight_scale F32 256,1 1,256
broken $c tim_vx_quant.json format 's/"tim-vx"/"tim_vx"/'
broken $c tim_vx_quant.json "in no file" "s/\"$d.weight\":/\"$d.wieght\":/"
broken $c tim_vx_quant.json quant_type '0,/SYMMETRIC_PER_CHANNEL/s//SYMETRIC_PER_CHANNEL/'
broken $c tim_vx_quant.json channel_dim '0,/"channel_dim": 1/s//"channel_dim": 0/'
broken $c tim_vx_quant.json WHCN '0,/512,/s//256,/'
end
sed 's/^/REPORT /' table
