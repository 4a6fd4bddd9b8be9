# GGUF as output: container, keys, what is refused.
. "$ROOT/tests/cli/lib.sh"
str() { le64 ${#1}; printf %s "$1"; }
key() { str "$1"; le32 "$2"; } # key NAME TYPE: the value follows
info() { # info NAME TYPE OFFSET COLS [ROWS]
    str "$1"
    if [ $# -eq 5 ]; then le32 2; le64 "$4"; le64 "$5"; else le32 1; le64 "$4"; fi
    le32 "$2"
    le64 "$3"
}
# A file of alignment 64 that is part 1 of 1, with blocks and a BF16 vector.
{
    printf GGUF
    le32 3; le64 3; le64 6
    key general.architecture 8; str llama
    key general.alignment 4; le32 64
    key split.no 2; le 0 2
    key split.count 2; le 1 2
    key tokens 9; le32 8; le64 2; str a; str bc
    key general.file_type 4; le32 15
    info norm.weight 30 0 4
    info q.weight 8 64 32 2
    info k.weight 12 192 256 1
} >g.gguf
zeros $(((64 - $(size_of g.gguf) % 64) % 64)) >>g.gguf
{ printf '\200\077\000\100\100\300\001\000'; zeros 56; } >>g.gguf       # 1 2 -3 and a subnormal number
{ printf '\000\074'; repeat 32 '\005'; printf '\000\100'; repeat 32 '\377'; zeros 60; } >>g.gguf
{ printf '\000\074\000\074'; repeat 140 '\021'; zeros 48; } >>g.gguf

# Keys in their order without those of the file, alignment 32, tensors as they were.
octavo convert -q g.gguf -o got.gguf
{
    printf GGUF
    le32 3; le64 3; le64 3
    key general.architecture 8; str llama
    key tokens 9; le32 8; le64 2; str a; str bc
    key general.file_type 4; le32 15
    info norm.weight 30 0 4
    info q.weight 8 32 32 2
    info k.weight 12 128 256 1
} >want.gguf
zeros $(((32 - $(size_of want.gguf) % 32) % 32)) >>want.gguf
{ printf '\200\077\000\100\100\300\001\000'; zeros 24; } >>want.gguf
{ printf '\000\074'; repeat 32 '\005'; printf '\000\100'; repeat 32 '\377'; zeros 28; } >>want.gguf
{ printf '\000\074\000\074'; repeat 140 '\021'; zeros 16; } >>want.gguf
same want.gguf got.gguf
octavo convert -q got.gguf -o again.gguf
same got.gguf again.gguf
same_digest g.gguf got.gguf
# A pipe has the same bytes, whatever the threads.
for t in 1 3; do
    octavo convert -q g.gguf -o - --container gguf -T $t >piped
    same want.gguf piped
    octavo convert -q - -o - --container gguf -T $t <g.gguf >piped
    same want.gguf piped
done

# Values: the type of the file is what is in it now.
octavo dequantize -q g.gguf -o f.gguf --dtype f32
expect_exit 0 "$OCTAVO" ls --json f.gguf
refute_out Q8_0 Q4_K BF16
expect_exit 0 "$OCTAVO" verify g.gguf f.gguf --max-rel 0
grep -aq general.quantization_version f.gguf || fail "a quantization version"
octavo dequantize -q g.gguf -o h.gguf --dtype f32 --exclude 'q.*'
expect_exit 0 "$OCTAVO" ls --json h.gguf
expect_out Q8_0
refute_out Q4_K

# The sample model: nothing changes but vectors, which are F32.
octavo convert -q "$MODEL" -o m.gguf 2>err
octavo dequantize -q "$MODEL" -o f32.safetensors --dtype f32
expect_exit 0 "$OCTAVO" verify f32.safetensors m.gguf --names hf --max-rel 0
octavo convert "$MODEL" -o m2.gguf 2>err
expect_err "no tokenizer"
same m.gguf m2.gguf
octavo convert -q "$MODEL" --exclude '*norm*' -o plain.safetensors
expect_exit 0 "$OCTAVO" convert plain.safetensors --names hf -o plain.gguf
expect_err "general.architecture"
same_digest plain.safetensors plain.gguf
octavo convert -q plain.gguf -o back.safetensors
same_digest plain.safetensors back.safetensors

# Keys from elsewhere: those of another file, then those of an object.
octavo convert -q plain.safetensors --gguf-metadata g.gguf -o k.gguf
grep -aq tokens k.gguf || fail "the keys of the other file"
! grep -aq general.alignment k.gguf || fail "no alignment of another file"
cat >k.json <<'END'
{"general.architecture": "mistral", "mistral.block_count": 2, "mistral.rope.freq_base": 1e4,
 "tokenizer.ggml.scores": [0, -1.5], "general.tags": ["a", "b"], "tokenizer.ggml.add_bos_token": true}
END
octavo convert -q plain.safetensors --gguf-metadata k.json --gguf-metadata g.gguf -o k2.gguf
grep -aq tokens k2.gguf && grep -aq mistral.block_count k2.gguf && ! grep -aq llama k2.gguf || fail "both sorts of keys"
octavo convert -q g.gguf --gguf-metadata k.json -o k3.gguf
grep -aq tokens k3.gguf && grep -aq mistral.block_count k3.gguf || fail "the keys of the source, too"
octavo convert -q g.gguf --gguf-metadata m.gguf -o k4.gguf
! grep -aq tokens k4.gguf || fail "the keys of another file instead of those of the source"
echo '{"a": null}' >bad.json
refused 3 convert g.gguf --gguf-metadata bad.json -o x.gguf
expect_err "bad.json" "'a'" "null"
refused 3 convert g.gguf --gguf-metadata plain.safetensors -o x.gguf
expect_err "plain.safetensors"
refused 3 convert g.gguf --gguf-metadata no-such-file -o x.gguf
expect_err "no-such-file"
refused 2 convert g.gguf --gguf-metadata k.json -o x.safetensors
expect_err "--gguf-metadata"

# What GGUF has no place for.
octavo quantize -q "$MODEL" -o q
refused 3 convert q -o x.gguf
expect_err "fp8-ue8m0-128x128" "dequantize"
octavo dequantize -q q -o d.gguf
expect_exit 0 "$OCTAVO" verify "$MODEL" d.gguf --names hf --min-sqnr 25
one() { # one TYPE SHAPE BYTES [NAME]
    safetensors x.safetensors "{\"${4-mask}\":{\"dtype\":\"$1\",\"shape\":$2,\"data_offsets\":[0,$3]}}"
    zeros "$3" >>x.safetensors
}
for type in BOOL U8; do
    one $type '[4]' 4
    refused 3 convert x.safetensors -o x.gguf
    expect_err "'mask'" $type "--exclude"
done
one F32 '[1,1,1,1,1]' 4
refused 3 convert x.safetensors -o x.gguf
expect_err "'mask'" "4 dimensions"
one F32 '[2,0]' 0
refused 3 convert x.safetensors -o x.gguf
expect_err "'mask'" "without elements"
one F32 '[1]' 4 "model.layers.10.a.name.that.is.longer.than.any.reader.of.GGUF.takes"
refused 3 convert x.safetensors -o x.gguf
expect_err "bytes" "63"
refused 3 convert x.safetensors -o - --container gguf
for type in F64 I64 I32 I16 I8; do
    case $type in *64) n=8 ;; *32) n=4 ;; *16) n=2 ;; *) n=1 ;; esac
    one $type '[1]' $n
    octavo convert -q x.safetensors -f -o i.gguf
    same_digest x.safetensors i.gguf
done

# The line of command.
refused 2 convert g.gguf -o x.gguf --container safetensors
expect_err "do not agree"
refused 2 convert g.gguf -o x.safetensors --container gguf
refused 2 convert g.gguf -o x.gguf --container zip
expect_err "'zip'"
refused 2 convert g.gguf -o x/ --container gguf
expect_err "one file"
refused 2 convert g.gguf -o x.gguf --shard-size 1MB
refused 2 pack q --target ascend-950 -o x.gguf
expect_err "does not write GGUF"
absent x.gguf x
no_temporary .

writer_manners convert plain.safetensors n.gguf --container gguf

# --dtype, when it is given, is the type of all matrices of a GGUF: exact where it can be, counted where not.
for t in f32 f16 bf16; do
    expect_exit 0 "$OCTAVO" dequantize "$MODEL" --dtype $t -o all.$t.gguf
    cp err said
    octavo ls -q all.$t.gguf >list
    [ "$(awk '{ print $2 }' list | sort -u | tr -d '\n' | sed 's/F32//')" = "$(echo $t | tr a-z A-Z | sed 's/F32//')" ] ||
        { cat list; fail "matrices in $t, vectors in F32"; }
    case $t in
    f16)
        grep -q "29 rounded" said || { cat said; fail "29 matrices to be rounded"; }
        expect_exit 1 "$OCTAVO" verify "$MODEL" all.$t.gguf --names hf --require-exact
        expect_exit 0 "$OCTAVO" verify "$MODEL" all.$t.gguf --names hf --min-sqnr 60
        ;;
    *) expect_exit 0 "$OCTAVO" verify "$MODEL" all.$t.gguf --names hf --require-exact ;;
    esac
done
octavo dequantize -q "$MODEL" -o as-it-is.gguf
octavo convert -q "$MODEL" -o carried.gguf
same carried.gguf as-it-is.gguf
