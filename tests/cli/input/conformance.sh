# The conformance files of the safetensors and GGUF makers: what they accept is
# listed, what they reject is one sentence and exit 3.
. "$ROOT/tests/cli/lib.sh"
[ -n "$DATA" ] || skip "the conformance files are not here"
n=0 bad=0
tab=$(printf '\t')
for list in safetensors gguf; do
    dir=$DATA/$list-conformance
    while IFS=$tab read -r file size upstream verdict mode; do
        [ "$file" != file ] || continue
        n=$((n + 1)) got=0
        "$OCTAVO" ls "$dir/$file" >out 2>err || got=$?
        case $file in
        accept/*)
            # Or a header alone, which upstream accepts because it does not look for the data.
            case $mode in
            metadata_only) sound='file ends early' ;;
            *) sound='no such words' ;;
            esac
            [ $got -eq 0 ] || { [ $got -eq 3 ] && grep -q "$sound" err && [ "$(wc -l <err)" -eq 1 ]; } || { echo "$list $file: exit $got"; head -n 3 err; bad=$((bad + 1)); }
            ;;
        reject/*)
            [ $got -eq 3 ] && [ ! -s out ] && [ "$(wc -l <err)" -eq 1 ] ||
                { echo "$list $file: exit $got, $(wc -l <err) lines"; head -n 3 err; bad=$((bad + 1)); }
            # The same from a pipe.
            got=0
            "$OCTAVO" ls - <"$dir/$file" >out 2>err || got=$?
            [ $got -eq 3 ] || { echo "$list $file from a pipe: exit $got"; head -n 3 err; bad=$((bad + 1)); }
            ;;
        *) fail "a file that is accepted or rejected, not $file" ;;
        esac
    done <"$dir/EXPECTED.tsv"
done
[ $n -ge 38 ] || fail "the whole of both lists, not $n files"
[ $bad -eq 0 ] || fail "no verdict other than theirs: $bad of $n"
# A GGUF damaged in the wild claims strings of 74 GB.
for f in "$DATA"/gguf-corrupted/*.gguf; do
    expect_exit 3 timeout 10 "$OCTAVO" ls "$f"
    [ "$(wc -l <err)" -eq 1 ] || fail "one sentence for $f"
done
for f in "$DATA"/gguf-vocab/*.gguf; do expect_exit 0 "$OCTAVO" ls "$f"; done
