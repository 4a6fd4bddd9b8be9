# Files that others wrote go through as they are.
. "$ROOT/tests/cli/lib.sh"
[ -n "$DATA" ] || skip "no shared test data"
for f in "$DATA"/gguf-vocab/*.gguf "$DATA"/models/stories260K.f32.gguf; do
    octavo convert -q "$f" -f -o x.gguf
    same "$f" x.gguf
done
for f in "$DATA"/gguf-conformance/accept/*data*.gguf; do # every type that ggml has
    octavo convert -q "$f" -f -o x.gguf
    same_digest "$f" x.gguf
done
octavo convert -q "$DATA"/models/stories260K-hf -o hf.gguf
same_digest "$DATA"/models/stories260K.f32.gguf hf.gguf
