# Shards, single files, compressed files, filters: nothing is lost on the way.
. "$ROOT/tests/cli/lib.sh"
octavo convert -q "$MODEL" -o dir
same_digest "$MODEL" dir
same "$MODEL/config.json" dir/config.json
same "$MODEL/README.md" dir/README.md            # companions are carried

octavo convert -q "$MODEL" --shard-size 1MB -o shards
[ -s shards/model.safetensors.index.json ] || fail "an index"
valid_json shards/model.safetensors.index.json
n=$(ls shards | grep -c '^model-0000[0-9]-of-0000[0-9]\.safetensors$')
[ "$n" -ge 5 ] || fail "at least five shards, not $n"
for f in shards/*.safetensors; do
    [ "$(size_of "$f")" -le 1010000 ] || fail "$f of at most 1 MB and a header"
done
grep -q '"total_size": 4690432' shards/*.index.json || fail "the sum of the tensors in the index"
same_digest "$MODEL" shards
# Through shards of other sizes and back into one file: the same bytes as at once.
octavo convert -q shards --shard-size 300KB -o smaller
[ "$(ls smaller | grep -c 'safetensors$')" -gt "$n" ] || fail "more shards"
octavo convert -q smaller -o back.safetensors
octavo convert -q "$MODEL" -o one.safetensors
octavo convert -q dir -o two.safetensors
same_digest one.safetensors smaller back.safetensors two.safetensors
# A sharded source keeps its shards unless told otherwise.
octavo convert -q shards -o copy
same_tree shards copy
# Very many shards.
octavo convert -q "$MODEL" --shard-size 1K -o many
same_digest "$MODEL" many

# Compressed input is undone by content, not by name.
gzip -c one.safetensors >one.safetensors.bin
octavo convert -q one.safetensors.bin -o gz.safetensors
same one.safetensors gz.safetensors
octavo convert -q - -o - <one.safetensors.bin >gzpipe.safetensors
same_digest one.safetensors gzpipe.safetensors
head -c 1000000 one.safetensors.bin >cut.bin
refused 3 convert cut.bin -o x.safetensors
absent x.safetensors
if command -v zstd >/dev/null 2>&1; then
    zstd -q -c one.safetensors >one.zst
    octavo convert -q one.zst -o zst.safetensors
    same one.safetensors zst.safetensors
    head -c 1000000 one.zst >cut.zst
    refused 3 convert cut.zst -o x.safetensors
    absent x.safetensors
fi

# Filters.
expect_exit 0 "$OCTAVO" convert "$MODEL" --include '*norm*' -o norms.safetensors
[ "$(octavo ls -q norms.safetensors | wc -l)" -eq 9 ] || fail "nine norms"
expect_exit 0 "$OCTAVO" convert "$MODEL" --exclude '*norm*' -o rest.safetensors
[ "$(octavo ls -q rest.safetensors | wc -l)" -eq 30 ] || fail "thirty others"
octavo ls -q norms.safetensors | cut -d' ' -f1 >a
octavo ls -q rest.safetensors | cut -d' ' -f1 >>a
octavo ls -q "$MODEL" | cut -d' ' -f1 >b
sort a >c
same b c

# The input is not overwritten, by any of its names.
refused 2 convert one.safetensors -f -o one.safetensors
ln one.safetensors link.safetensors
refused 2 convert one.safetensors -f -o link.safetensors
refused 2 convert dir -f -o dir/
same two.safetensors one.safetensors
# A directory that has something in it is refused without -f.
refused 2 convert "$MODEL" -o dir
expect_exit 0 "$OCTAVO" convert "$MODEL" -f -o dir
same_digest "$MODEL" dir
refused 2 convert "$MODEL" -o x.safetensors --shard-size 1MB
refused 2 convert "$MODEL" -o x.safetensors --resume
refused 2 convert "$MODEL" -o x.safetensors --shard-size 1parsec
refused 2 convert "$MODEL" -o xdir --shard-size 0
refused 2 convert "$MODEL" -o xdir --shard-size -1
absent xdir
absent x.safetensors
no_temporary .
