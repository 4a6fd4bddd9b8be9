. "$ROOT/tests/cli/lib.sh"
writer_manners convert "$MODEL" m.safetensors
same_digest "$MODEL" m.safetensors
