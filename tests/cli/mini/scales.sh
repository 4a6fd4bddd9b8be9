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
