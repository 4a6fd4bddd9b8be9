. "$ROOT/tests/cli/lib.sh"
expect_exit 0 "$OCTAVO" targets
ids=$(awk '{ print $1 }' out)
for want in ascend-910b ascend-910c ascend-950 cambricon-mlu kunlunxin-p800 kunlunxin-r480 hygon-k100ai hygon-bw1000 \
    hygon-bw1100 musa-mp31 musa-mp22 metax-c500 metax-c600 enflame-gcu300 enflame-gcu400 biren-br1xx biren-br2xx \
    biren-br288 iluvatar-bi lisuan-7g chana-tpu verisilicon-vip nvidia-sm80-marlin nvidia-sm90 nvidia-sm100 \
    nvidia-trtllm-w8a16 kunlunxin-fp8 iluvatar-fp8 lisuan-fp8 zhonghao-fp8; do
    case " $(echo $ids) " in *" $want "*) ;; *) fail "the target $want" ;; esac
done
for id in $ids; do
    expect_exit 0 "$OCTAVO" targets "$id"
    expect_out "$id" evidence forms sources weight scale
    expect_exit 0 "$OCTAVO" targets --json "$id"
    valid_json out
    # What is printed is a description that --target-file takes.
    cp out "$id.json"
    expect_exit 0 "$OCTAVO" targets --target-file "$id.json"
    octavo targets "$id" >a
    same a out
    same "$id.json" "$ROOT/formats/targets/$id.json"
done
expect_exit 0 "$OCTAVO" targets --json
grep -c '^{' out | grep -qx "$(echo $ids | wc -w)" || fail "one JSON text per target"
refused 2 targets no-such-chip
expect_err no-such-chip

# A description of one's own: quantize and pack take it, faults are named.
sed 's/"id": "ascend-950"/"id": "my-chip"/' ascend-950.json >my-chip.json
octavo quantize -q "$MODEL" --target-file my-chip.json -o q
octavo pack -q q --target-file my-chip.json -o mine.octp
octavo unpack -q mine.octp -o back
same_digest q mine.octp back
echo '{"id": "x"}' >x.json
refused 3 targets --target-file x.json
expect_err x.json
echo 'not json' >x.json
refused 3 targets --target-file x.json
sed 's/c0=2/c0=2 c7/' ascend-950.json >ascend-950-x.json
refused 3 targets --target-file ascend-950-x.json
refused 3 targets --target-file nowhere.json
refused 3 quantize "$MODEL" --target-file x.json -n
