# --names: the same weights under Hugging Face's names and llama.cpp's.
. "$ROOT/tests/cli/lib.sh"
octavo convert -q "$MODEL" -o hf.safetensors
expect_exit 0 "$OCTAVO" convert "$MODEL" --names gguf -o gguf.safetensors
expect_err "39 tensors get GGUF names (architecture llama)" "rows of 8 attention weights"
expect_exit 0 "$OCTAVO" ls -q gguf.safetensors
expect_out "blk.3.attn_q.weight" "token_embd.weight" "blk.0.ffn_down.weight"
refute_out "model." "r2 r0"
[ "$(digest_of hf.safetensors)" != "$(digest_of gguf.safetensors)" ] || fail "other names to have another digest"
# and back: the same digest, through a file, a pipe and with many threads
expect_exit 0 "$OCTAVO" convert gguf.safetensors --names hf -o back.safetensors -T 5
same_digest hf.safetensors back.safetensors
octavo convert -q - --names hf -o - <gguf.safetensors >pipe.safetensors
same_digest hf.safetensors pipe.safetensors
octavo convert -q gguf.safetensors --names hf --shard-size 1MB -o shards
same_digest hf.safetensors shards
named() { octavo digest --names "$1" "$2" | cut -d' ' -f1; }
for n in hf gguf; do
    [ "$(named $n hf.safetensors)" = "$(named $n gguf.safetensors)" ] || fail "one digest with $n names"
    [ "$(named $n hf.safetensors)" = "$(digest_of $n.safetensors)" ] || fail "the digest that a file of $n names has"
done
gzip -c gguf.safetensors >gguf.gz
[ "$(named hf gguf.gz)" = "$(digest_of hf.safetensors)" ] || fail "the same from a stream"
# nothing happens where nothing is to be done
expect_exit 0 "$OCTAVO" convert "$MODEL" --names hf -o still.safetensors
same hf.safetensors still.safetensors

# Other verbs: what comes of the one comes of the other.
expect_exit 0 "$OCTAVO" verify "$MODEL" gguf.safetensors --names hf --require-exact
expect_exit 0 "$OCTAVO" verify gguf.safetensors "$MODEL" --names gguf --require-exact
expect_exit 0 "$OCTAVO" verify "$MODEL" gguf.safetensors --require-exact # names of two kinds are matched unasked
octavo quantize -q "$MODEL" -o q.safetensors
octavo quantize -q gguf.safetensors --names hf -o qn.safetensors
same_digest q.safetensors qn.safetensors
octavo quantize -q - --names hf -o - <gguf.safetensors >qp.safetensors
same_digest q.safetensors qp.safetensors
octavo quantize -q "$MODEL" -s int8-channel -o i.safetensors
octavo quantize -q gguf.safetensors --names hf -s int8-channel -o in.safetensors
same_digest i.safetensors in.safetensors
expect_exit 0 "$OCTAVO" ls gguf.safetensors --names hf
expect_out "model.layers.3.self_attn.q_proj.weight" "r2 r0 r1 c0 | r0=32 r1=2"
expect_err "39 tensors get Hugging Face names"
# a quantized model: its scales come along (heads of 64 rows lie in blocks of 128)
octavo dequantize -q q.safetensors -o d.safetensors
expect_exit 0 "$OCTAVO" dequantize q.safetensors --names gguf -o dn.safetensors
octavo convert -q dn.safetensors --names hf -o db.safetensors
same_digest d.safetensors db.safetensors
octavo dequantize -q i.safetensors -o di.safetensors
octavo dequantize -q i.safetensors --names gguf -o din.safetensors
octavo convert -q din.safetensors --names hf -o dib.safetensors
same_digest di.safetensors dib.safetensors
octavo convert -q i.safetensors --names gguf -o ci.safetensors
[ "$(named hf ci.safetensors)" = "$(digest_of i.safetensors)" ] || fail "scales of rows to follow their rows"
# --source is named alike
expect_exit 0 "$OCTAVO" quantize q.safetensors -s int8-channel --names hf --source gguf.safetensors -o s.safetensors
same_digest i.safetensors s.safetensors
# rules are about the new names
expect_exit 0 "$OCTAVO" convert gguf.safetensors --names hf --include 'model.layers.1.*' -o one.safetensors
[ "$(octavo ls -q one.safetensors | wc -l)" -eq 9 ] || fail "nine tensors of one layer"

# What is refused.
refused 2 convert "$MODEL" --names llama -o x.safetensors
expect_err "--names takes hf or gguf"
safetensors strange.safetensors '{"__metadata__":{"general.architecture":"llama"},"blk.0.attn_r.weight":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
printf abcd >>strange.safetensors
refused 3 convert strange.safetensors --names hf -o x.safetensors
expect_err "'blk.0.attn_r.weight' has no Hugging Face name"
refused 3 digest strange.safetensors --names hf
safetensors who.safetensors '{"blk.0.attn_q.weight":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
printf abcd >>who.safetensors
refused 3 ls who.safetensors --names hf
expect_err "nothing says which architecture"
absent x.safetensors

# One real model in three containers has one digest.
[ -n "$DATA" ] || skip "the rest needs ../shared/data"
a=$(named hf "$DATA/models/stories260K-hf")
[ "$a" = "$(named hf "$DATA/models/stories260K.f32.gguf")" ] || fail "the digest of the GGUF to be $a"
[ "$(named gguf "$DATA/models/stories260K-hf")" = "$(named gguf "$DATA/models/stories260K.f32.gguf")" ] || fail "one digest"
[ "$a" = "$(named hf "$DATA/models/stories260K.bin")" ] || fail "the digest of the file of llama2.c to be $a"
[ "$a" = "$(digest_of "$DATA/models/stories260K.bin")" ] || fail "its names to be those of Hugging Face"
[ "$a" = "$(cat "$DATA/models/stories260K.bin" | octavo digest - | cut -d' ' -f1)" ] || fail "the same from a pipe"
expect_exit 0 "$OCTAVO" convert "$DATA/models/stories260K.bin" -o stories
[ "$a" = "$(digest_of stories)" ] || fail "the digest of what was written to be $a"
grep -q '"num_key_value_heads": 4' stories/config.json || fail "a config.json made of the header"
valid_json stories/config.json
octavo convert -q - -o - <"$DATA/models/stories260K.bin" >stories-pipe.safetensors
[ "$a" = "$(digest_of stories-pipe.safetensors)" ] || fail "the same through pipes"
expect_exit 0 "$OCTAVO" verify "$DATA/models/stories260K.f32.gguf" "$DATA/models/stories260K-hf" --names hf --require-exact
expect_exit 0 "$OCTAVO" convert "$DATA/models/stories260K.f32.gguf" --names hf -o stories.safetensors
[ "$(digest_of stories.safetensors)" = "$a" ] || fail "the digest of what was written to be $a"
