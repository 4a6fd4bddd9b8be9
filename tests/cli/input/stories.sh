# One real model in two containers: the GGUF and the safetensors of stories260K.
. "$ROOT/tests/cli/lib.sh"
[ -n "$DATA" ] || skip "the model stories260K is not here"
g=$DATA/models/stories260K.f32.gguf
h=$DATA/models/stories260K-hf
expect_exit 0 "$OCTAVO" ls "$g"
expect_out F32
octavo convert -q "$g" -o g.safetensors
same_digest "$g" g.safetensors
octavo quantize -q "$g" -o gq
octavo quantize -q "$h" -o hq
expect_exit 0 "$OCTAVO" verify "$g" gq --min-sqnr 28
expect_exit 0 "$OCTAVO" verify "$h" hq --min-sqnr 28
octavo dequantize -q gq -o null:
# 172 columns are no multiple of 16: what does not fit the chip is kept, and pack says
# what it was that does not.
refused 3 pack hq -t nvidia-sm100 -o x.octp
expect_err "[64,172]" "multiples of 16"
absent x.octp
octavo quantize -q "$h" --target nvidia-sm100 -o fits
octavo pack -q fits -t nvidia-sm100 -o h.octp
octavo unpack -q h.octp -o hb
same_digest fits h.octp hb
# Integers and the like pass untouched.
for m in candle_csm_voices hadamards rxnmapper_albert; do
    octavo convert -q "$DATA/models/$m.safetensors" -o $m.safetensors
    same_digest "$DATA/models/$m.safetensors" $m.safetensors
done
octavo quantize -q "$DATA/models/candle_csm_voices.safetensors" -o voices.safetensors
same_digest "$DATA/models/candle_csm_voices.safetensors" voices.safetensors
