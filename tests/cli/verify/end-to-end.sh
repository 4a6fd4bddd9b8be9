# What quantizing costs in words and in outputs of layers, on the sample model and its excerpt.
. "$ROOT/tests/cli/lib.sh"
od -An -v -tu1 -w1 "$MODEL/excerpt.txt" | awk '{ b[NR] = $1 }
    END { for (i = 1; i < NR; i += 256) for (k = i; k <= i + 256 && k <= NR; k++) printf "\\%03o\\000\\000\\000\n", b[k] }' |
    while read -r _x; do printf "$_x"; done >windows
[ "$(size_of windows)" -eq $((4 * (4096 + 15))) ] || fail "windows of 257 ids, each with the first of the next"
field() { sed -n "s/.*\"$1\":\"\{0,1\}\([^,\"}]*\).*/\1/p" out; }
words() { expect_exit 0 "$OCTAVO" verify "$MODEL" "$1" --names hf --end-to-end --tokens windows --length 257 --json; valid_json out; }

# ---- the sample's recipe has 1.8520021476862338 bits a byte for this text, as train.py measured with torch ----
words "$MODEL"
awk -v p="$(field perplexity_a)" 'BEGIN { want = exp(1.8520021476862338 * log(2)); d = p / want - 1; exit !(d < 2e-6 && d > -2e-6) }' ||
    fail "2^1.85200, not $(field perplexity_a)"
[ "$(field kl_mean) $(field kl_max) $(field top1)" = "0 0 1" ] || fail "no divergence from itself"
[ "$(field tokens)" = 4095 ] || fail "4095 predictions, not $(field tokens)"

# ---- the finer the grid, the less it costs ----
last=1
for s in mxfp4 fp8-ue8m0-128x128 int8-channel; do
    octavo quantize -q "$MODEL" --scheme $s -o $s
    words $s
    awk -v a="$(field kl_mean)" -v b="$last" 'BEGIN { exit !(a > 0 && a < b) }' || fail "$s: KL $(field kl_mean) below $last"
    last=$(field kl_mean)
done
octavo quantize -q "$MODEL" -o fp8 -f
words fp8
plain=$(field kl_mean)
expect_exit 0 "$OCTAVO" verify "$MODEL" fp8 --end-to-end --tokens windows --length 257 --activations e4m3 --json
awk -v a="$(field kl_mean)" -v b="$plain" 'BEGIN { exit !(a > b) }' || fail "rounded inputs cost more"
expect_exit 0 "$OCTAVO" verify "$MODEL" mxfp4 --end-to-end --tokens windows --length 257 --limit 1000 --greedy 5 -q
expect_exit 0 "$OCTAVO" verify "$MODEL" mxfp4 --end-to-end --tokens windows --length 257 --limit 1000 --greedy 5
expect_out "perplexity" "KL divergence" "the likeliest next token" "4 texts of 5 words"

# ---- from a GGUF, and against its own bytes in another container ----
octavo convert -q "$MODEL" -o m.gguf
words m.gguf
[ "$(field kl_max)" = 0 ] || fail "the GGUF of a model is the model"

# ---- outputs of layers: better with statistics, on text that they were not made of ----
head -c $((4 * 2056)) windows >fit
tail -c $((4 * 2055)) windows >report
octavo calibrate -q "$MODEL" --tokens fit --length 64 -o fit.safetensors
octavo calibrate -q "$MODEL" --tokens report --length 64 --no-holdout -o report.safetensors
octavo quantize -q "$MODEL" --calibration fit.safetensors -o better
outputs() {
    expect_exit 0 "$OCTAVO" verify "$MODEL" "$1" --calibration report.safetensors --json
    valid_json out
    sed -n 's/^{"name":"\([^"]*\)".*"fit_db":\([0-9.]*\),"holdout_db":null.*/\1 \2/p' out | sort
}
outputs fp8 >nearest
outputs better >ours
[ "$(wc -l <nearest)" -eq 28 ] || fail "28 layers"
join nearest ours | awk '{ g[NR] = $3 - $2; n += g[NR] > 0; s += g[NR] } END { print "REPORT calibrated outputs of the sample, 1,600 tokens: " n " of 28 layers better, " s / NR " dB in the mean"; exit !(n >= 25 && s / NR > 2) }' ||
    fail "better outputs"
expect_exit 1 "$OCTAVO" verify "$MODEL" mxfp4 --calibration report.safetensors --min-output 30 -q
expect_err "--min-output"
expect_exit 1 "$OCTAVO" verify "$MODEL" mxfp4 --end-to-end --tokens windows --max-kl 1e-9 -q
expect_err "--max-kl"
expect_exit 1 "$OCTAVO" verify "$MODEL" mxfp4 --end-to-end --tokens windows --min-agreement 0.9999 -q
expect_err "--min-agreement"

# ---- refused ----
refused 2 verify "$MODEL" fp8 --end-to-end
refused 2 verify "$MODEL" fp8 --tokens windows
refused 2 verify "$MODEL" fp8 --max-kl 1
refused 2 verify "$MODEL" fp8 --min-output 1
refused 2 verify "$MODEL" fp8 --end-to-end --tokens windows --activations e5m2
refused 2 verify "$MODEL" - --end-to-end --tokens windows
refused 3 verify "$MODEL" fp8 --calibration "$MODEL"
