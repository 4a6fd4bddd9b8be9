. "$ROOT/tests/cli/lib.sh"
writer_manners quantize "$MODEL" m.safetensors
