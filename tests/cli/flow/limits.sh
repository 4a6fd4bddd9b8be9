# A file that may not grow: a sentence and exit 4, no temporary file, whether the limit
# is the user's, the disk's or a full device.
. "$ROOT/tests/cli/lib.sh"
octavo quantize -q "$MODEL" -o q.safetensors
octavo pack -q q.safetensors -t ascend-950 -o q.octp
for command in "convert $MODEL -o x.safetensors" "quantize $MODEL -o x.safetensors" "quantize $MODEL -o xdir" \
    "convert $MODEL --shard-size 700K -o xdir" "pack q.safetensors -t ascend-950 -o x.octp" \
    "unpack q.octp -o x.safetensors" "dequantize q.safetensors -o xdir"; do
    got=0
    (ulimit -f 1000; exec "$OCTAVO" $command) >out 2>err || got=$?    # 512,000 bytes
    [ $got -eq 4 ] || { cat err; fail "exit 4 at a limit of the file's size, not $got: octavo $command"; }
    [ "$(wc -l <err)" -eq 1 ] || { cat err; fail "one sentence"; }
    no_temporary .
    absent x.safetensors xdir x.octp
done
# Few file descriptors: a sharded model is written all the same, or refused in a sentence.
got=0
(ulimit -n 32; exec "$OCTAVO" convert "$MODEL" --shard-size 30K -o many) >out 2>err || got=$?
case $got in
0) same_digest "$MODEL" many ;;
4) [ "$(wc -l <err)" -eq 1 ] && absent many ;;
*) cat err; fail "exit 0 or 4 with few descriptors, not $got" ;;
esac
no_temporary .
