# A reader that goes away ends a listing quietly; a closed standard output is an
# error and not a file that is written by accident.
. "$ROOT/tests/cli/lib.sh"
# A listing longer than a pipe holds.
octavo quantize -q "$MODEL" --scheme mxfp8 -o q.safetensors
i=0 list=
while [ $i -lt 40 ]; do list="$list q.safetensors" i=$((i + 1)); done
{ got=0; "$OCTAVO" digest --tensors $list >fifo-free 2>err || got=$?; }
[ "$(size_of fifo-free)" -gt 100000 ] || fail "a long listing"
{ got=0; "$OCTAVO" digest --tensors $list 2>err || got=$?; echo $got >code; } | head -c 1 >/dev/null
[ ! -s err ] || { cat err; fail "no word about a reader that is gone"; }
[ "$(cat code)" -eq 4 ] || [ "$(cat code)" -eq 141 ] || fail "no success when nothing could be written: $(cat code)"

echo keep >victim
for command in "ls $MODEL" "targets" "digest $MODEL" "convert $MODEL -o -" "quantize $MODEL -n"; do
    got=0
    (exec "$OCTAVO" $command >&- 2>err) || got=$?
    [ $got -eq 4 ] || fail "exit 4 with a closed standard output, not $got: octavo $command"
done
# With standard output and error closed the first file opened must not become one of them.
(exec "$OCTAVO" quantize "$MODEL" -o q2.safetensors --scheme mxfp8 >&- 2>&-) || fail "to write a file with closed standard streams"
same q.safetensors q2.safetensors
(exec "$OCTAVO" quantize "$MODEL" -o q3.safetensors --scheme mxfp8 >&- 2>&- <&-) || fail "to write a file with all standard streams closed"
same q.safetensors q3.safetensors
