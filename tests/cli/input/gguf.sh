# GGUF: a file of our own with F32, F16, Q8_0 and Q4_0 tensors, and its known values.
. "$ROOT/tests/cli/lib.sh"
str() { le64 ${#1}; printf %s "$1"; }
tensor() { # tensor NAME TYPE OFFSET COLS [ROWS]
    str "$1"
    if [ $# -eq 5 ]; then le32 2; le64 "$4"; le64 "$5"; else le32 1; le64 "$4"; fi
    le32 "$2"
    le64 "$3"
}
{
    printf GGUF
    le32 3; le64 4; le64 2
    str general.architecture; le32 8; str llama
    str general.alignment; le32 4; le32 32
    tensor output_norm.weight 0 0 4                 # F32 [4]
    tensor blk.0.attn_q.weight 8 32 32 2            # Q8_0 [2,32]
    tensor blk.0.attn_k.weight 2 128 32 1           # Q4_0 [1,32]
    tensor blk.0.attn_v.weight 1 160 2 2            # F16 [2,2]
} >g.gguf
pad() { zeros $(((32 - $(size_of g.gguf) % 32) % 32)) >>g.gguf; }
pad
{ printf '\000\000\200\077\000\000\000\100\000\000\100\100\000\000\200\100'; zeros 16; } >>g.gguf   # 1 2 3 4
# Q8_0: scale 1/2 and codes 0..31; scale 2 and codes -1.
{
    printf '\000\070'
    i=0; while [ $i -lt 32 ]; do printf "\\$(printf %03o $i)"; i=$((i + 1)); done
    printf '\000\100'; repeat 32 '\377'
} >>g.gguf
pad
# Q4_0: scale 1; byte i holds code i in the low nibble (column i) and 15 - i in the high (column i + 16).
{ printf '\000\074'; for b in 360 341 322 303 264 245 226 207 170 151 132 113 74 55 36 17; do printf "\\$(printf %03o 0$b)"; done; } >>g.gguf
pad
printf '\000\074\000\100\000\102\000\304' >>g.gguf      # 1 2 3 -4
pad

expect_exit 0 "$OCTAVO" ls g.gguf
[ "$(wc -l <out)" -eq 4 ] || fail "four tensors"
expect_out "Q8_0" "Q4_0" "[2,32]" "[1,32]" "[2,2]" "F16"
octavo ls --json g.gguf >lines
valid_json_lines lines

octavo dequantize -q g.gguf --dtype f32 -o f32.safetensors
floats() { # floats TENSOR N: its values, one a line, whole or with .5
    octavo convert -q f32.safetensors --include "$1" -f -o t.safetensors
    tail -c $(($2 * 4)) t.safetensors | od -An -v -tf4 | tr -s ' ' '\n' | sed '/^$/d'
}
octavo ls -q f32.safetensors >listing
# Names may be those of the file or of the model it came from.
q=$(awk '/32\]/ && /\[2,32\]/ { print $1 }' listing) k=$(awk '/\[1,32\]/ { print $1 }' listing)
[ -n "$q" ] && [ -n "$k" ] || { cat listing; fail "both quantized matrices"; }
floats "$q" 64 >got
awk 'BEGIN { for (i = 0; i < 32; i++) print i / 2; for (i = 0; i < 32; i++) print -2 }' >want
same want got
floats "$k" 32 >got
awk 'BEGIN { for (i = 0; i < 16; i++) print i - 8; for (i = 0; i < 16; i++) print 7 - i }' >want
same want got

# Straight to FP8; these small whole numbers and halves are exact but for a few.
octavo quantize -q g.gguf -o q.safetensors
expect_exit 0 "$OCTAVO" verify g.gguf q.safetensors --min-sqnr 25
expect_exit 0 "$OCTAVO" digest g.gguf
# As a pipe, compressed, and cut.
octavo dequantize -q - --dtype f32 -o p.safetensors <g.gguf
same_digest f32.safetensors p.safetensors
gzip -c g.gguf >g.gz
same_digest g.gguf g.gz
head -c $(($(size_of g.gguf) - 40)) g.gguf >cut.gguf
refused 3 ls cut.gguf
refused 3 quantize cut.gguf -o x.safetensors
absent x.safetensors
