# --print-rules prints all that decides the output, and --rules makes the same output of it.
. "$ROOT/tests/cli/lib.sh"
# again OPTION...: the run with these options, and the run with what it prints and no options.
again() {
    rm -rf one two
    octavo quantize -q "$MODEL" "$@" -o one || fail "quantize $*"
    octavo quantize "$MODEL" "$@" --print-rules >printed || fail "quantize --print-rules $*"
    octavo quantize -q "$MODEL" --rules printed -o two || { cat printed; fail "quantize --rules, of $*"; }
    same_tree one two
    octavo quantize "$MODEL" --rules printed --print-rules >twice
    grep -v '^#' printed | sed 's/ *#.*//' >a
    grep -v '^#' twice | sed 's/ *#.*//' >b
    same a b
}
again
again --scheme mxfp8 --scale-rule floor
again --scheme int8-channel --include lm_head.weight --exclude 're:layers\.0\..*v_proj'
again --target ascend-950
again --target nvidia-sm90 --scheme fp8-channel
again --scheme nvfp4
again --scheme mxfp8 --convention octavo --exclude '*'
again --preset none
cat >mixed <<'END'
# one scheme for each kind
*.self_attn.q_proj.* = fp8-channel
*.self_attn.k_proj.* = quantize
*.down_proj.*       ?= mxfp8 ceil
lm_head.weight      ?= int8-channel
*.3.mlp.*           ?= keep
* ?= fp8-tensor
END
again --rules mixed
grep -q '^--convention compressed-tensors$' printed || fail "the convention of the run"
grep -q '^\*\.self_attn\.k_proj\.\* = fp8-tensor absmax$' printed || fail "what quantize means in this run"
octavo ls -q one >listed
grep -q 'layers.2.mlp.up_proj.weight .*fp8-tensor' listed || fail "the scheme of '* ?='"
grep -q 'embed_tokens.weight .*BF16' listed || fail "the preset to hold before '* ?='"
grep -q 'layers.3.mlp.up_proj.weight .*BF16' listed || fail "'*.3.mlp.* ?= keep'"
grep -q 'layers.1.self_attn.q_proj.weight .*fp8-channel' listed || fail "a rule of its own"
# --scheme is before '* ?=', and changes nothing that has a line of its own.
octavo quantize -q "$MODEL" --rules mixed --scheme int8-channel -o three
octavo ls -q three >listed
grep -q 'layers.2.mlp.up_proj.weight .*int8-channel' listed || fail "--scheme before '* ?='"
grep -q 'layers.1.self_attn.q_proj.weight .*fp8-channel' listed || fail "a rule before --scheme"
# Flags are before defaults, wherever they stand.
echo '*v_proj* ?= keep' >soft
octavo quantize -q "$MODEL" --rules soft --include '*.1.*v_proj*' -o four
octavo ls -q four >listed
[ "$(grep -c 'v_proj.weight .*BF16' listed)" -eq 3 ] || fail "three v_proj kept by default"
# Without a model: the generic preset.
octavo quantize --scheme mxfp8 --print-rules >bare
grep -q '^\* ?= mxfp8 smallest  #' bare || fail "the scheme in the last line"
grep -q '^\*norm\* ?= keep' bare || fail "the generic preset"

# Options in a file: those that decide the output, and no others; the command line is before them.
printf -- '--target ascend-950\n' >chip
octavo quantize -q "$MODEL" --rules chip -o five
octavo quantize -q "$MODEL" --target ascend-950 -o six
same_tree five six
octavo quantize -q "$MODEL" --rules chip --target nvidia-sm90 -o seven
octavo quantize -q "$MODEL" --target nvidia-sm90 -o eight
same_tree seven eight
printf '# one\n--threads 3\n' >bad
refused 2 quantize "$MODEL" --rules bad -n
expect_err "bad:2" "--threads"
printf -- '--convention\n' >bad
refused 2 quantize "$MODEL" --rules bad -n
expect_err "bad:1" "needs a value"
refused 2 dequantize "$MODEL" --rules chip -n
expect_err "chip:1" "--target"

# A rule that matches nothing may be a slip of the pen.
warned() { [ "$(grep -c warning err)" -eq "$1" ] || { cat err; fail "$1 warnings"; }; }
echo '*.v_prj.* = keep' >slip
expect_exit 0 "$OCTAVO" quantize "$MODEL" -n --rules slip --include nothing --exclude '*.v_proj.*'
warned 2
expect_err "slip:1" "'*.v_prj.*'" "--include" "'nothing'"
expect_exit 0 "$OCTAVO" quantize "$MODEL" -n --rules slip -q
warned 0
for verb in convert dequantize; do
    expect_exit 0 "$OCTAVO" $verb one -n --exclude '*.v_prj.*'
    warned 1
done
expect_exit 0 "$OCTAVO" ls "$MODEL" --include '*norm*' --exclude 'x'
warned 1
expect_exit 0 "$OCTAVO" verify one one --exclude 'x' --exclude '*.q_proj.weight'
warned 1
# What belongs to a weight goes with it, and is no name of its own.
expect_exit 0 "$OCTAVO" dequantize one -n --exclude '*.weight_scale'
warned 1
