# Inputs that are not sound: one sentence that names the place, exit 3, no file.
. "$ROOT/tests/cli/lib.sh"
reject() { # reject FILE TEXT...
    f=$1
    shift
    refused 3 ls "$f"
    expect_err "$@"
    refused 3 convert "$f" -o x.safetensors
    refused 3 quantize "$f" -o xdir
    refused 3 digest "$f"
    got=0
    if [ -f "$f" ]; then
        "$OCTAVO" convert - -o x.safetensors <"$f" >out 2>err || got=$?
        [ $got -eq 3 ] || { cat err; fail "exit 3 for $f from a pipe, not $got"; }
    fi
    absent x.safetensors xdir
}
one='"a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}'
mk() { # mk NAME HEADER DATA_BYTES
    safetensors "$1" "$2"
    zeros "$3" >>"$1"
}
mk good.safetensors "{$one}" 24
expect_exit 0 "$OCTAVO" ls good.safetensors

mk dtype.safetensors '{"a.weight":{"dtype":"F7","shape":[2,3],"data_offsets":[0,24]}}' 24
reject dtype.safetensors dtype.safetensors a.weight F7
mk twice.safetensors "{$one,$one}" 24
reject twice.safetensors twice.safetensors a.weight twice
mk short.safetensors "{$one}" 23
reject short.safetensors short.safetensors
mk long.safetensors "{$one}" 25
reject long.safetensors long.safetensors
mk size.safetensors '{"a.weight":{"dtype":"F32","shape":[2,4],"data_offsets":[0,24]}}' 24
reject size.safetensors a.weight
mk hole.safetensors '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[8,12]}}' 12
reject hole.safetensors hole.safetensors
mk overlap.safetensors '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}' 6
reject overlap.safetensors overlap.safetensors
mk back.safetensors '{"a":{"dtype":"U8","shape":[4],"data_offsets":[4,0]}}' 4
reject back.safetensors back.safetensors
mk huge.safetensors '{"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,4]}}' 4
reject huge.safetensors huge.safetensors
mk negative.safetensors '{"a":{"dtype":"U8","shape":[-4],"data_offsets":[0,4]}}' 4
reject negative.safetensors negative.safetensors
mk part.safetensors '{"a":{"dtype":"U8","shape":[4]}}' 4
reject part.safetensors a
mk json.safetensors "{$one" 24
reject json.safetensors json.safetensors
mk empty-header.safetensors '' 0
reject empty-header.safetensors empty-header.safetensors
{ le64 1000; printf '{}'; } >header.safetensors
reject header.safetensors header.safetensors
{ printf '\377\377\377\377\377\377\377\377{}'; } >headers.safetensors
reject headers.safetensors headers.safetensors
printf 'GGUF' >tiny.gguf
reject tiny.gguf tiny.gguf
printf 'PK\003\004 a zip file, as torch.save writes' >model.bin
reject model.bin model.bin zip

# Shards: cut, missing, without index entry, with a tensor in two of them.
octavo convert -q "$MODEL" --shard-size 1MB -o shards
new() { rm -rf s; cp -r shards s; }
two=s/model-00002-of-00006.safetensors
new; head -c 500000 shards/model-00002-of-00006.safetensors >$two
reject s model-00002-of-00006.safetensors
new; rm $two
reject s model-00002-of-00006.safetensors missing
new; cp shards/model-00003-of-00006.safetensors $two
reject s model-0000
new; grep -v model.norm.weight shards/*.index.json | tr -d '\n' | sed 's/, *}/}/g' >s/model.safetensors.index.json
reject s model.norm.weight
new; sed 's/model.norm.weight/model.norm.weights/' shards/*.index.json >s/model.safetensors.index.json
reject s model.norm.weight
new; sed 's|model-00002-of-00006|../shards/model-00002-of-00006|' shards/*.index.json >s/model.safetensors.index.json
reject s index.json
new; echo '{}' >s/model.safetensors.index.json
reject s index.json
new; echo '{"weight_map": {' >s/model.safetensors.index.json
reject s index.json
new; rm s/model.safetensors.index.json
reject s s

# A quantized model that lost a scale, or has one too many, or of another shape.
octavo quantize -q "$MODEL" -o q
expect_exit 0 "$OCTAVO" dequantize q -o null:
sed 's/layers.1.self_attn.v_proj.weight_scale_inv/layers.1.self_attn.v_proj.weight_scale_in_/' q/model.safetensors >lost.safetensors
cp q/config.json config.json
refused 3 dequantize lost.safetensors -o x.safetensors
expect_err layers.1.self_attn.v_proj.weight
refused 3 pack lost.safetensors -t ascend-950 -o x.octp
expect_exit 0 "$OCTAVO" ls lost.safetensors
sed 's/"dtype":"F32","shape":\[1,2\]/"dtype":"F32","shape":[2,1]/' q/model.safetensors >shape.safetensors
cmp -s q/model.safetensors shape.safetensors && fail "a header that sed changes"
refused 3 dequantize shape.safetensors -o x.safetensors
expect_err "_proj.weight" "[2,1]" "[1,2]"
rm config.json
absent x.safetensors x.octp
