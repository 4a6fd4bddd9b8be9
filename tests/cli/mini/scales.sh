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
for to in "quantize --scheme mxfp8" "quantize --convention deepseek-v4" "quantize -t ascend-950"; do
    refused 3 $to odd -o q.octp
    expect_err "self_attn.o_proj.weight'" "powers of two times 1.3228756" "no place"
    absent q.octp
done
refused 3 pack -t ascend-950 odd -o q.octp
expect_err "self_attn.o_proj.weight_scale_inv" "not a power of two"
absent q.octp
# A rule leaves these unquantized, and the rest is exact; -n says it all before.
octavo quantize -n odd --scheme mxfp8 >out 2>err || fail "a plan"
grep -q "rounded a second time" out || fail "the plan to say that"
echo '*.o_proj.weight = f32' >rules
octavo quantize -q odd --scheme mxfp8 --rules rules -o q || fail "quantize all but o_proj"
expect_exit 0 "$OCTAVO" verify --require-exact odd.ref q
# The original makes them as good as new.
mini bf16 before
octavo quantize -q odd --scheme mxfp8 --source before -o s || fail "quantize with a source"
expect_exit 0 "$OCTAVO" verify --min-sqnr 27 before s
octavo quantize -q before --scheme mxfp8 -o direct
octavo ls -q --include '*o_proj*' direct >a
octavo ls -q --include '*o_proj*' s >b
same a b
expect_exit 0 "$OCTAVO" verify --require-exact --include '*o_proj*' direct s
rm -rf q

# compressed-tensors has code 0, 2^-127, for blocks of zeros.  It goes through everywhere, also where scales
# are FP32 numbers (subnormal ones) on the way.
mini --reference zero.ref ct-mxfp8 zero
for to in "--scheme mxfp8" "--scheme mxfp8 --convention ascend-v1" "--scheme fp8-f32-1x32" "--scheme fp8-bf16-1x32"; do
    octavo quantize -q zero $to --require-exact -o q || fail "quantize $to to be exact"
    expect_exit 0 "$OCTAVO" verify --require-exact zero.ref q
    octavo quantize -q q --scheme mxfp8 --convention compressed-tensors --require-exact -o zero2
    same_digest zero zero2
    rm -rf q zero2
done
octavo pack -q zero -t ascend-950 -o zero.octp
expect_exit 0 "$OCTAVO" verify --require-exact zero.ref zero.octp

# The scale of W8A8 is deq_scale / input_scale, whatever convention it goes to; input_scale is a power of two here.
mini --reference static.ref ascend-w8a8 static
for to in ascend-v1 compressed-tensors; do
    octavo quantize -q static --scheme int8-channel --convention $to --require-exact -o q || fail "$to to be exact"
    expect_exit 0 "$OCTAVO" verify --require-exact static.ref q
    rm -rf q
done
octavo quantize -q static --scheme int8-channel --convention ascend-v1 --activations static -o q
same_digest static q
rm -rf q
refused 3 quantize static --scheme int8-channel --convention compressed-tensors --activations static -o q
expect_err input_offset "not zero"
absent q

# Codes with zero points are copied, from one packing to another and from one type of scale to another.
mini --reference points.ref ct-int4-zp points
octavo quantize -q points --scheme int4-bf16-g32-asym --require-exact -o q
same_digest points q
rm -rf q
octavo quantize -q points --scheme int4-g32-asym --require-exact -o q
expect_exit 0 "$OCTAVO" verify --require-exact points.ref q
rm -rf q
refused 2 quantize points --scheme int4-g32-asym --scale-rule absmax -o q
refused 3 quantize points --scheme int4-g64-asym -o q
expect_err "no exact way"
