# --resume: after kill -9 a run goes on where it was, with the bytes of a run that
# was not interrupted; finished shards are not written again.
. "$ROOT/tests/cli/lib.sh"
octavo convert -q "$MODEL" --shard-size 200KB -o in
octavo quantize -q in -o whole
n=$(ls whole | grep -c safetensors$)
[ "$n" -ge 15 ] || fail "enough shards, not $n"
# A run that is not interrupted leaves no journal.
octavo quantize -q in -o calm --resume
same_tree whole calm

# kill -9 after some shards are there.
tries=0
while :; do
    rm -rf out.dir
    OCTAVO_CPU=c "$OCTAVO" quantize -q -T 1 in -o out.dir --resume 2>err &
    pid=$!
    i=0
    while kill -0 $pid 2>/dev/null; do
        set -- out.dir/*.safetensors
        [ $# -lt 4 ] || break
    done
    kill -9 $pid 2>/dev/null || true
    wait $pid 2>/dev/null || true
    done_before=$(ls out.dir 2>/dev/null | grep -c 'safetensors$' || true)
    [ "$done_before" -lt 2 ] || [ "$done_before" -ge "$n" ] || break
    tries=$((tries + 1))
    [ $tries -lt 20 ] || fail "a run that could be killed in the middle ($done_before of $n shards)"
done
[ -e out.dir/.octavo-journal ] || fail "a journal in the middle"
cp -p out.dir/.octavo-journal journal
(cd out.dir && ls -i -- *.safetensors) >before

# Without --resume a directory that has something in it is refused; with other
# options the journal is of another job.
refused 2 quantize in -o out.dir
refused 2 quantize in --scheme mxfp8 -o out.dir --resume
expect_err journal
refused 2 quantize in --scale-rule floor -o out.dir --resume
same journal out.dir/.octavo-journal

expect_exit 0 "$OCTAVO" quantize in -o out.dir --resume
[ ! -e out.dir/.octavo-journal ] || fail "no journal at the end"
(cd out.dir && ls -i -- *.safetensors) >after
# Those in the journal are the same files: the same inode.
kept=0
while read -r sum name; do
    case $name in *.safetensors) ;; *) continue ;; esac
    kept=$((kept + 1))
    grep " $name\$" before >a
    grep " $name\$" after >b
    same a b
done <journal
[ $kept -ge 1 ] || { cat journal; fail "a finished shard in the journal"; }
# Temporary files of the killed run are no part of the result.
rm -f out.dir/*.octavo-*
same_tree whole out.dir
same_digest whole out.dir

# A shard that was damaged after it was finished is made again: digests, not names.
rm -rf again
cp -rp out.dir again
cp journal again/.octavo-journal
first=$(sed -n '2s/.*  //p' journal)
printf 'x' | dd of="again/$first" bs=1 seek=5000 conv=notrunc 2>/dev/null
expect_exit 0 "$OCTAVO" quantize in -o again --resume
same_tree whole again

# A source that was changed meanwhile is another job.
cp -rp in in2
rm -rf again
mkdir again
cp journal again/.octavo-journal
touch -d '2001-01-01 00:00:00' in/model-00001-*.safetensors
refused 2 quantize in -o again --resume
expect_err journal
# So is another scale rule, even for one pattern only.
rm -rf again
mkdir again
cp journal again/.octavo-journal
touch -r in2/model-00001-*.safetensors in/model-00001-*.safetensors
echo '*.q_proj.weight = fp8-ue8m0-128x128 floor' >rule
refused 2 quantize in -o again --rules rule --resume
expect_err journal
expect_exit 0 "$OCTAVO" quantize in -o again --resume
