# A GGUF model in three parts, of which the first has keys alone: one model, by its
# first file or its directory; what is missing or misplaced is one sentence.
. "$ROOT/tests/cli/lib.sh"
str() { le64 ${#1}; printf %s "$1"; }
part() { # part FILE NUMBER TENSOR...: each Q4_K [1,256], d = 1, every scale 1, every code NUMBER
    _file=$1 _no=$2
    shift 2
    {
        printf GGUF
        le32 3; le64 $#; le64 4
        str general.architecture; le32 8; str llama
        str split.no; le32 2; le "$_no" 2
        str split.count; le32 2; le 3 2
        str split.tensors.count; le32 5; le32 3
        _at=0
        for _t; do
            str "$_t"; le32 2; le64 256; le64 1; le32 12; le64 $_at
            _at=$((_at + 160))
        done
    } >"$_file"
    for _t; do
        zeros $(((32 - $(size_of "$_file") % 32) % 32)) >>"$_file"
        # d 1, dmin 0, six-bit scales 1 and minima 0, nibbles
        { printf '\000\074\000\000\001\001\001\001\000\000\000\000\001\001\001\001'
          repeat 128 "\\$(printf %03o $((_no * 17)))"; } >>"$_file"
    done
}
mkdir m
part m/m-00001-of-00003.gguf 0
part m/m-00002-of-00003.gguf 1 blk.0.ffn_up.weight blk.0.ffn_down.weight
part m/m-00003-of-00003.gguf 2 blk.0.ffn_gate.weight
for model in m m/m-00001-of-00003.gguf; do
    expect_exit 0 "$OCTAVO" ls "$model"
    [ "$(wc -l <out)" -eq 3 ] || fail "three tensors"
    expect_out "blk.0.ffn_up.weight" "blk.0.ffn_gate.weight" "Q4_K" "[1,256]"
done
same_digest m m/m-00001-of-00003.gguf

# One file, and its values; or shards for the parts that have tensors.
octavo dequantize -q m --dtype f32 -o f32.safetensors
octavo convert -q f32.safetensors --include '*ffn_gate*' -o t.safetensors
[ "$(tail -c 1024 t.safetensors | od -An -v -tf4 | tr -s ' ' '\n' | sort -u | tr -d '\n')" = 2 ] || fail "256 times 2"
octavo dequantize -q m --dtype f32 -o dir/
[ "$(ls dir | tr '\n' ' ')" = "model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json " ] ||
    { ls dir; fail "two shards and their index"; }
same_digest f32.safetensors dir
octavo quantize -q m -o fp8/
expect_exit 0 "$OCTAVO" verify m fp8 --max-rel 0.001

part one.gguf 0
refused 3 ls one.gguf
expect_err "one.gguf: is part 1 of 3" "-00001-of-00003.gguf"

refused 3 ls m/m-00002-of-00003.gguf
expect_err "is part 2 of 3" "m/m-00001-of-00003.gguf"
mv m/m-00003-of-00003.gguf away
refused 3 ls m
expect_err "m/m-00003-of-00003.gguf: is missing"
cp m/m-00002-of-00003.gguf m/m-00003-of-00003.gguf
refused 3 quantize m -o x/
expect_err "m/m-00003-of-00003.gguf" "split.no"
mv away m/m-00003-of-00003.gguf
_got=0
"$OCTAVO" ls - <m/m-00001-of-00003.gguf >out 2>err || _got=$?
[ $_got -eq 3 ] || fail "exit 3 for a part on standard input, not $_got"
expect_err "standard input: is part 1 of 3"
cp m/m-00001-of-00003.gguf m/other.gguf
refused 3 ls m
expect_err "which one?" "other.gguf"
absent x
