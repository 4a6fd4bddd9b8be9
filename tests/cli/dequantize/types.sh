. "$ROOT/tests/cli/lib.sh"
octavo quantize -q "$MODEL" -o q
for t in bf16 f16 f32; do
    expect_exit 0 "$OCTAVO" dequantize q --dtype $t -o $t
    T=$(echo $t | tr a-z A-Z)
    octavo ls -q $t | grep mlp | grep -vq " $T " && fail "only $T in the layers of $t"
    ! grep -q quantization_config $t/config.json || fail "no quantization_config in $t"
    octavo ls -q $t | cut -d' ' -f1 >a
    octavo ls -q "$MODEL" | cut -d' ' -f1 >b
    same a b
done
grep -q '"torch_dtype": "bfloat16"' bf16/config.json || fail "bfloat16 in config.json"
grep -q '"float16"' f16/config.json || fail "float16 in config.json"
grep -q '"float32"' f32/config.json || fail "float32 in config.json"
expect_exit 0 "$OCTAVO" verify q bf16 --require-exact
expect_exit 0 "$OCTAVO" verify q f32 --require-exact
refused 2 dequantize q --dtype f64 -o x
# Streams: weight and scale lie apart or together.
octavo dequantize -q q -o one.safetensors
octavo convert -q q -o - | octavo dequantize -q - -o pipe.safetensors
same_digest one.safetensors pipe.safetensors
octavo quantize -q "$MODEL" -o - | octavo dequantize -q - -o pipe2.safetensors
same_digest one.safetensors pipe2.safetensors
# An excluded weight stays quantized, and config.json still says so.
expect_exit 0 "$OCTAVO" dequantize q --exclude '*.v_proj.*' -o part
[ "$(octavo ls -q part | grep -c F8_E4M3)" -eq 4 ] || fail "four weights left as they are"
expect_exit 0 "$OCTAVO" verify q part --require-exact
# A model that is not quantized comes out as it went in.
expect_exit 0 "$OCTAVO" dequantize "$MODEL" -o same
same_digest "$MODEL" same
# A value beyond F16 is an error, not an infinity.
safetensors big.safetensors '{"a.weight":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]}}'
printf '\200\107\200\307' >>big.safetensors          # +65536 and -65536
octavo quantize -q big.safetensors -o bigq.safetensors
refused 3 dequantize bigq.safetensors --dtype f16 -o big16.safetensors
expect_err "a.weight" 65536
absent big16.safetensors
