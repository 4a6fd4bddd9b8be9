# A tensor's name is not trusted: no control character of it reaches a terminal, and
# it adds no line to a listing. JSON and the files keep it as it is.
. "$ROOT/tests/cli/lib.sh"
safetensors n.safetensors '{"a\n\"b\u001b[31m\u00e9 \u007fc.weight":{"dtype":"F32","shape":[1,16],"data_offsets":[0,64]}}'
zeros 64 >>n.safetensors
clean() { # clean COMMAND...: neither output holds a control character but the newline
    got=0
    "$OCTAVO" "$@" >out 2>err || got=$?
    for f in out err; do
        n=$(tr -d '\n' <$f | tr -cd '\000-\037\177' | wc -c)
        [ "$n" -eq 0 ] || { cat -v $f; fail "no control character from octavo $*"; }
        ! grep -q '^"b' $f || { cat -v $f; fail "no name over two lines from octavo $*"; }
    done
}
clean ls n.safetensors
clean ls --tree n.safetensors
clean quantize n.safetensors -n -o q
clean quantize n.safetensors -v -o q
[ $got -eq 0 ] || { cat err; fail "exit 0"; }
clean verify -v n.safetensors q
clean verify -v --require-exact n.safetensors q
clean digest --tensors n.safetensors
clean pack q -t nvidia-sm90 -n -o q.octp
clean pack q -t nvidia-sm90 -v -o q.octp
clean ls q.octp
clean unpack q.octp -o back
clean dequantize q -v -o bf16
clean convert n.safetensors -n -o x
clean convert n.safetensors --exclude '*' -o x.safetensors
sed 's/F32/F31/' n.safetensors >bad.safetensors
clean ls bad.safetensors
[ $got -eq 3 ] || fail "exit 3"
same_digest q q.octp back
octavo ls --json q >lines
valid_json_lines lines
head -n 1 lines | grep -qF 'a\n\"b\u001b[31m' || { cat lines; fail "the name in JSON"; }
octavo digest --json --tensors q >lines
valid_json_lines lines
octavo verify --json n.safetensors q >json
valid_json json
valid_json q/config.json
# No text of the input either: metadata and companions' names.
safetensors m.safetensors '{"__metadata__":{"k\u001b[1m":"v\u001b[2m\nw"},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
zeros 1 >>m.safetensors
clean ls --metadata m.safetensors
[ $got -eq 0 ] || fail "exit 0"
