# Standard input: once, in order, with a sentence where that is not enough.
. "$ROOT/tests/cli/lib.sh"
octavo convert -q "$MODEL" -o one.safetensors
octavo convert -q - -o - <one.safetensors | octavo convert -q - -o - | octavo convert -q - -o x.safetensors
same one.safetensors x.safetensors
octavo convert -q - --shard-size 1MB -o shards <one.safetensors
same_digest one.safetensors shards
# config.json travels through the pipe and comes out again.
octavo convert -q "$MODEL" -o - | octavo convert -q - -o dir
[ -s dir/config.json ] || fail "config.json after a pipe"
grep -q LlamaForCausalLM dir/config.json || fail "the architecture in config.json"
# The writer dies in the middle.
head -c 3000000 one.safetensors >half
got=0
"$OCTAVO" convert - -o y.safetensors <half 2>err || got=$?
[ $got -eq 3 ] || fail "exit 3 for half a model, not $got"
absent y.safetensors
got=0
"$OCTAVO" convert - -o ydir <half 2>err || got=$?
[ $got -eq 3 ] || fail "exit 3 for half a model, not $got"
absent ydir
got=0
"$OCTAVO" convert - -o - </dev/null >out 2>err || got=$?
[ $got -eq 3 ] && [ ! -s out ] || fail "exit 3 and no output for an empty pipe, not $got"
# --spool reads a pipe at random.
octavo convert -q - --spool -o spooled.safetensors <one.safetensors
same one.safetensors spooled.safetensors
[ -z "$(ls -A "$TMPDIR")" ] || fail "no spool file left: $(ls -A "$TMPDIR")"
no_temporary .
