# A signal in the middle of a run leaves no temporary file, and nothing half done
# under the name of the output; an ignored signal stays ignored.
. "$ROOT/tests/cli/lib.sh"
env --default-signal=INT true 2>/dev/null || skip "env of this system cannot set signals"
# 256 MB of BF16 zeros in 8 tensors.
rows=8192 cols=2048 n=8
h=
i=0
while [ $i -lt $n ]; do
    h="$h${h:+,}\"model.layers.$i.mlp.up_proj.weight\":{\"dtype\":\"BF16\",\"shape\":[$rows,$cols],\"data_offsets\":[$((i * rows * cols * 2)),$(((i + 1) * rows * cols * 2))]}"
    i=$((i + 1))
done
safetensors big.safetensors "{$h}"
truncate -s $((8 + ${#h} + 2 + n * rows * cols * 2)) big.safetensors
expect_exit 0 "$OCTAVO" ls big.safetensors

# kill_when SIGNAL OUTPUT COMMAND...: sends it as soon as a temporary file is there.
kill_when() {
    sig=$1 out=$2
    shift 2
    env --default-signal=INT,TERM,HUP "$@" >said 2>err &
    pid=$!
    while kill -0 $pid 2>/dev/null; do
        set -- "$out"/*.octavo-* "$out".octavo-*
        [ ! -e "$1" ] && [ ! -e "$2" ] || break
    done
    kill -"$sig" $pid 2>/dev/null || true
    got=0
    wait $pid || got=$?
}
# nohup means nohup.
kill_when HUP x.safetensors env --ignore-signal=HUP OCTAVO_CPU=c "$OCTAVO" quantize -q --no-sync -T 1 big.safetensors -o x.safetensors
[ $got -eq 0 ] && [ -s x.safetensors ] || fail "SIGHUP to stay ignored (exit $got)"
rm -f x.safetensors
for case in TERM:143 INT:130 HUP:129; do
    # -T 1 and C kernels: slow, so that the signal comes in the middle.
    tries=0
    while :; do
        kill_when ${case%:*} x.safetensors env OCTAVO_CPU=c "$OCTAVO" quantize -q --no-sync -T 1 big.safetensors -o x.safetensors
        [ $got -eq 0 ] || break
        tries=$((tries + 1))
        [ $tries -lt 5 ] || fail "a run that lasts long enough for a signal"
        rm -f x.safetensors
    done
    [ $got -eq "${case#*:}" ] || { cat err; fail "exit ${case#*:} after SIG${case%:*}, not $got"; }
    absent x.safetensors
    no_temporary .

    tries=0
    while :; do
        kill_when ${case%:*} xdir env OCTAVO_CPU=c "$OCTAVO" quantize -q --no-sync -T 1 big.safetensors --shard-size 20MB -o xdir
        [ $got -eq 0 ] || break
        tries=$((tries + 1))
        [ $tries -lt 5 ] || fail "a run that lasts long enough for a signal"
        rm -rf xdir
    done
    [ $got -eq "${case#*:}" ] || { cat err; fail "exit ${case#*:} after SIG${case%:*}, not $got"; }
    no_temporary .
    [ -z "$(ls -A xdir 2>/dev/null)" ] || { ls -la xdir; fail "nothing in the output directory"; }
    rm -rf xdir
done
# An existing file with -f is what it was.
echo mine >x.safetensors
kill_when TERM x.safetensors env OCTAVO_CPU=c "$OCTAVO" quantize -q --no-sync -f -T 1 big.safetensors -o x.safetensors
if [ $got -ne 0 ]; then
    [ "$(cat x.safetensors)" = mine ] || fail "the old file after a signal"
fi
no_temporary .
rm -f x.safetensors
