. "$ROOT/tests/cli/lib.sh"
octavo quantize -q "$MODEL" -o q.safetensors
octavo pack -q q.safetensors --target nvidia-sm100 -o p.octp
writer_manners unpack p.octp m.safetensors
same q.safetensors m.safetensors
