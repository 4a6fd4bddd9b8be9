# The 91,991 tensors of DeepSeek-V3: totals as published, and plans for all of it in
# little time and memory.
. "$ROOT/tests/cli/lib.sh"
mini inventory v3
octavo ls -q --json v3 >lines
inventory v3 >list
[ "$(wc -l <list)" -eq 91991 ] && [ "$(size_of list)" -eq 6137249 ] || fail "91991 lines of 6137249 bytes"
[ "$(crc32 <list)" = 4E3AEBF8 ] || fail "the list of tensors to have crc32 4E3AEBF8, not $(crc32 <list)"

awk '{ n = 1; k = split($3, d, ","); for (i = 1; i <= k; i++) n *= d[i]; t[$2]++; e[$2] += n; all += n }
    END { for (x in t) printf "%s %d %.0f\n", x, t[x], e[x]; printf "all %d %.0f\n", NR, all }' list | sort >elems
cat >want <<'W'
BF16 316 3918786560
F32 45867 41555600
F8_E4M3 45808 680571043840
all 91991 684531386000
W
same want elems
grep -q '"total_size": 1369062772000$' v3/model.safetensors.index.json || fail "the published total_size"

# Layers: dense, with experts, the one that predicts a token more.
sed 's/.*"name":"\([^"]*\)".*"bytes":\([0-9]*\).*/\1 \2/' lines |
    awk '{ l = $1 ~ /^model\.layers\./ ? substr($1, 14) + 0 : -1; n[l]++; b[l] += $2; all += $2 }
        END { for (l = -1; l < 62; l++) printf "%d %.0f\n", n[l], b[l]; printf "all %.0f\n", all }' | uniq -c |
    sed 's/^ *//' >layers
cat >want <<'W'
1 3 3706730496
3 20 583642336
58 1558 11511947488
1 1564 15424227552
1 all 688574839360
W
same want layers
octavo ls v3 2>&1 >/dev/null | grep -q '45808 quantized (fp8-f32-128x128, deepseek)' || fail "45808 quantized tensors"

# Plans.  A clock in a test can only say that something is very wrong.
timed=${OCTAVO%/*}/bench-timed
[ -x "$timed" ] || skip "there is no $timed"
plan() { # NAME COMMAND...: 20 s and 300 MiB; the sanitizers have memory of their own
    _name=$1
    shift
    "$timed" log "$_name" "$OCTAVO" "$@" >out 2>err || { cat err; fail "a plan: octavo $*"; }
    [ -s out ] || fail "a plan on standard output"
    awk -v n="$_name" '$1 == n { printf "%s: %.2f s, %.0f MiB\n", n, $2, $5 / 1024; exit !($2 <= 20) }' log ||
        fail "$_name in 20 s"
    case $OCTAVO in */asan/*) return 0 ;; esac
    awk -v n="$_name" '$1 == n { exit !($5 <= 300 * 1024) }' log || fail "$_name in 300 MiB"
}
plan quantize quantize -n v3 -o none
plan quantize-mxfp8 quantize -n --scheme mxfp8 v3 -o none
plan quantize-ascend quantize -n -t ascend-950 v3 -o none
plan dequantize dequantize -n v3 -o none
plan convert convert -n v3 -o none
absent none
