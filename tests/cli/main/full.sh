# What standard output cannot take is an error of every verb and of the help.
. "$ROOT/tests/cli/lib.sh"
octavo quantize -q "$MODEL" -o q.safetensors
octavo pack -q q.safetensors -t nvidia-sm90 -o p.octp
full() {
    got=0
    "$OCTAVO" "$@" >/dev/full 2>err || got=$?
    [ $got -eq 4 ] || fail "exit 4 and not $got on a full disk: octavo $*"
    expect_err "No space left on device"
}
full ls "$MODEL"
full ls --json "$MODEL"
full ls --tree p.octp
full digest "$MODEL"
full digest --tensors "$MODEL"
full targets
full targets --json
full targets ascend-950
full verify "$MODEL" q.safetensors
full verify --json "$MODEL" q.safetensors
full convert "$MODEL" -n
full quantize "$MODEL" -n --json
full dequantize q.safetensors -n
full pack q.safetensors -n -t ascend-950
full unpack p.octp -n
full convert "$MODEL" -o null: --json
for v in ls convert quantize dequantize verify pack unpack digest targets; do full $v --help; done
full --help
full --version
full completion bash
