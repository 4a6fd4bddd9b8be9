# Which tensors are quantized: --include, --exclude, --rules; the first match wins.
. "$ROOT/tests/cli/lib.sh"
quantized() { # quantized OPTION...: how many weights become codes
    expect_exit 0 "$OCTAVO" quantize "$MODEL" -n --json "$@"
    grep -c '"dtype":"F8_E4M3"' out || true
}
is() { [ "$1" = "$2" ] || fail "$1 quantized weights, not $2"; }
is 28 "$(quantized)"
is 24 "$(quantized --exclude '*.v_proj.*')"
is 24 "$(quantized --exclude 're:v_proj')"
is 21 "$(quantized --exclude 're:^model\.layers\.[0]\.')"
is 0 "$(quantized --exclude '*')"
is 29 "$(quantized --include lm_head.weight)"
# First match wins.
is 28 "$(quantized --include '*.v_proj.*' --exclude '*.v_proj.*')"
is 24 "$(quantized --exclude '*.v_proj.*' --include '*.v_proj.*')"
is 1 "$(quantized --include '*.2.self_attn.v_proj.*' --exclude '*')"
cat >rules <<'END'
# comment
model.layers.0.*   = keep        # the first layer
re:layers\.[12]\.mlp = quantize
*mlp*              = keep
lm_head.weight     = quantize

END
# Layer 0: none. Layers 1, 2: 4 + 3 each. Layer 3: 4. And lm_head.
is 19 "$(quantized --rules rules)"
is 0 "$(quantized --exclude '*' --rules rules)"
echo 'lm_head.weight = drop' >drop
expect_exit 0 "$OCTAVO" quantize "$MODEL" --rules drop -n
! grep -q "^lm_head.weight " out || fail "no lm_head.weight in the plan"
expect_out "dropped lm_head.weight"
# Every refusal names its place.
echo 'lm_head.weight' >bad
refused 2 quantize "$MODEL" --rules bad -n
expect_err "bad:1"
printf '\n\nlm_head.weight = banana\n' >bad
refused 2 quantize "$MODEL" --rules bad -n
expect_err "bad:3" banana
refused 2 quantize "$MODEL" --include 're:[' -n
expect_err 're:['
refused 3 quantize "$MODEL" --rules nowhere -n
# A norm cannot be quantized even if a rule says so: it is a vector.
refused 3 quantize "$MODEL" --include '*norm*' -o x.safetensors
expect_err norm
absent x.safetensors
# What is kept is declared, so that a server does not look for its scales.
octavo quantize -q "$MODEL" --exclude '*.v_proj.*' -o q
grep -q v_proj q/config.json || fail "the kept modules in config.json"
expect_exit 0 "$OCTAVO" verify "$MODEL" q --include '*.v_proj.*' --require-exact
