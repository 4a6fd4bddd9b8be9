# Routed experts and latent attention, on the DeepSeek miniature: its words are those of transformers, and its experts
# share statistics or have their own.
. "$ROOT/tests/cli/lib.sh"
mini bf16 m
ids() { # ids COUNT SEED: skewed, so that experts are not equally liked
    awk -v n="$1" -v s="$2" 'BEGIN { for (i = 0; i < n; i++) { s = (s * 16807) % 2147483647; z = int(s / 256) % 512
        z = int(s / 131072) % 2 ? z : z % 40; printf "\\%03o\\%03o\\000\\000\n", z % 256, int(z / 256) } }' |
        while read -r _x; do printf "$_x"; done
}
field() { sed -n "s/.*\"$1\":\"\{0,1\}\([^,\"}]*\).*/\1/p" out | tail -n 1; }

# ---- MLA, sigmoid routing with groups and a bias, shared experts: perplexity that transformers 5.24 finds in F32 ----
awk 'BEGIN { for (i = 0; i < 256; i++) { z = (i * i * 7 + i * 3 + 1) % 512; printf "\\%03o\\%03o\\000\\000\n", z % 256, int(z / 256) } }' |
    while read -r _x; do printf "$_x"; done >some
expect_exit 0 "$OCTAVO" verify m m --end-to-end --tokens some --length 64 --json
awk -v p="$(field perplexity_a)" -v want=11.071511094180279 'BEGIN { d = log(p) - want; exit !(d < 2e-5 && d > -2e-5) }' || fail "log perplexity 11.071511094180279, not that of $(field perplexity_a)"

# ---- pooled: gate and up share what the router sees, down what all experts see ----
ids 4000 5 >fit
ids 2000 77 >report
octavo calibrate -q m --tokens fit --length 64 -o pooled.safetensors
octavo calibrate -q m --tokens fit --length 64 --experts each -o each.safetensors
octavo calibrate -q m --tokens report --length 64 --no-holdout --experts each -o report.safetensors
octavo ls pooled.safetensors >listing
! grep -q 'experts\.[0-9]' listing || fail "no expert of its own in the pooled file"
bytes_of pooled.safetensors model.layers.1.mlp.experts.down_proj.hits | od -An -v -td8 -w16 >hits
[ "$(wc -l <hits)" -eq 8 ] || fail "eight experts"
awk '{ a += $1; b += $2 } END { exit !(a + b == 2 * 4000) }' hits || fail "two experts for each of 4000 tokens"
for x in 0 5; do
    bytes_of each.safetensors model.layers.1.mlp.experts.$x.down_proj.tokens | od -An -v -td8 -w16 >got
    sed -n "$((x + 1))p" hits >want
    same want got
done
# The sum over all is the sum of each.
for x in 0 1 2 3 4 5 6 7; do
    bytes_of each.safetensors model.layers.1.mlp.experts.$x.down_proj.xtx | od -An -v -tf4 -w4 | head -n 128 >one.$x
done
paste one.* | awk '{ s = 0; for (i = 1; i <= 8; i++) s += $i; print s }' >want
bytes_of pooled.safetensors model.layers.1.mlp.experts.down_proj.xtx | od -An -v -tf4 -w4 | head -n 128 >got
paste want got | awk '{ d = $1 - $2; m = ($1 < 0 ? -$1 : $1) * 1e-5 + 1e-6; if (d > m || -d > m) exit 1 }' || fail "the sum over all experts"

# ---- what they are good for, on other ids ----
octavo quantize -q m -o nearest
for k in pooled each; do
    expect_exit 0 "$OCTAVO" quantize m --calibration $k.safetensors -o $k
    expect_err "72 weights rounded with second moments"
done
for k in nearest pooled each; do
    octavo verify m $k --calibration report.safetensors --json >out
    sed -n 's/^{"name":"\([^"]*experts[^"]*\)".*"fit_db":\([0-9.]*\).*/\1 \2/p' out | sort >db.$k
done
join db.nearest db.pooled | join - db.each | awk '{ p += $3 - $2; e += $4 - $2; n++; lp += $3 < $2; le += $4 < $2 }
    END { printf "REPORT experts of the miniature, %d weights, 3,200 tokens: pooled %+.2f dB (%d below nearest), each %+.2f dB (%d below)\n", n, p / n, lp, e / n, le
          exit !(n == 54 && p / n > 1 && e / n > 1) }' || fail "experts gain"
