# Miniatures in every style: the generator keeps its word, and what octavo reads of them
# is what the generator, which shares no line with it, says it is.
. "$ROOT/tests/cli/lib.sh"
table=$ROOT/tests/cli/mini/styles
sed '/^#/d; s/ .*//' "$table" >rows
mini --list >listed
sed 's/ .*//' listed >names
same rows names

# apart: tensors of one module lie in different files, as they do in the wild.
apart() {
    sed 's/.*"name":"\([^"]*\)\.[^".]*".*"file":"\([^"]*\)".*/\1 \2/' lines | sort -u |
        cut -d" " -f1 | uniq -d | grep -q .
}
# right MODEL: it has the values of the reference, as exactly as $read says.
right() {
    case $read in
    exact) octavo verify -q --require-exact ref "$1" >out 2>err ;;
    *) octavo verify -q --max-rel=1e-6 ref "$1" >out 2>err ;;
    esac || { tail -n 3 out; cat err; fail "$style: $1 to have the values of the reference"; }
}

while read -r style tensors bytes cksum read options; do
    case $style in '#'*) continue ;; esac
    mini --reference ref "$style" m || fail "$style to be made"
    octavo ls -q --json m >lines || fail "$style to be listed"
    n=$(wc -l <lines)
    [ "$n" -eq "$tensors" ] || fail "$style to have $tensors tensors, not $n"
    n=$(sed 's/.*"bytes":\([0-9]*\).*/\1/' lines | awk '{ s += $1 } END { printf "%.0f", s }')
    [ "$n" -eq "$bytes" ] || fail "$style to have $bytes bytes, not $n"
    n=$(cat ref m/* | cksum | cut -d' ' -f1)
    [ "$n" = "$cksum" ] || fail "$style to have cksum $cksum, not $n"
    for f in m/*config.json m/*description.json; do [ ! -f "$f" ] || valid_json "$f"; done
    [ "$(ls m/*.safetensors | wc -l)" -ge 3 ] || fail "$style in three files or more"
    [ "$style" = bf16 ] || apart || fail "$style to have tensors that belong together in different files"

    if [ "$read" = any ] && ! octavo dequantize -n -o none m >out 2>err; then
        refused 3 dequantize -o none m
        absent none
    else
        right m
        octavo dequantize -q --dtype f32 -o back.safetensors m
        right back.safetensors
    fi
    rm -rf m ref back.safetensors
done <"$table"

# Another seed, other values; usage.
mini --seed 2 v3 a
mini --seed 1 v3 b
mini v3 c
same_tree b c
! cmp -s a/model-00001-of-000004.safetensors b/model-00001-of-000004.safetensors || fail "another seed to give other values"
expect_exit 2 mini
expect_exit 2 mini no-such-style d
expect_exit 2 mini v3
expect_exit 4 mini v3 a
expect_err "a: File exists"
absent d
