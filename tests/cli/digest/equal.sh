# One number for the contents, wherever they lie.
. "$ROOT/tests/cli/lib.sh"
octavo convert -q "$MODEL" -o one.safetensors
octavo convert -q "$MODEL" --shard-size 1MB -o shards
octavo convert -q "$MODEL" -o - >pipe.safetensors
same_digest "$MODEL" one.safetensors shards pipe.safetensors
octavo quantize -q shards -o q
octavo quantize -q one.safetensors -o q.safetensors
octavo quantize -q - -o - <pipe.safetensors >qp.safetensors
octavo pack -q q -t musa-mp31 -o p.octp
same_digest q q.safetensors qp.safetensors p.octp
[ "$(digest_of q)" != "$(digest_of one.safetensors)" ] || fail "another model to have another digest"
gzip -c one.safetensors >one.gz
same_digest one.safetensors one.gz
octavo digest - <one.gz | grep -q "^$(digest_of one.safetensors)  -$" || fail "the same from a pipe"
[ "$(octavo digest one.safetensors shards | wc -l)" -eq 2 ] || fail "a line per model"

# Threads and kernels do not matter; a byte does, and so does a name.
for t in 1 3 8; do
    [ "$(octavo digest -T $t shards)" = "$(octavo digest shards)" ] || fail "the same with $t threads"
done
[ "$(OCTAVO_CPU=c octavo digest shards)" = "$(octavo digest shards)" ] || fail "the same with C kernels"
size=$(size_of one.safetensors)
{ head -c $((size - 1)) one.safetensors; printf '\125'; } >other.safetensors
cmp -s one.safetensors other.safetensors && fail "another last byte"
[ "$(digest_of one.safetensors)" != "$(digest_of other.safetensors)" ] || fail "another byte to change the digest"
sed 's/model.norm.weight/model.Norm.weight/' one.safetensors >named.safetensors
[ "$(digest_of one.safetensors)" != "$(digest_of named.safetensors)" ] || fail "another name to change the digest"

expect_exit 0 "$OCTAVO" digest --tensors one.safetensors
[ "$(wc -l <out)" -eq 40 ] || fail "a line per tensor and one for all"
# A tensor's line is the SHA-256 of its bytes.
octavo convert -q one.safetensors --include model.norm.weight -o norm.safetensors
sum=$(tail -c 512 norm.safetensors | sha256sum | cut -d' ' -f1)
expect_out "$sum  model.norm.weight BF16 [256]"
expect_exit 0 "$OCTAVO" digest --json --tensors one.safetensors shards
cp out lines
[ "$(wc -l <lines)" -eq 80 ] || fail "80 lines"
valid_json_lines lines
refused 2 digest
refused 3 digest nowhere
