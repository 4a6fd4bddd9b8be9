# PyTorch checkpoints: files of our own in the format before 1.6, which needs no CRC,
# made of the sample model; real files where they are present.
. "$ROOT/tests/cli/lib.sh"
str() { printf X; le32 ${#1}; printf %s "$1"; }
int() { printf J; le32 "$1"; }
tuple() { printf '('; for _n; do int "$_n"; done; printf t; }
ordered() { printf 'ccollections\nOrderedDict\n)R'; }
# view CLASS KEY NUMEL OFFSET "SIZE" "STRIDE"
view() {
    printf 'ctorch._utils\n_rebuild_tensor_v2\n(('
    str storage; printf 'ctorch\n%sStorage\n' "$1"; str "$2"; str cpu; int "$3"; printf 'NtQ'
    int "$4"; tuple $5; tuple $6; printf '\211'; ordered; printf 'tR'
}
begin() { # the three pickles before that of the tensors
    printf '\200\002\212\012\154\374\234\106\371\040\152\250\120\031.\200\002M\351\003.\200\002}'
    str little_endian; printf '\210s.\200\002'
}
keys() { printf '.\200\002]('; for _k; do str "$_k"; done; printf 'e.'; }

# ---- one small file --------------------------------------------------------------
bytes='\001\000\000\000\002\000\000\000\003\000\000\000\004\000\000\000\005\000\000\000\006\000\000\000'
{
    begin
    printf '}('
    str epoch; int 3
    str optimizer; printf '}'; str step; view Int b 1 0 "1" "1"; printf s
    str state_dict; ordered; printf '('
    str plain; view Int a 6 0 "2 3" "3 1"
    str turned; view Int a 6 0 "3 2" "1 3"
    printf 'uu'
    keys a b
    le64 6; printf "$bytes"; le64 1; printf '\007\000\000\000'
} >small.bin
safetensors small.safetensors '{"plain":{"dtype":"I32","shape":[2,3],"data_offsets":[0,24]},"turned":{"dtype":"I32","shape":[3,2],"data_offsets":[24,48]}}'
printf "$bytes"'\001\000\000\000\004\000\000\000\002\000\000\000\005\000\000\000\003\000\000\000\006\000\000\000' >>small.safetensors
same_digest small.bin small.safetensors
expect_exit 0 "$OCTAVO" ls --metadata small.bin
expect_out "# torch.epoch = 3" "# torch.left_out = optimizer (1 tensor)" "[2,3]" "[3,2]"
expect_err "left out: optimizer (1 tensor)"
# What is left out is said, and travels.
expect_exit 0 "$OCTAVO" convert small.bin -o out.safetensors
expect_err "left out: optimizer (1 tensor)"
same_digest small.safetensors out.safetensors
expect_exit 0 "$OCTAVO" ls --metadata out.safetensors
expect_out "# torch.left_out = optimizer (1 tensor)"
expect_exit 0 "$OCTAVO" verify small.safetensors small.bin --require-exact
expect_exit 0 "$OCTAVO" verify small.bin small.safetensors --require-exact
octavo convert -q small.bin -o - >pipe.safetensors
same_digest small.bin pipe.safetensors
octavo convert -q small.bin -T 3 -o threads.safetensors
same out.safetensors threads.safetensors

# A stream is refused with one sentence, and spooled when that is allowed.
piped() { _got=0; cat "$1" | "$OCTAVO" $2 >out 2>err || _got=$?; }
piped small.bin "ls -"
[ $_got -eq 3 ] || fail "exit 3 and not $_got"
[ "$(wc -l <err)" -eq 1 ] || fail "one sentence"
expect_err "standard input: is a PyTorch checkpoint" "--spool"
piped small.bin "convert - -o x.safetensors"
[ $_got -eq 3 ] || fail "exit 3 and not $_got"
expect_err "--spool"
piped small.bin "convert - --spool -q -o spooled.safetensors"
[ $_got -eq 0 ] || { cat err; fail "exit 0 and not $_got"; }
same_digest small.bin spooled.safetensors
gzip -c small.bin >small.gz
refused 3 digest small.gz
expect_err "small.gz: is a PyTorch checkpoint" "--spool"
octavo convert -q --spool small.gz -o gz.safetensors
same_digest small.bin gz.safetensors
absent x.safetensors

# Nothing is run, and nothing is lost.
{ begin; printf 'cos\nsystem\n'; str 'touch ran'; printf '\205R.\200\002].'; } >evil.bin
refused 3 ls evil.bin
expect_err "evil.bin" "'os.system'" "to load this file would run code"
[ ! -e ran ] || fail "a file that was not run"
{ begin; printf '(S'; printf "'touch ran'\nios\nsystem\n.\200\002]."; } >inst.bin
refused 3 convert inst.bin -o x.safetensors
expect_err "inst.bin" "the opcode 0x53 (STRING)"
sed 's/little_endian/little_Endian/' small.bin >order.bin
refused 3 ls order.bin
expect_err "big-endian"
n=$(size_of small.bin)
for cut in 5 20 100 300 $((n - 13)) $((n - 1)); do
    head -c $cut small.bin >cut.bin
    refused 3 digest cut.bin
done
{ cat small.bin; echo; } >long.bin
refused 3 digest long.bin
absent x.safetensors

# ---- the sample model as a checkpoint -----------------------------------------------
octavo ls -q "$MODEL" | awk '{ gsub(/[][]/, "", $3); gsub(/,/, " ", $3); print $1, $4, $3 }' >tensors
# bin FILE FIRST LAST: these lines of the list.
bin() {
    sed -n "$2,$3p" tensors >part
    {
        begin; ordered; printf '('
        while read -r name size shape; do
            set -- $shape
            stride=1
            [ $# -eq 1 ] || stride="$2 1"
            str "$name"; view BFloat16 "$name" $((size / 2)) 0 "$shape" "$stride"
        done <part
        printf u
        keys $(cut -d' ' -f1 part)
        while read -r name size shape; do
            octavo convert -q "$MODEL" --include "$name" -f -o one.safetensors
            le64 $((size / 2))
            tail -c "$size" one.safetensors
        done <part
    } >"$1"
}
mkdir whole shards
bin whole/pytorch_model.bin 1 39
cp "$MODEL/config.json" whole/
same_digest "$MODEL" whole whole/pytorch_model.bin
octavo quantize -q whole -o q
octavo quantize -q "$MODEL" -o want
same_digest want q
same want/config.json q/config.json
[ ! -e q/pytorch_model.bin ] || fail "weights that are not carried over"
expect_exit 0 "$OCTAVO" verify whole q --max-rel 0.03
octavo pack -q q -t ascend-950 -o q.octp
octavo dequantize -q q -o back
expect_exit 0 "$OCTAVO" verify whole back --max-rel 0.03

# Shards with an index; the output's are safetensors, and are called so.
bin shards/pytorch_model-00001-of-00002.bin 1 20
bin shards/pytorch_model-00002-of-00002.bin 21 39
awk 'BEGIN { printf "{\"metadata\":{},\"weight_map\":{" }
    { printf "%s\"%s\":\"pytorch_model-0000%d-of-00002.bin\"", (NR > 1 ? "," : ""), $1, (NR > 20 ? 2 : 1) }
    END { printf "}}" }' tensors >shards/pytorch_model.bin.index.json
cp "$MODEL/config.json" shards/
same_digest "$MODEL" shards shards/pytorch_model.bin.index.json
octavo quantize -q shards -o qs
same_digest want qs
[ "$(cd qs && echo *)" = "config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json" ] ||
    { ls qs; fail "two shards of safetensors, their index and config.json"; }

# An index lists all tensors of its files.
mkdir left
cp small.bin left/part.bin
echo '{"weight_map":{"plain":"part.bin","turned":"part.bin"}}' >left/pytorch_model.bin.index.json
refused 3 ls left
expect_err "left/part.bin" "optimizer (1 tensor)"

# Where both are, safetensors are taken.
cp out.safetensors whole/model.safetensors
same_digest out.safetensors whole
rm whole/model.safetensors whole/pytorch_model.bin
echo junk >whole/training_args.bin
refused 3 ls whole
expect_err "pytorch_model.bin"

# ---- real files ----------------------------------------------------------------------
[ -n "$DATA" ] && [ -d "$DATA/torch" ] || skip "files of our own passed; no shared data for real ones"
same_digest "$DATA/torch/rxnmapper_albert_pytorch_model.bin" "$DATA/models/rxnmapper_albert.safetensors"
expect_exit 0 "$OCTAVO" verify "$DATA/models/rxnmapper_albert.safetensors" "$DATA/torch/rxnmapper_albert_pytorch_model.bin" --require-exact
octavo quantize -q "$DATA/torch/rxnmapper_albert_pytorch_model.bin" -o a.safetensors
octavo quantize -q "$DATA/models/rxnmapper_albert.safetensors" -o b.safetensors
same_digest a.safetensors b.safetensors
# [2,3,4], the first dimension fastest, 1 to 24.
octavo convert -q "$DATA/torch/candle_fortran_tensor_3d.pth" -o f.safetensors
tail -c 192 f.safetensors | od -An -v -tu8 | tr -s ' ' '\n' | sed '/^$/d' >got
seq 24 >values
same values got
expect_exit 0 "$OCTAVO" verify "$DATA/torch/candle_fortran_tensor_3d.pth" f.safetensors --require-exact
expect_exit 0 "$OCTAVO" ls "$DATA/torch/candle_test.pt"
expect_out "test" "I64" "[2,4]"
piped "$DATA/torch/candle_test.pt" "digest -"
[ $_got -eq 3 ] || fail "exit 3 and not $_got"
