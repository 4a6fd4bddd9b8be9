# The sample model over its own text: statistics, what quantize makes of them, and what is refused.
. "$ROOT/tests/cli/lib.sh"
ids() { # ids FILE: its bytes as ids of 4 bytes, which this model reads
    od -An -v -tu1 -w1 "$1" | awk '{ printf "%03o\n", $1 }' | sed 's/.*/\\&\\000\\000\\000/' | while read -r _x; do printf "$_x"; done
}
ids "$MODEL/excerpt.txt" >ids
[ "$(size_of ids)" -eq 16384 ] || fail "4096 ids"
calibrate() { expect_exit 0 "$OCTAVO" calibrate "$MODEL" --tokens ids --length 128 "$@"; }

# ---- the plan reads no weight, and is the file that comes ----
calibrate -n
expect_out "4096 tokens in 32 sequences, 768 of them held out" "memory:"
calibrate -n --json
valid_json out
calibrate -o s.safetensors
expect_err "4096 tokens in 32 sequences"
octavo ls s.safetensors >listing
for p in 0.self_attn.q_proj.xtx:32896 3.mlp.down_proj.xtx_holdout:107880 2.mlp.gate_proj.amax:256 1.self_attn.o_proj.histogram:4096 0.mlp.down_proj.tokens:2; do
    grep -q "^model.layers.${p%:*} .*\[${p#*:}\]" listing || { cat listing; fail "$p"; }
done
[ "$(grep -c 'tokens ' listing)" -eq 16 ] || fail "four points of four layers"
[ "$(bytes_of s.safetensors model.layers.2.mlp.down_proj.tokens | od -An -v -tu8 -w8 | tr -d ' \n')" = 3328768 ] || fail "3328 and 768 rows"

# ---- text: bytes, since this model has 256 tokens and no tokenizer; the same by name ----
octavo calibrate -q "$MODEL" --text "$MODEL/excerpt.txt" --length 128 -o text.safetensors
same_digest s.safetensors text.safetensors
octavo calibrate -q "$MODEL" --text "$MODEL/excerpt.txt" --tokenizer bytes --length 128 -o text.safetensors -f
same_digest s.safetensors text.safetensors
refused 2 calibrate "$MODEL" --text "$MODEL/excerpt.txt" --tokens ids -o x
refused 2 calibrate "$MODEL" --tokens ids --tokenizer bytes -o x
refused 3 calibrate "$MODEL" --text "$MODEL/excerpt.txt" --tokenizer "$MODEL" -o x
expect_err "tokenizer.json"
refused 3 calibrate "$MODEL" --text /dev/null -o x
expect_err "no text"
# A tokenizer that begins texts with a token: each sequence begins with it, and it counts.
if [ -f "${DATA:-/none}/models/stories260K.f32.gguf" ]; then
    octavo calibrate "$DATA/models/stories260K.f32.gguf" --text "$MODEL/excerpt.txt" --length 100 -n >plan
    octavo calibrate "$DATA/models/stories260K.f32.gguf" --text "$MODEL/excerpt.txt" --length 300 -n >other
    t=$(sed -n 's/^\([0-9]*\) tokens in \([0-9]*\) .*/\1 \2/p' plan) u=$(sed -n 's/^\([0-9]*\) tokens in \([0-9]*\) .*/\1 \2/p' other)
    set -- $t $u
    [ $(($1 - $2)) -eq $(($3 - $4)) ] && [ $2 -gt $4 ] || { cat plan other; fail "a token for each sequence"; }
fi

# ---- threads, where hidden states are, and a file a layer change nothing ----
calibrate -o t.safetensors -T 1
same s.safetensors t.safetensors
calibrate -o t.safetensors -T 3 --spill -f
same s.safetensors t.safetensors
calibrate -o layers/
[ "$(ls layers)" = "$(printf 'layer-%05d.safetensors\n' 0 1 2 3)" ] || { ls layers; fail "a file a layer and nothing else"; }
octavo calibrate --merge layers layers -o twice.safetensors
octavo calibrate --merge layers -o never.safetensors 2>err && fail "one file to merge"
for t in model.layers.0.mlp.down_proj.tokens model.layers.3.mlp.gate_proj.histogram; do
    bytes_of s.safetensors $t | od -An -v -td8 -w8 | awk '{ print 2 * $1 }' >want
    bytes_of twice.safetensors $t | od -An -v -td8 -w8 | awk '{ print $1 }' >got
    same want got
done
bytes_of s.safetensors model.layers.1.self_attn.o_proj.xtx | od -An -v -tf4 -w4 | awk '{ print 2 * $1 }' | head -n 500 >want
bytes_of twice.safetensors model.layers.1.self_attn.o_proj.xtx | od -An -v -tf4 -w4 | awk '{ print $1 + 0 }' | head -n 500 >got
paste want got | awk '{ d = $1 - $2; m = ($1 < 0 ? -$1 : $1) * 1e-5; if (d > m || -d > m) exit 1 }' || fail "twice the sums"
bytes_of s.safetensors model.layers.1.self_attn.o_proj.amax >want
bytes_of twice.safetensors model.layers.1.self_attn.o_proj.amax >got
same want got

# ---- a run that stops goes on ----
rm -rf half
calibrate -o half/ --diagonal
rm -rf half
octavo calibrate "$MODEL" --tokens ids --length 128 -o half/ -q
cp half/layer-00003.safetensors last
rm -rf half
# The third layer's file cannot be made: what was done is kept.
mkdir half half/layer-00002.safetensors
expect_exit 2 "$OCTAVO" calibrate "$MODEL" --tokens ids --length 128 -o half/
[ -f half/resume ] && [ -f half/hidden ] && [ -f half/layer-00001.safetensors ] || { ls half; fail "two layers and how to go on"; }
rmdir half/layer-00002.safetensors
refused 2 calibrate "$MODEL" --tokens ids --length 64 -o half/ --resume
expect_err "another model, text or options"
calibrate -o half/ --resume
same half/layer-00003.safetensors last
[ ! -e half/hidden ] && [ ! -e half/resume ] || fail "nothing left over"

# ---- rounding: better outputs on text that was not seen, the same scales, any number of threads ----
octavo quantize -q "$MODEL" -o plain
expect_exit 0 "$OCTAVO" quantize "$MODEL" --calibration s.safetensors -o better --json
valid_json out
[ "$(grep -c '"calibration":{' out)" -eq 28 ] || fail "28 weights"
sed -n 's/.*"kept":\([a-z]*\).*"output_db_nearest":\([0-9.]*\),"output_db":\([0-9.]*\).*/\1 \2 \3/p' out >gains
awk '$1 == "true" { n++; if ($3 <= $2) exit 1 } $1 == "false" && $3 != $2 { exit 1 } END { exit n < 20 }' gains || { cat gains; fail "gains on 20 of 28"; }
expect_err "28 weights rounded with second moments"
octavo quantize -q "$MODEL" --calibration layers -T 1 -o one
same_digest better one
bytes_of plain/model.safetensors model.layers.0.mlp.up_proj.weight_scale_inv >want
bytes_of better/model.safetensors model.layers.0.mlp.up_proj.weight_scale_inv >got
same want got
# Nothing of both sets, nothing to gain.
calibrate -o all.safetensors --no-holdout
expect_exit 0 "$OCTAVO" quantize "$MODEL" --calibration all.safetensors -o same
expect_err "nothing was calibrated"
same_digest plain same
calibrate -o d.safetensors --diagonal
octavo quantize -q "$MODEL" --calibration d.safetensors -f -o same
same_digest plain same
for s in int8-channel mxfp8 mxfp4 fp8-channel int4-channel fp8-tensor; do
    expect_exit 0 "$OCTAVO" quantize "$MODEL" --scheme $s --calibration s.safetensors -o "x.$s"
    expect_err "weights rounded with second moments"
    octavo verify -q "$MODEL" "x.$s" --min-sqnr 8
done
# A second rounding, with statistics.
octavo quantize -q "$MODEL" --scheme fp8-f32-128x128 -o f32
expect_exit 0 "$OCTAVO" quantize f32 --calibration s.safetensors --allow-requantize -o again
expect_err "28 weights rounded with second moments" "started from codes"

# ---- refused ----
refused 2 calibrate "$MODEL" -o x
refused 2 calibrate "$MODEL" --tokens ids
refused 2 calibrate "$MODEL" --tokens ids --resume -o x.safetensors
refused 2 calibrate "$MODEL" --tokens ids --experts some -o x
refused 3 calibrate "$MODEL" --tokens "$MODEL/config.json" -o x
refused 3 calibrate "$MODEL" --tokens ids --length 4096 -o x
expect_err "held out"
refused 3 calibrate "$MODEL" --tokens ids -M 1M -o x
expect_err "memory"
printf '\377\377\377\377\001\000\000\000' >bad
refused 3 calibrate "$MODEL" --tokens bad --no-holdout -o x
expect_err "token 0 is 4294967295"
refused 3 quantize "$MODEL" --calibration "$MODEL/model.safetensors" -o x
expect_err "statistics"
head -c 100000 s.safetensors >cut.safetensors
refused 3 quantize "$MODEL" --calibration cut.safetensors -o x
absent x

# ---- fixed scales of activations: the largest input over the largest code, the same for what shares an input ----
octavo calibrate s.safetensors --activation-scales max --format int8 -o int8.safetensors
octavo ls int8.safetensors >listing
[ "$(grep -c 'input_scale .*F32 .*\[1\]' listing)" -eq 28 ] || { cat listing; fail "28 scales"; }
bytes_of s.safetensors model.layers.2.self_attn.q_proj.amax | od -An -v -tf4 -w4 | sort -g | tail -n 1 >most
for p in q k v; do
    bytes_of int8.safetensors model.layers.2.self_attn.${p}_proj.input_scale | od -An -v -tf4 -w4
done | sort -u >scale
[ "$(wc -l <scale)" -eq 1 ] || fail "one scale for q, k and v"
paste most scale | awk '{ d = $1 / 127 - $2; if (d > $2 * 1e-6 || -d > $2 * 1e-6) exit 1 }' || fail "amax / 127"
octavo quantize -q "$MODEL" --target enflame-gcu300 --form w8a8 --activation-scales int8.safetensors -o gcu 2>err || { cat err; fail "W8A8 of Enflame"; }
octavo verify -q "$MODEL" gcu --min-sqnr 28
octavo calibrate s.safetensors --activation-scales 99.9 -o fp8.safetensors
octavo calibrate s.safetensors --activation-scales mse -o mse.safetensors
octavo quantize -q "$MODEL" --scheme fp8-tensor --convention modelopt --activations static --activation-scales mse.safetensors -o static
refused 2 calibrate s.safetensors --activation-scales 0 -o x
refused 2 calibrate s.safetensors --activation-scales some -o x
refused 2 calibrate s.safetensors --activation-scales max --format mxfp8 -o x
refused 3 calibrate "$MODEL" --activation-scales max -o x
absent x

# ---- an importance matrix: weighs errors, rounds nothing ----
{
    n=$(octavo ls "$MODEL" | awk '$1 == "model.layers.2.mlp.up_proj.weight" { gsub(/[][]/, "", $3); split($3, d, ","); print d[2] }')
    printf '\001\000\000\000\023\000\000\000blk.2.ffn_up.weight\001\000\000\000'
    printf "$(printf '\\%03o\\%03o\\000\\000' $((n % 256)) $((n / 256)))"
    i=0
    while [ $i -lt "$n" ]; do printf '\000\000\200\077'; i=$((i + 1)); done
} >m.imatrix
octavo calibrate --imatrix m.imatrix -o weights.safetensors
octavo quantize -q "$MODEL" -o unweighted
octavo verify "$MODEL" unweighted --calibration weights.safetensors >report
grep -q '^model.layers.2.mlp.up_proj.weight  ' report || { cat report; fail "the weighted error of a layer"; }
grep -q '^outputs of 1 layers' report || { cat report; fail "one layer"; }
octavo quantize "$MODEL" --calibration weights.safetensors -o weighted 2>err
grep -q 'nothing was calibrated' err || { cat err; fail "a diagonal rounds nothing"; }
cmp unweighted/model.safetensors weighted/model.safetensors
refused 2 calibrate --imatrix m.imatrix m.imatrix -o x
refused 3 calibrate --imatrix "$MODEL/config.json" -o x
head -c 200 m.imatrix >cut.imatrix
refused 3 calibrate --imatrix cut.imatrix -o x
expect_err "is cut at byte"
absent x

# ---- scales of a KV cache: the largest key or value over 448, in the checkpoint and in its config ----
octavo calibrate -q "$MODEL" --tokens ids --kv-cache --diagonal -o kv.safetensors
octavo calibrate -q kv.safetensors --activation-scales max -o kvscales.safetensors
[ "$(octavo ls kvscales.safetensors | grep -c 'self_attn\.[kv]_scale ')" -eq 8 ] || fail "two scales a layer"
for which in k v; do
    bytes_of kv.safetensors model.layers.1.self_attn.${which}_cache.amax | od -An -v -tf4 -w4 | sort -g | tail -n 1 >most
    bytes_of kvscales.safetensors model.layers.1.self_attn.${which}_scale | od -An -v -tf4 -w4 >scale
    paste most scale | awk '{ d = $1 / 448 - $2; if (d > $2 * 1e-6 || -d > $2 * 1e-6) exit 1 }' || fail "amax / 448 for $which"
done
for c in deepseek compressed-tensors; do
    octavo quantize -q "$MODEL" --convention $c --activation-scales kvscales.safetensors -o kv-$c
    bytes_of kv-$c/model.safetensors model.layers.1.self_attn.k_scale >a
    bytes_of kvscales.safetensors model.layers.1.self_attn.k_scale >b
    same a b
    octavo verify -q "$MODEL" kv-$c --min-sqnr 31
    octavo audit -q kv-$c >audited || { cat audited; fail "a sound checkpoint"; }
done
grep -q '"num_bits": *8' kv-compressed-tensors/config.json && grep -q '"kv_cache_scheme": *{' kv-compressed-tensors/config.json || fail "kv_cache_scheme in config.json"
octavo dequantize -q kv-compressed-tensors -o kv-back # and it is read again
refused 2 quantize "$MODEL" -t ascend-910b --activation-scales kvscales.safetensors -o x
expect_err "scales of a KV cache"
refused 3 quantize - --convention deepseek --activation-scales kvscales.safetensors -o x <"$MODEL/model.safetensors"
absent x
