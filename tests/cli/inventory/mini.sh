# DeepSeek-V3 small: what numbers-and-checkpoints.md of the references says of it, E.
. "$ROOT/tests/cli/lib.sh"
mini v3 m
octavo ls -q --json m >lines
inventory m >list
[ "$(wc -l <list)" -eq 239 ] && [ "$(size_of list)" -eq 14385 ] || fail "239 lines of 14385 bytes"
[ "$(crc32 <list)" = C1B10AAA ] || fail "the list of tensors to have crc32 C1B10AAA, not $(crc32 <list)"

# Tensors and bytes, of each dtype and each layer.
sums() { # FIELD: of lines, a number of tensors and bytes per value
    sed "s/.*\"name\":\"\(model\.layers\.[0-9]*\)*.*\"dtype\":\"\([^\"]*\)\".*\"bytes\":\([0-9]*\).*/\1 \2 \3/" lines |
        sed 's/^ /top /' | awk -v f="$1" '{ n[$f]++; b[$f] += $3 } END { for (x in n) printf "%s %d %.0f\n", x, n[x], b[x] }' |
        sort
}
sums 2 >dtypes
cat >want <<'W'
BF16 28 1330688
F32 107 1000
F8_E4M3 104 3555328
W
same want dtypes
sums 1 >layers
cat >want <<'W'
model.layers.0 20 521736
model.layers.1 70 1017504
model.layers.2 70 1017504
model.layers.3 76 1805472
top 3 524800
W
same want layers

# As DeepSeek has it: the index says twice the number of elements, wherever scales are.
elems=$(awk '{ n = 1; k = split($3, d, ","); for (i = 1; i <= k; i++) n *= d[i]; s += n } END { print s }' list)
grep -q "\"total_size\": $((2 * elems))\$" m/model.safetensors.index.json || fail "total_size of 2 x $elems"
[ -f m/model-00004-of-000004.safetensors ] || fail "four shards"
sed 's/.*"name":"\([^"]*\)".*"file":"\([^"]*\)".*/\1 \2/; s/_scale_inv / /' lines | sort -u | cut -d' ' -f1 | uniq -d >apart
[ -s apart ] || fail "a scale in another file than its weight"

# Ragged blocks are counted up.
while read -r weight scale; do
    grep -q "^model.layers.0.$weight.weight F8_E4M3" list || fail "$weight"
    grep -qx "model.layers.0.$weight.weight_scale_inv F32 $scale" list || fail "a scale [$scale] of $weight"
done <<'W'
self_attn.q_b_proj 2,1
self_attn.kv_a_proj_with_mqa 1,2
self_attn.kv_b_proj 2,1
W
