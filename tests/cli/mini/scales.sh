# What becomes of power-of-two scales, and of those that only look like them.
. "$ROOT/tests/cli/lib.sh"

# DeepSeek-V3.1 as it should be: from 128 x 128 to any finer UE8M0, bit for bit, though
# some scales are in another file than their weight.
mini --reference ref v3.1-pure pure
for to in "--scheme mxfp8" "--scheme mxfp8 --convention ascend-v1" "--convention deepseek-v4" "-t ascend-950"; do
    octavo quantize -q pure $to --require-exact -o q || fail "quantize $to to be exact"
    expect_exit 0 "$OCTAVO" verify --require-exact ref q
    rm -rf q
done
octavo pack -q pure -t ascend-950 -o pure.octp
expect_exit 0 "$OCTAVO" verify --require-exact ref pure.octp

# And as it is: scales of o_proj are powers of two times 1.3228756.  Their exponent alone
# would lose a quarter of every value; the tensor is named instead.
mini --reference odd.ref v3.1 odd
expect_exit 0 "$OCTAVO" verify --require-exact odd.ref odd
for to in "quantize --scheme mxfp8" "quantize --convention deepseek-v4" "pack -t ascend-950"; do
    refused 3 $to odd -o q.octp
    expect_err "self_attn.o_proj.weight_scale_inv" "not a power of two"
    absent q.octp
done
