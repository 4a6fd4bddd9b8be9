. "$ROOT/tests/cli/lib.sh"
expect_exit 0 "$OCTAVO" ls "$MODEL"
[ "$(wc -l <out)" -eq 39 ] || fail "a line per tensor"
[ -s err ] || fail "a sum on standard error"
cp out all
sort -c all || fail "tensors in the order of their names"
expect_out "model.layers.0.mlp.down_proj.weight" "[256,464]" "237568"
expect_exit 0 "$OCTAVO" ls -q "$MODEL"
[ ! -s err ] || fail "-q to say nothing more"
same out all

# The same listing wherever the model lies: it diffs well.
octavo convert -q "$MODEL" -o one.safetensors
octavo convert -q "$MODEL" --shard-size 1MB -o shards
octavo ls -q one.safetensors >a
octavo ls -q shards >b
octavo ls -q shards/model.safetensors.index.json >c
octavo ls -q - <one.safetensors >d
for f in a b c d; do same $f all; done

expect_exit 0 "$OCTAVO" ls --json "$MODEL"
[ "$(wc -l <out)" -eq 39 ] || fail "a JSON line per tensor"
cp out lines
valid_json_lines lines
grep -q '"name":"model.norm.weight","dtype":"BF16","shape":\[256\],"bytes":512' lines || fail "a tensor in JSON"

expect_exit 0 "$OCTAVO" ls --tree "$MODEL"
[ "$(wc -l <out)" -eq 12 ] || fail "twelve kinds of tensors"
expect_out "model.layers.*.mlp.up_proj.weight" "x 4"

expect_exit 0 "$OCTAVO" ls --include '*.layers.2.*' "$MODEL"
[ "$(wc -l <out)" -eq 9 ] || fail "nine tensors of layer 2"
expect_exit 0 "$OCTAVO" ls --exclude 're:layers\.[0-2]\.' "$MODEL"
[ "$(wc -l <out)" -eq 12 ] || fail "twelve tensors outside layers 0 to 2"

octavo quantize -q "$MODEL" --scheme mxfp8 -o q.safetensors
expect_exit 0 "$OCTAVO" ls q.safetensors
expect_out "F8_E4M3" "mxfp8"
grep -q "24 quantized" err || fail "the sum to name what is quantized"
expect_exit 0 "$OCTAVO" ls --metadata q.safetensors
expect_out "# octavo."
octavo pack -q q.safetensors -t ascend-950 -o p.octp
expect_exit 0 "$OCTAVO" ls p.octp
expect_out "F8_E4M3" "c0=2"

expect_exit 0 "$OCTAVO" ls "$MODEL" q.safetensors
refused 2 ls
refused 3 ls nowhere
mkdir none
refused 3 ls none
expect_err "none"

# Two rows in a byte, which the other verbs see as a weight of twice the rows: the tensors as they lie, with its scheme.
mini bf16 whole
octavo quantize -q whole --target ascend-910b --form w4a8 -o w4a8
expect_exit 0 "$OCTAVO" ls w4a8
expect_out 'model.layers.1.mlp.experts.0.down_proj.weight              I8       [128,128]        16384  int4-channel'
expect_err ' 100 quantized ('
expect_exit 0 "$OCTAVO" ls --json w4a8
expect_out '"name":"model.layers.1.mlp.experts.0.down_proj.weight","dtype":"I8","shape":[128,128],"bytes":16384,"scheme":"int4-channel","part":"weight"'
