# --require-exact is exit 1 and no file where a value would change, and exit 0 where
# none does; the known exact paths from one scheme to another are exact.
. "$ROOT/tests/cli/lib.sh"
refused 1 quantize "$MODEL" -o x.safetensors --require-exact
absent x.safetensors
refused 1 quantize "$MODEL" -o xdir --require-exact
absent xdir
got=0
"$OCTAVO" quantize "$MODEL" -o - --require-exact >out 2>err || got=$?
[ $got -eq 1 ] && [ ! -s out ] || fail "exit 1 and nothing on a pipe, not $got"

octavo quantize -q "$MODEL" -o q
octavo dequantize -q q -o b
expect_exit 0 "$OCTAVO" dequantize q -o b2 --require-exact
expect_exit 0 "$OCTAVO" quantize b -o q2 --require-exact
expect_exit 0 "$OCTAVO" verify q q2 --require-exact
# 128 x 128 UE8M0 to one scale per 32 columns, and to names of other conventions. 464
# columns end in half a group, which no server takes: only when it is asked for by name.
refused 3 quantize q --scheme mxfp8 -o mx
expect_err "down_proj.weight [256,464]" "groups of 32" "--include"
absent mx
whole=--include=*.down_proj.*
expect_exit 0 "$OCTAVO" quantize q --scheme mxfp8 "$whole" -o mx --require-exact
expect_exit 0 "$OCTAVO" verify q mx --require-exact
expect_exit 0 "$OCTAVO" quantize q --convention deepseek-v4 -o v4 --require-exact
expect_exit 0 "$OCTAVO" verify q v4 --require-exact
expect_exit 0 "$OCTAVO" quantize v4 --convention deepseek -o v3
same_digest q v3
expect_exit 0 "$OCTAVO" quantize q --target ascend-950 "$whole" -o asc --require-exact
expect_exit 0 "$OCTAVO" verify q asc --require-exact
# There is no exact way from UE8M0 codes to INT8: refused, not done silently.
refused 3 quantize q --scheme int8-channel -o i8
expect_err allow-requantize
absent i8
