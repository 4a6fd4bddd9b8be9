. "$ROOT/tests/cli/lib.sh"
octavo quantize -q "$MODEL" -o q.safetensors
writer_manners dequantize q.safetensors m.safetensors
