# modelopt and quark: what is written is read back with the same values, whatever the
# scheme; side files, activation scales and KV caches go where they belong.
. "$ROOT/tests/cli/lib.sh"
names() { octavo ls -q "$1" | cut -d' ' -f1; }
names "$MODEL" >plain.names

while read -r convention scheme file word; do
    octavo quantize -q "$MODEL" --scheme "$scheme" --convention octavo -o usual || fail "quantize $scheme"
    expect_exit 0 "$OCTAVO" quantize "$MODEL" --scheme "$scheme" --convention "$convention" -o q
    [ -s "q/$file" ] && valid_json "q/$file" && valid_json q/config.json
    grep -q "\"$word\"" "q/$file" || { cat "q/$file"; fail "$word in $file of $scheme in $convention"; }
    grep -q "\"quant_method\": \"$convention\"" q/config.json || fail "quant_method of $convention"
    expect_exit 0 "$OCTAVO" verify --require-exact usual q
    octavo quantize -q "$MODEL" --scheme "$scheme" --convention "$convention" -o - >pipe.safetensors
    same_digest q pipe.safetensors
    expect_exit 0 "$OCTAVO" verify --require-exact usual pipe.safetensors
    octavo dequantize -q q --dtype f32 -o back
    names back >back.names
    same plain.names back.names
    ! grep -q quantization_config back/config.json || fail "no quantization_config in back"
    absent back/hf_quant_config.json
    octavo convert -q q -o copy
    same_tree q copy
    rm -rf usual q back copy
done <<'END'
modelopt fp8-tensor hf_quant_config.json FP8
modelopt fp8-channel hf_quant_config.json FP8_PER_CHANNEL_PER_TOKEN
modelopt mxfp8 hf_quant_config.json MXFP8
modelopt mxfp4 hf_quant_config.json W4A8_MXFP4_FP8
modelopt nvfp4 hf_quant_config.json W4A16_NVFP4
quark fp8-tensor config.json per_tensor
quark fp8-channel config.json per_channel
quark mxfp4 config.json fp4
quark int8-tensor config.json int8
quark int8-channel config.json int8
END
refused 2 quantize "$MODEL" --scheme nvfp4 --convention quark -n
expect_err "quark" "no place for nvfp4"

# ---- static activations ------------------------------------------------------------
mini bf16 bf16
mini modelopt-nvfp4 m
refused 3 quantize bf16 --scheme nvfp4 --convention modelopt --activations static -o q
expect_err "input_scale" "--activation-scales"
absent q
octavo quantize -q bf16 --scheme nvfp4 --convention modelopt --activations static --activation-scales m -o q
inventory m >m.list
inventory q >q.list
same m.list q.list
grep -q '"quant_algo": "NVFP4"' q/hf_quant_config.json || fail "NVFP4 with static activations"
# Scales of FP4 activations are no scales of FP8 ones: they are not taken for them.
refused 3 quantize m --scheme fp8-tensor --convention modelopt --activations static --allow-requantize -o x
expect_err "input_scale"
absent x
octavo dequantize -q m -o back
! octavo ls -q back | grep -q scale || fail "no scale in what was dequantized"
# What stays quantized stays what it was, and says so.
expect_exit 0 "$OCTAVO" dequantize m --dtype f32 --exclude '*.q_a_proj.*' -o part
expect_exit 0 "$OCTAVO" verify --require-exact m part
[ "$(octavo ls -q part | grep -c 'q_a_proj.input_scale')" -eq "$(octavo ls -q m | grep -c 'q_a_proj.input_scale')" ] ||
    fail "input scales of weights that stay"
grep -q '"quant_algo": "NVFP4"' part/hf_quant_config.json || fail "NVFP4 in what is left"
rm -rf bf16 m q back part

# ---- several schemes in one model ----------------------------------------------------
cat >rules <<'END'
*self_attn* = fp8-tensor
*down_proj* = nvfp4
END
expect_exit 0 "$OCTAVO" quantize "$MODEL" --rules rules --scheme mxfp8 --convention modelopt -o q
grep -q '"quant_algo": "MIXED_PRECISION"' q/hf_quant_config.json || fail "MIXED_PRECISION"
grep -q '"quantized_layers"' q/config.json || fail "quantized_layers in the mirror"
octavo ls -q q >list
for s in fp8-tensor nvfp4 mxfp8; do grep -q " $s" list || { head list; fail "$s in the mixed model"; }; done
mv q/hf_quant_config.json hf # the mirror alone says the same
octavo ls -q q >alone
same list alone
mv hf q/hf_quant_config.json
octavo quantize -q "$MODEL" --rules rules --scheme mxfp8 --convention octavo -o usual
expect_exit 0 "$OCTAVO" verify --require-exact usual q
sed -i 's/nvfp4/int8-channel/; s/fp8-tensor/fp8-channel/' rules
expect_exit 0 "$OCTAVO" quantize "$MODEL" --rules rules --scheme mxfp4 --convention quark -o k
octavo quantize -q "$MODEL" --rules rules --scheme mxfp4 --convention octavo -o usual2
expect_exit 0 "$OCTAVO" verify --require-exact usual2 k

# Another model over it: the old description would speak for the new one.
expect_exit 0 "$OCTAVO" quantize -f "$MODEL" -o q
absent q/hf_quant_config.json
expect_exit 0 "$OCTAVO" verify "$MODEL" q
rm -rf q k usual usual2

# ---- KV caches ------------------------------------------------------------------------
mkdir kv
echo '{"a": 1, "quantization_config": {"quant_algo": "FP8", "quant_method": "modelopt"}}' >kv/config.json
echo '{"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}' \
    >kv/hf_quant_config.json
safetensors kv/model.safetensors '{"l.k_proj.k_scale":{"dtype":"F32","shape":[],"data_offsets":[0,4]},'\
'"l.k_proj.input_scale":{"dtype":"F32","shape":[],"data_offsets":[4,8]},'\
'"l.k_proj.weight_scale":{"dtype":"F32","shape":[],"data_offsets":[8,12]},'\
'"l.k_proj.weight":{"dtype":"F8_E4M3","shape":[4,8],"data_offsets":[12,44]}}'
repeat 3 '\0\0\200\77' >>kv/model.safetensors
repeat 32 '\70' >>kv/model.safetensors
expect_exit 0 "$OCTAVO" convert kv -o same
same_digest kv same
same kv/hf_quant_config.json same/hf_quant_config.json
expect_exit 0 "$OCTAVO" dequantize kv -o back
expect_err "dropped 1 scale of the KV cache ('l.k_proj.k_scale')" "a model without quantized weights"
[ "$(octavo ls -q back | cut -d' ' -f1)" = l.k_proj.weight ] || fail "the weight alone"
expect_exit 0 "$OCTAVO" quantize kv --scheme fp8-tensor --convention compressed-tensors -o ct
expect_err "dropped 1 scale of the KV cache ('l.k_proj.k_scale'), for which compressed-tensors has no place"
[ "$(octavo ls -q ct | wc -l)" -eq 2 ] || fail "weight and scale"
expect_exit 0 "$OCTAVO" quantize kv --scheme fp8-tensor --convention modelopt --activations static -o mo
same_digest kv mo
grep -q '"kv_cache_quant_algo": "FP8"' mo/hf_quant_config.json || fail "the KV cache in hf_quant_config.json"
grep -q '"kv_cache_scheme"' mo/config.json || fail "the KV cache in config.json"
octavo quantize -q kv --scheme fp8-tensor --convention modelopt -o dynamic
[ "$(octavo ls -q dynamic | wc -l)" -eq 3 ] || fail "weight, scale and k_scale, and no scale of activations"
expect_exit 0 "$OCTAVO" convert kv --exclude '*k_scale' -o less
[ "$(octavo ls -q less | wc -l)" -eq 3 ] || fail "no k_scale when a rule drops it"

# Side files travel through a pipe.
octavo quantize -q "$MODEL" --scheme nvfp4 --convention modelopt -o q
octavo convert -q q -o - | octavo convert -q - -o through
same q/hf_quant_config.json through/hf_quant_config.json
same q/config.json through/config.json
same_digest q through
# Packing takes what the chip takes, whoever named it.
octavo quantize -q "$MODEL" --scheme mxfp8 --convention modelopt -o mx
octavo pack -q mx -t ascend-950 -o mx.octp
expect_exit 0 "$OCTAVO" verify --require-exact mx mx.octp
octavo unpack -q mx.octp -o un.safetensors
same_digest mx un.safetensors
octavo quantize -q "$MODEL" --scheme fp8-channel --convention quark -o ch
octavo pack -q ch --layout 'r1 c0 r0 | r0=16' -o ch.octp
expect_exit 0 "$OCTAVO" verify --require-exact ch ch.octp
