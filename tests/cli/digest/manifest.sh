# A manifest, and a delivery checked against it in one pass.
. "$ROOT/tests/cli/lib.sh"
octavo quantize -q "$MODEL" -o fp8
octavo digest --manifest fp8 --source "$MODEL" >manifest
[ "$(head -n 1 manifest)" = "# octavo manifest 1" ] || fail "the first line"
grep -q "^source $(digest_of "$MODEL")$" manifest || fail "the digest of the source"
[ "$(tail -n 1 manifest)" = "model $(digest_of fp8)" ] || fail "the digest of the model in the last line"
octavo digest --tensors fp8 | sed '$d' >tensors
grep -E '^[0-9a-f]{64}  ' manifest | cmp - tensors || fail "lines of tensors as digest --tensors has them"
grep -q "^file $(sha256sum <fp8/config.json | cut -c1-64) config.json$" manifest || fail "config.json by its SHA-256"
cp manifest again
octavo digest --manifest fp8 --source "$MODEL" -T 1 | cmp - manifest || fail "the same for any number of threads"

expect_exit 0 "$OCTAVO" verify --manifest manifest fp8
expect_out "67 tensors and"
expect_exit 0 "$OCTAVO" verify --manifest manifest fp8 --json
valid_json out
# In another container the tensors are the same.
sed "/^file/d" manifest >tensors-only
octavo convert -q fp8 --shard-size 500KB -o shards
octavo convert -q fp8 -o one.safetensors
for m in shards one.safetensors; do expect_exit 0 "$OCTAVO" verify --manifest tensors-only $m; done
octavo convert -q fp8 -o - | octavo verify --manifest manifest - || fail "a pipe"
octavo pack -q fp8 -t nvidia-sm90 -o p.octp
expect_exit 0 "$OCTAVO" verify --manifest manifest p.octp

# Each kind of difference, by name.
differs() { # differs MODEL TEXT...
    expect_exit 1 "$OCTAVO" verify --manifest manifest "$1"
    shift
    expect_out "$@"
    [ "$(wc -l <err)" -eq 1 ] || fail "one sentence"
}
w=model.layers.1.mlp.up_proj.weight
cp -r fp8 bad
last=$(($(size_of bad/model.safetensors) - 1))
printf '\377' | dd of=bad/model.safetensors bs=1 seek=$last conv=notrunc 2>/dev/null
differs bad "other bytes in tensor: "
octavo quantize -q "$MODEL" --exclude "$w" -o other
differs other "another type or shape of tensor: $w" "there is no tensor: ${w}_scale_inv"
octavo convert -q fp8 --exclude "$w*" -o less
differs less "there is no tensor: $w"
octavo convert -q "$MODEL" -o more
sed '/^file/d' manifest | grep -v '  lm_head.weight ' >short
expect_exit 1 "$OCTAVO" verify --manifest short fp8
expect_out "not in the manifest is tensor: lm_head.weight"
cp -r fp8 edited
echo ' ' >>edited/config.json
differs edited "other bytes in file: config.json"
cp -r fp8 extra
echo x >extra/notes.txt
differs extra "not in the manifest is file: notes.txt"
rm edited/config.json
differs edited "there is no file: config.json"
refused 1 verify -q --manifest manifest extra

# What is no manifest.
head -n 20 manifest >cut
refused 3 verify --manifest cut fp8
expect_err "cut: is cut"
sed '4s/.*/what is this/' manifest >odd
refused 3 verify --manifest odd fp8
expect_err "odd: line 4 is no line of a manifest"
tail -n +2 manifest >headless
refused 3 verify --manifest headless fp8
expect_err "line 1"
refused 3 verify --manifest "$MODEL/model.safetensors" fp8
refused 3 verify --manifest no-such-file fp8
refused 2 verify --manifest manifest "$MODEL" fp8
refused 2 digest --manifest fp8 "$MODEL"
refused 2 digest --source fp8 "$MODEL"
