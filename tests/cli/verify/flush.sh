# verify --flush-subnormals reads every subnormal FP8 code as 0, and says what that costs.
. "$ROOT/tests/cli/lib.sh"
config='{"quantization_config": {"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": true, "dynamic": false}, "input_activations": {"num_bits": 8, "type": "float", "strategy": "token", "symmetric": true, "dynamic": true}}}, "ignore": []}}'
header='{"x.weight":{"dtype":"F8_E4M3","shape":[4,64],"data_offsets":[0,256]},"x.weight_scale":{"dtype":"F32","shape":[4,1],"data_offsets":[256,272]}}'
# Every code but the two NaNs, in order; scales of 1, 2, 0.5 and 1.
i=0
while [ $i -lt 256 ]; do
    case $i in 127 | 255) printf '\000' ;; *) printf "\\$(printf %03o $i)" ;; esac
    i=$((i + 1))
done >codes
printf '\000\000\200\077\000\000\000\100\000\000\000\077\000\000\200\077' >scales
model() { # model DIR CODES
    mkdir "$1"
    safetensors "$1/model.safetensors" "$header"
    cat "$2" scales >>"$1/model.safetensors"
    echo "$config" >"$1/config.json"
}
model native codes
# A core without subnormals sees these codes, by the definition: 1 to 7 with either sign are 0.
LC_ALL=C tr '\001-\007\201-\207' '\000' <codes >seen
model flushed seen
[ "$(cmp -l codes seen | wc -l)" -eq 14 ] || fail "fourteen subnormal codes"
expect_exit 0 "$OCTAVO" verify flushed native --flush-subnormals --require-exact
expect_out "subnormal codes read as 0: 14 of 256"
expect_exit 1 "$OCTAVO" verify flushed native --require-exact
expect_exit 1 "$OCTAVO" verify native native --flush-subnormals --require-exact
expect_exit 0 "$OCTAVO" verify native native --flush-subnormals --json
valid_json out
tr -d '\n' <out | grep -q '"subnormal":14,"native_rel":0,' || { cat out; fail "the native figures beside"; }
# The error, in double precision: of codes 1 to 7 of rows with scale 1 (row 0) and 0.5 (row 2: the negative ones).
want=$(awk 'BEGIN { for (i = 1; i <= 7; i++) { e += (i / 512) ^ 2 * (1 + 0.25) }
    for (r = 0; r < 4; r++) for (k = 0; k < 64; k++) { c = r * 64 + k; m = c % 128; if (m == 127) continue
        x = m < 8 ? m / 512 : (8 + m % 8) / 8 * 2 ^ (int(m / 8) - 7); s = r == 1 ? 2 : r == 2 ? 0.5 : 1; n += (x * s) ^ 2 }
    printf "%.6g", sqrt(e / n) }')
got=$(tr -d '\n' <out | sed 's/.*"tensors":\[{[^}]*"rel":\([0-9.e+-]*\),.*/\1/')
awk -v a="$want" -v b="$got" 'BEGIN { d = a / b - 1; exit d * d > 1e-9 }' || fail "a relative error of $want, not $got"
# On the sample: the count of such codes in the file, row scales or not.
octavo quantize -q "$MODEL" --scheme fp8-tensor -o t.safetensors
expect_exit 0 "$OCTAVO" verify "$MODEL" t.safetensors --flush-subnormals
expect_out "subnormal codes read as 0"
# INT8 has no such codes.
octavo quantize -q "$MODEL" --scheme int8-channel -o i.safetensors
expect_exit 0 "$OCTAVO" verify "$MODEL" i.safetensors --flush-subnormals
expect_out "read as 0: 0 of"
