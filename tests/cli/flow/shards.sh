# A sharded directory in, a sharded directory out, that serves as it is.
. "$ROOT/tests/cli/lib.sh"
octavo convert -q "$MODEL" --shard-size 1MB -o in
octavo quantize -q in -o out.dir
octavo quantize -q "$MODEL" -o one
same_digest one out.dir
[ "$(ls in | grep -c safetensors$)" -eq "$(ls out.dir | grep -c safetensors$)" ] || fail "as many shards as before"
index=out.dir/model.safetensors.index.json
valid_json $index
# The index names every tensor of every shard, and the shard it is in.
for f in out.dir/*.safetensors; do
    octavo ls -q "$f" 2>/dev/null | cut -d' ' -f1 | while read -r t; do
        grep -qF "\"$t\": \"${f##*/}\"" $index || fail "$t in ${f##*/} by the index"
    done || exit 1
done
[ "$(grep -c '\.safetensors"' $index)" -eq "$(octavo ls -q out.dir | wc -l)" ] || fail "as many entries as tensors"
same one/config.json out.dir/config.json
same in/README.md out.dir/README.md
# The weight files of ascend-v1 have a name of their own.
octavo quantize -q in --target ascend-950 -o asc
ls asc | grep -q '^quant_model_weights-0000' || fail "the stem of ascend-v1"
octavo quantize -q "$MODEL" --target ascend-950 -o asc1
same_digest asc asc1
# Each shard alone gives the shard of the whole: shards can be shared out.
octavo quantize -q in/model-00002-of-00006.safetensors -o alone.safetensors
same_digest alone.safetensors out.dir/model-00002-of-00006.safetensors

# A weight and its scale in different shards.
mkdir split
cp one/config.json split/
# Canonical order puts F32, which here are the scales, before BF16 and F8_E4M3: two
# files of the same bytes with headers of their own.
head_size=$(od -An -tu8 -N 8 one/model.safetensors | tr -d ' ')
octavo ls -q one | awk '
    { k = $2 == "F32" ? 1 : 2; order = $2 == "F32" ? 0 : $2 == "BF16" ? 1 : 2; print order, k, $1, $2, $3, $4 }' |
    sort -k1,1n -k3,3 | awk '{
        h = sprintf("%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%d,%d]}", n[$2]++ ? "," : "", $3, $4, $5, at[$2], at[$2] + $6)
        at[$2] += $6; head[$2] = head[$2] h }
    END { print "{" head[1] "}"; print "{" head[2] "}"; print at[1] }' >heads
scales=$(sed -n 3p heads)
safetensors split/model-00001-of-00002.safetensors "$(sed -n 1p heads)"
tail -c +$((9 + head_size)) one/model.safetensors | head -c "$scales" >>split/model-00001-of-00002.safetensors
safetensors split/model-00002-of-00002.safetensors "$(sed -n 2p heads)"
tail -c +$((9 + head_size + scales)) one/model.safetensors >>split/model-00002-of-00002.safetensors
{
    printf '{"metadata": {"total_size": 1}, "weight_map": {\n'
    octavo ls -q one | awk '{ printf "%s\"%s\": \"model-0000%d-of-00002.safetensors\"", (NR > 1 ? ",\n" : ""), $1, $2 == "F32" ? 1 : 2 }'
    printf '}}\n'
} >split/model.safetensors.index.json
same_digest one split
octavo dequantize -q one -o b1
octavo dequantize -q split -o b2
same_digest b1 b2
octavo pack -q one -t ascend-950 -o p1.octp
octavo pack -q split -t ascend-950 -o p2.octp
same_digest one p1.octp p2.octp
expect_exit 0 "$OCTAVO" verify one split --require-exact
octavo quantize -q split --scheme mxfp8 --include '*.down_proj.*' -o mx
octavo quantize -q one --scheme mxfp8 --include '*.down_proj.*' -o mx1
same_digest mx mx1
