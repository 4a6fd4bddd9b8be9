# convert | quantize | pack gives the bytes of the same steps through files, with any
# number of threads and with any kernels.
. "$ROOT/tests/cli/lib.sh"
octavo convert -q "$MODEL" -o a.safetensors
octavo quantize -q a.safetensors -o b.safetensors
octavo pack -q b.safetensors --target ascend-950 -o files.octp
octavo convert -q "$MODEL" -o adir
octavo quantize -q adir -o bdir
octavo pack -q bdir --target ascend-950 -o dirs.octp
same files.octp dirs.octp
flow() { # flow NAME OPTION...
    name=$1
    shift
    octavo convert -q "$MODEL" -o - "$@" | octavo quantize -q - -o - "$@" | octavo pack -q - --target ascend-950 -o "$name" "$@"
    same files.octp "$name"
}
flow pipe.octp
flow t1.octp -T 1
flow t8.octp -T 8
OCTAVO_CPU=c
export OCTAVO_CPU
flow c.octp
flow c1.octp -T 1
octavo quantize -q a.safetensors -o c.safetensors
same b.safetensors c.safetensors
unset OCTAVO_CPU
# Every stage on its own, each with its stream, gives one and the same stream.
octavo convert -q "$MODEL" -o - >s0
for t in 1 2 8; do
    octavo quantize -q - -o - -T $t <s0 >s1.$t
    same s1.1 s1.$t
    octavo pack -q - -t ascend-950 -o - -T $t <s1.1 >s2.$t
    same s2.1 s2.$t
done
same_digest files.octp s2.1
# And with the chip named from the beginning: its own scheme.
octavo quantize -q "$MODEL" --target ascend-950 -o own.safetensors
octavo pack -q own.safetensors --target ascend-950 -o own.octp
octavo convert -q "$MODEL" -o - | octavo quantize -q - --target ascend-950 -o - | octavo pack -q - --target ascend-950 -o ownpipe.octp
same own.octp ownpipe.octp
# OCTAVO_CPU names what it does not know.
got=0
OCTAVO_CPU=abacus "$OCTAVO" quantize "$MODEL" -o x.safetensors 2>err >out || got=$?
[ $got -ne 0 ] || fail "no success with OCTAVO_CPU=abacus"
expect_err abacus
absent x.safetensors
# A stage that dies in the middle leaves no file of the last one.
{ head -c 2000000 s0; } | octavo quantize -q - -o - 2>/dev/null | { got=0; "$OCTAVO" pack -q - -t ascend-950 -o x.octp 2>err || got=$?; echo $got >code; }
[ "$(cat code)" -eq 3 ] || fail "exit 3 at the end of a broken pipe, not $(cat code)"
absent x.octp
