# The matrix of published results: codes, scales and errors of four rules, byte for byte.
. "$ROOT/tests/cli/lib.sh"

# tensor FILE NAME: its bytes.
tensor() {
    _head=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    _at=$(tail -c +9 "$1" | head -c "$_head" |
        sed -n 's/.*"'"$2"'":{[^}]*"data_offsets":\[\([0-9]*\),\([0-9]*\)\].*/\1 \2/p')
    [ -n "$_at" ] || fail "a tensor $2 in $1"
    tail -c +$((9 + _head + ${_at% *})) "$1" | head -c $((${_at#* } - ${_at% *}))
}
# is FILE NAME SIZE CRC32
is() {
    tensor "$1" "$2" >bytes
    [ "$(size_of bytes)" -eq "$3" ] || fail "$2 of $1 to have $3 bytes"
    _crc=$(crc32 <bytes)
    [ "$_crc" = "$4" ] || fail "$2 of $1 to have CRC-32 $4, not $_crc"
}
# begins FILE NAME BYTES
begins() {
    _b=$(tensor "$1" "$2" | head -c "$3" | od -An -tx1 | tr -d ' \n')
    [ "$_b" = "$4" ] || fail "$2 of $1 to begin with $4, not $_b"
}

mini matrix m.safetensors
is m.safetensors m.weight 122880 171ACE86
begins m.safetensors m.weight 8 f6b6f8b79b36ad37

# rule, scheme, convention, scales; CRC-32 of codes; size and CRC-32 of scales
while read -r rule scheme convention scales codes size crc; do
    octavo quantize -q m.safetensors --scheme $scheme --convention $convention --scale-rule $rule -o $rule.safetensors
    is $rule.safetensors m.weight 61440 $codes
    is $rule.safetensors $scales $size $crc
    octavo quantize -q - --scheme $scheme --convention $convention --scale-rule $rule -o - <m.safetensors >pipe
    same_digest $rule.safetensors pipe
    OCTAVO_CPU=c octavo quantize -q m.safetensors --scheme $scheme --convention $convention --scale-rule $rule -o c.safetensors
    same $rule.safetensors c.safetensors
    rm c.safetensors
done <<END
ds fp8-ue8m0-128x128 deepseek-v4 m.scale AC1314B8 6 D954F804
rceil mxfp8 compressed-tensors m.weight_scale 116DFE55 1920 332FBE75
floor mxfp8 ascend-v1 m.weight_scale B3596712 1920 6E39A557
ds-float fp8-f32-128x128 deepseek m.weight_scale_inv 3187C7C2 24 04E02AF5
END

# Codes 113 119 122 118 124 105; the last is that of zeros.
begins ds.safetensors m.weight 4 9fb01a2b
begins ds.safetensors m.scale 6 71777a767c69
# What is as good as these in one scheme is so in all conventions.
octavo quantize -q m.safetensors --scale-rule ds --convention deepseek -o v3.safetensors
is v3.safetensors m.weight 61440 AC1314B8

octavo verify --json m.safetensors ds.safetensors >out
expect_out '"max_abs":2,"mse":0.0168849524,"rel":0.0264835677,"sqnr_db":31.540470' '"saturated":0'
# The top of a block saturates under floor, and nowhere else.
for rule in rceil ds-float; do
    octavo verify --json m.safetensors $rule.safetensors >out
    expect_out '"saturated":0'
done
octavo quantize m.safetensors --scheme mxfp8 --scale-rule floor -o null: 2>err
grep -q ' [1-9][0-9]* saturated$' err || { cat err; fail "saturated values to be counted"; }
