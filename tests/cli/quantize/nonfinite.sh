# NaN and Inf in a weight: found before a scale is made of them.
. "$ROOT/tests/cli/lib.sh"
# m.safetensors: a BF16 weight of 3 x 224 with one bad element.
make_model() { # make_model ROW COL BYTES
    safetensors m.safetensors '{"a.weight":{"dtype":"BF16","shape":[3,224],"data_offsets":[0,1344]},"model.norm.weight":{"dtype":"BF16","shape":[4],"data_offsets":[1344,1352]}}'
    { zeros $((($1 * 224 + $2) * 2)); printf "$3"; zeros $((1344 - ($1 * 224 + $2) * 2 - 2)); zeros 8; } >>m.safetensors
}
for scheme in fp8-ue8m0-128x128 fp8-f32-128x128 mxfp8 fp8-channel fp8-tensor int8-channel; do
    for bad in '0 0 \300\177 NaN' '2 223 \200\177 Inf' '1 130 \200\377 Inf' '2 5 \377\377 NaN'; do
        set -- $bad
        make_model "$1" "$2" "$3"
        for to in x.safetensors xdir; do
            refused 3 quantize m.safetensors --scheme $scheme -o $to
            expect_err "m.safetensors" "'a.weight'" "[$1,$2]" "$4"
            absent $to
        done
        got=0
        "$OCTAVO" quantize -q - --scheme $scheme -o x.safetensors <m.safetensors 2>err || got=$?
        [ $got -eq 3 ] || fail "exit 3 from a pipe, not $got"
        expect_err "'a.weight'" "[$1,$2]"
        absent x.safetensors
        refused 3 quantize m.safetensors --scheme $scheme -o x.safetensors --nonfinite=error
        absent x.safetensors
    done
    # Inf saturates where that is asked for; the others stay what they are.
    make_model 1 130 '\200\377'
    expect_exit 0 "$OCTAVO" quantize m.safetensors --scheme $scheme -o s.safetensors -f --nonfinite=saturate
    expect_exit 0 "$OCTAVO" dequantize s.safetensors --dtype f32 -f -o d.safetensors
    expect_exit 0 "$OCTAVO" ls d.safetensors
    expect_out "[3,224]"
done
# A kept tensor may hold what it likes: it is copied.
make_model 0 0 '\000\000'
{ head -c $(($(size_of m.safetensors) - 8)) m.safetensors; printf '\300\177\200\177\200\377\000\000'; } >k.safetensors
expect_exit 0 "$OCTAVO" quantize k.safetensors -o k2.safetensors
same_digest k.safetensors k.safetensors
octavo convert -q k.safetensors --include 'model.*' -o k3.safetensors
octavo convert -q k2.safetensors --include 'model.*' -o k4.safetensors
same_digest k3.safetensors k4.safetensors
refused 2 quantize m.safetensors --nonfinite=maybe -n
