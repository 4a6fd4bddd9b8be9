# A threshold turns the answer into yes or no.
. "$ROOT/tests/cli/lib.sh"
octavo quantize -q "$MODEL" -o q
expect_exit 0 "$OCTAVO" verify "$MODEL" q
expect_out "fp8-ue8m0-128x128" "39 tensors compared: 11 equal, 28 not"
expect_exit 0 "$OCTAVO" verify "$MODEL" "$MODEL" --require-exact --max-abs 0 --max-mse 0 --min-sqnr 300
expect_out "39 equal, 0 not"
for yes in '--max-rel 0.03' '--min-sqnr 31' '--max-abs 0.1' '--max-mse 1e-4' '--min-cosine 0.999' '--max-saturated 0'; do
    expect_exit 0 "$OCTAVO" verify "$MODEL" q $yes
done
for no in '--max-rel 0.02' '--min-sqnr 33' '--max-abs 0.001' '--max-mse 1e-9' '--min-cosine 0.9999' --require-exact; do
    expect_exit 1 "$OCTAVO" verify "$MODEL" q $no
    [ -s out ] || fail "the table also when the answer is no"
    [ "$(wc -l <err)" -eq 1 ] || { cat err; fail "one sentence"; }
    expect_err "octavo verify: tensor 'model.layers."
    refused 1 verify -q "$MODEL" q $no
    [ ! -s out ] || fail "-q without a table"
done
expect_exit 0 "$OCTAVO" verify "$MODEL" q --max-rel 0.02 --exclude '*_proj*'
expect_exit 0 "$OCTAVO" verify "$MODEL" q --json
cp out a.json
valid_json a.json
expect_out '"tensors":39' '"only_a":[]'
expect_exit 1 "$OCTAVO" verify "$MODEL" q --json --max-rel 0.02
valid_json out
expect_out '"ok":false'
# The figures do not depend on threads, kernels or container.
octavo convert -q "$MODEL" --shard-size 1MB -o shards
octavo quantize -q shards -o qs
octavo pack -q q -t ascend-950 -o p.octp
octavo verify --json -T 1 "$MODEL" q >t1
octavo verify --json -T 7 "$MODEL" q >t7
OCTAVO_CPU=c octavo verify --json "$MODEL" q >c
octavo verify --json shards qs >s
octavo convert -q q -o - | octavo verify --json "$MODEL" - >pipe
octavo verify --json "$MODEL" p.octp >p
for f in t1 t7 c; do same a.json $f; done
# From shards the tensors come in the order of the shards.
tensors() { grep '^{"name"' "$1" | sed 's/,$//' | sort; }
tensors a.json >a
tensors s >b
same a b
for f in p pipe; do
    tensors $f >b
    same a b
done
# A tensor that is missing is a no; one that is new is not.
octavo convert -q "$MODEL" --exclude lm_head.weight -o less.safetensors
expect_exit 1 "$OCTAVO" verify "$MODEL" less.safetensors
expect_err "lm_head.weight"
expect_exit 0 "$OCTAVO" verify less.safetensors "$MODEL"
expect_out "only in the other: lm_head.weight"
# Another shape is no comparison at all.
safetensors a.safetensors '{"a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}'
zeros 24 >>a.safetensors
sed 's/\[2,3\]/[3,2]/' a.safetensors >b.safetensors
got=0
"$OCTAVO" verify a.safetensors b.safetensors >out 2>err || got=$?
[ $got -eq 1 ] || [ $got -eq 3 ] || fail "no yes for another shape: exit $got"
expect_err "a.weight"
refused 2 verify "$MODEL"
refused 2 verify "$MODEL" q q
refused 2 verify "$MODEL" q --max-rel much
refused 2 verify "$MODEL" q --max-rel nan
refused 3 verify "$MODEL" nowhere
refused 3 verify nowhere "$MODEL"
# NaN has no sign, whatever made it.
safetensors a.safetensors '{"x":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}'
repeat 4 '\000\000\200\077' >>a.safetensors
for bits in '\000\000\300\177' '\000\000\300\377'; do
    safetensors b.safetensors '{"x":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}'
    { repeat 3 '\000\000\000\100'; printf "$bits"; } >>b.safetensors
    for level in c avx2; do
        got=0
        OCTAVO_CPU=$level octavo verify a.safetensors b.safetensors >nan.$level 2>/dev/null || got=$?
        [ "$got$level" = 2avx2 ] && continue # a processor without it
        [ $got -eq 0 ] || fail "figures, not exit $got"
        grep -q ' nan ' nan.$level && ! grep -q -e '-nan' nan.$level || { cat nan.$level; fail "nan without a sign"; }
    done
done
