. "$ROOT/tests/cli/lib.sh"
octavo quantize -q "$MODEL" -o q.safetensors
writer_manners pack q.safetensors m.octp --target ascend-950
