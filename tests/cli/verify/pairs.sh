# Pairs in two formats that are known to be the same to the bit, or to differ by what is known.
. "$ROOT/tests/cli/lib.sh"
exact() { # exact REFERENCE MODEL OPTION...
    _a=$1 _b=$2
    shift 2
    expect_exit 0 "$OCTAVO" verify "$_a" "$_b" --require-exact "$@"
    expect_out " equal, 0 not"
}
# Names of two kinds, a container of another kind: matched without being asked.
octavo convert -q "$MODEL" --names gguf -o model.gguf
exact "$MODEL" model.gguf
exact model.gguf "$MODEL"
octavo quantize -q "$MODEL" --scheme mxfp8 --convention compressed-tensors -o ct
octavo quantize -q "$MODEL" --scheme mxfp8 --convention ascend-v1 -o ascend
octavo quantize -q "$MODEL" -o deepseek
exact ct ascend
exact ascend ct
# 128 x 128 to 1 x 32: the same values, another convention.
octavo quantize -q deepseek --scheme mxfp8 --convention ascend-v1 --include '*_proj.weight' -o finer
exact deepseek finer
octavo pack -q deepseek -t nvidia-sm90 -o p.octp
exact deepseek p.octp
octavo pack -q finer -t ascend-950 -o a.octp
exact deepseek a.octp
# Packed against the original is what quantized against the original is.
octavo verify "$MODEL" deepseek --json >one
octavo verify "$MODEL" p.octp --json >two
grep -o '"all":{.*' one >a
grep -o '"all":{.*' two >b
same a b
# Blocks of GGUF against the safetensors that they were made of.
octavo quantize -q "$MODEL" -o q8.gguf 2>/dev/null
octavo dequantize -q q8.gguf --dtype f32 --names hf -o q8
exact q8.gguf q8
# As a server that dequantizes to BF16: nothing for powers of two, a little for F32 scales.
figure() { grep -o '"quantized":{.*' "$1" | sed 's/.*"rel":\([0-9.e-]*\).*/\1/'; }
octavo verify "$MODEL" deepseek --dequantize-bf16 --json >three
[ "$(figure one)" = "$(figure three)" ] || fail "powers of two are exact in BF16"
octavo quantize -q "$MODEL" --scheme fp8-f32-128x128 -o f32
octavo verify "$MODEL" f32 --json >four
octavo verify "$MODEL" f32 --dequantize-bf16 --json >five
[ "$(figure four)" != "$(figure five)" ] || fail "F32 scales are not"
octavo dequantize -q f32 --dtype bf16 -o bf16
octavo verify "$MODEL" bf16 --json >six
[ "$(grep -o '"all":{.*' five | sed 's/.*"rel":\([0-9.e-]*\).*/\1/')" = "$(grep -o '"all":{.*' six | sed 's/.*"rel":\([0-9.e-]*\).*/\1/')" ] ||
    fail "the figures of a model that was dequantized to BF16"
