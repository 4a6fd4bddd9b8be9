# INT8 from FP8 codes: refused, or done with a word about what it started from and what
# that cost; with --source from the original.
. "$ROOT/tests/cli/lib.sh"
octavo quantize -q "$MODEL" -o fp8
refused 3 quantize fp8 --scheme int8-channel -o x
expect_err --source --allow-requantize
expect_exit 0 "$OCTAVO" quantize fp8 --scheme int8-channel --allow-requantize -o i8
grep -q '28 started from codes (fp8-ue8m0-128x128) and not from the original: .* dB from the values of those, worst .* dB' err ||
    { cat err; fail "what it started from"; }
said=$(sed -n 's/.*not from the original: \([0-9.]*\) dB.*/\1/p' err)
# The same figure from a second look, in another pass and other code.
expect_exit 0 "$OCTAVO" verify fp8 i8 --json
measured=$(tr -d '\n' <out | sed 's/.*"quantized":{[^}]*"sqnr_db":\([0-9.]*\).*/\1/')
awk -v a="$said" -v b="$measured" 'BEGIN { d = a - b; exit !(d < 0.006 && d > -0.006) }' || fail "$said dB to be $measured"
for n in 1 3; do
    expect_exit 0 "$OCTAVO" quantize fp8 --scheme int8-channel --allow-requantize -T $n --json -q -o null:
    valid_json out
    grep -o '"second_rounding_sqnr_db":[0-9.]*' out >cost.$n
done
[ "$(wc -l <cost.1)" -eq 28 ] && same cost.1 cost.3
# From the original there is no second rounding.
expect_exit 0 "$OCTAVO" quantize fp8 --scheme int8-channel --source "$MODEL" -o direct
! grep -q 'started from codes' err || fail "no word about codes"
octavo quantize -q "$MODEL" --scheme int8-channel -o original
octavo dequantize -q direct -o a
octavo dequantize -q original -o b
same_digest a b
# The target of a chip without FP8 says the same.
refused 3 quantize fp8 --target kunlunxin-p800 -o x
expect_exit 0 "$OCTAVO" quantize fp8 --target kunlunxin-p800 --allow-requantize -o k
expect_err "started from codes"
expect_exit 0 "$OCTAVO" quantize fp8 --target kunlunxin-p800 --source "$MODEL" -o k2
