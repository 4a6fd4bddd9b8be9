# quantize makes of the original what the generator made of it: two programs that share
# no line agree on every code and every scale.
. "$ROOT/tests/cli/lib.sh"
mini bf16 bf16
n=0
while read -r style tensors bytes cksum read options; do
    case $style$options in '#'* | *-) continue ;; esac
    mini "$style" m
    octavo quantize -q bf16 $options -o q || fail "quantize $options"
    same_digest m q
    rm -rf m q
    n=$((n + 1))
done <"$ROOT/tests/cli/mini/styles"
[ $n -ge 4 ] || fail "four styles that quantize can make"
