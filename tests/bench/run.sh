#!/bin/sh
# make bench: ratios measured in one run, and a table of them for the README.
#
#     OCTAVO=build/release/octavo BENCH=build/release/bench- sh tests/bench/run.sh
#
# BENCH_MB    size of the model (4400; the disk must hold three times that, or it
#             becomes smaller)
# BENCH_RUNS  how often everything is repeated (5)
# BENCH_DIR   where the files go (build/bench); they are removed in the end unless
# BENCH_KEEP  is set
# BENCH_RT=1  real-time priority, where permitted: true two-thread times on a machine
#             that does other work too
#
# What is compared is measured in turns, since machines drift.  Before anything is
# timed its input was read and its output file exists and is in memory: the first
# touch of a page can take ten times as long as all that is measured here.
set -eu
export LC_ALL=C
OCTAVO=${OCTAVO:-build/release/octavo}
BENCH=${BENCH:-build/release/bench-}
MINI=${OCTAVO%/*}/mini
dir=${BENCH_DIR:-build/bench}
mb=${BENCH_MB:-4400}
runs=${BENCH_RUNS:-5}

mkdir -p "$dir"
log=$dir/log
summary=$dir/summary
: > "$log"
: > "$summary"
files='in copy q deq mx.src mx f32.src f32 pk small third tall wide log'
clean() { for f in $files; do rm -f "$dir/$f" "$dir/$f.safetensors" "$dir/$f.octp"; done; rm -rf "$dir/headers" "$dir/llama"; }
[ "${BENCH_KEEP:-}" ] || trap clean EXIT
trap 'exit 130' INT TERM

rt=
if [ "${BENCH_RT:-}" ]; then
    if chrt -f 1 true 2>/dev/null; then rt='chrt -f 1'; else echo 'BENCH_RT: no real-time priority here' >&2; fi
fi

free_mb() { df -Pk "$dir" | awk 'NR == 2 { print int($4 / 1000 * 1.024) }'; }
have=$(free_mb)
if [ $((mb * 7 / 2)) -gt "$have" ]; then
    mb=$((have * 2 / 7))
    echo "only $have MB are free in $dir: the model will have $mb MB (BENCH_MB)"
fi
mem=$(awk '/MemAvailable/ { print int($2 / 1000 * 1.024) }' /proc/meminfo 2>/dev/null || echo 0)
if [ "$mem" -gt 0 ] && [ $((mb * 3)) -gt "$mem" ]; then
    mb=$((mem / 3))
    echo "only $mem MB of memory are free and the files must stay in it: the model will have $mb MB (BENCH_MB)"
fi
[ "$mb" -ge 32 ] || { echo "there is no room for a model of 32 MB in $dir" >&2; exit 4; }

# ---- measuring ----------------------------------------------------------------
# timed NAME COMMAND...: a line "NAME wall user sys KiB" in the log
timed() { $rt "${BENCH}timed" "$log" "$@"; }
# quiet NAME ARGUMENT...: octavo, and what it says only if it fails
quiet() {
    _as=$1; shift
    timed "$_as" "$OCTAVO" "$@" > "$dir/said" 2>&1 || { cat "$dir/said" >&2; exit 4; }
    rm -f "$dir/said"
}
# figure NAME COLUMN min|median|max, of what is in the log
figure() {
    awk -v n="$1" -v c="$2" '$1 == n { print $c }' "$log" | sort -n | awk -v w="$3" '
        { x[NR] = $1 } END { print w == "min" ? x[1] : w == "max" ? x[NR] : (x[int((NR + 1) / 2)] + x[int(NR / 2) + 1]) / 2 }'
}
cpu() { awk -v n="$1" -v c="$2" '$1 == n { s += $c; k++ } END { print k ? s / k : 0 }' "$log"; }
size() { wc -c < "$1" | tr -d ' '; }
sum() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.0f", a + b }'; }
calc() { awk "BEGIN { printf(\"$1\", $2) }"; }
yes_if() { awk "BEGIN { print ($1) ? \"yes\" : \"no\" }"; }
# goal WHAT TARGET MEASURED CONDITION
goal() { printf '| %s | %s | %s | %s |\n' "$1" "$2" "$3" "$(yes_if "$4")" >> "$summary"; }
# What an output file must be before it is written over: there, and in memory.
warm() { for f; do cat "$f" > /dev/null; done; }
# The disk must not be busy with what the command before has written.
settle() { sync "$copy" "$q"; }
# rows: NAME LABEL INPUT_BYTES: one line of a table
row() {
    w=$(figure "$1" 2 min); d=$(figure dd 2 min); c=$(figure cat 2 min)
    printf '%-34s %8.3f %8.3f %7.2f %9.3f %9.3f %8.2f %8.2f %8.1f\n' "$2" "$w" "$(figure "$1" 2 median)" \
        "$(calc %f "$3 / $w / 1e9")" "$(calc %f "$(cpu "$1" 3) / $3 * 1e9")" "$(calc %f "$(cpu "$1" 4) / $3 * 1e9")" \
        "$(calc %f "$w / $d * $bytes / $3")" "$(calc %f "$w / $c * $bytes / $3")" "$(calc %f "$(figure "$1" 5 max) / 1024")"
}
heading() {
    printf '\n%s\n%-34s %8s %8s %7s %9s %9s %8s %8s %8s\n' "$1" '' 'min s' 'median' 'GB/s' 'user s/GB' 'sys s/GB' 'of dd' 'of cat' 'RSS MiB'
}

# ---- the model ----------------------------------------------------------------
in=$dir/in.safetensors
copy=$dir/copy.safetensors
q=$dir/q.safetensors
"$OCTAVO" --version | head -n 2
awk -F': ' '/model name/ && !n++ { print "processor: " $2 }' /proc/cpuinfo 2>/dev/null || :
echo "processors: $(getconf _NPROCESSORS_ONLN), load $(cut -d' ' -f1 /proc/loadavg 2>/dev/null || echo '?')${rt:+, real-time priority}"
timed mkmodel "${BENCH}mkmodel" "$in" "$mb"
bytes=$(size "$in")
echo "model: $bytes bytes; everything warm; $runs runs; s/GB and ratios are per byte of input"

# Existing outputs, of the right size, written once by the command that will write them again.
quiet first quantize "$in" -o "$q" -f --no-sync -T 2
dd if="$in" of="$copy" bs=256K conv=fsync status=none
sync "$q"
"${BENCH}mkmodel" "$dir/small.safetensors" $((mb / 10 > 32 ? mb / 10 : 32))
small=$(size "$dir/small.safetensors")

i=0
while [ $i -lt "$runs" ]; do
    [ $i -gt 0 ] || warm "$in" "$copy" "$q" "$dir/small.safetensors"
    timed cat cat "$in" > /dev/null
    settle
    timed dd dd if="$in" of="$copy" bs=256K conv=notrunc status=none
    settle
    quiet q2 quantize "$in" -o "$q" -f --in-place --no-sync -T 2
    settle
    quiet q1 quantize "$in" -o "$q" -f --in-place --no-sync -T 1
    settle
    quiet null2 quantize "$in" -o null: -T 2
    quiet null1 quantize "$in" -o null: -T 1
    quiet simd quantize "$dir/small.safetensors" -o null: -T 1
    OCTAVO_CPU=c quiet plain quantize "$dir/small.safetensors" -o null: -T 1
    i=$((i + 1))
done
heading 'BF16 -> fp8-ue8m0-128x128'
row cat 'cat > /dev/null' "$bytes"
row dd 'dd bs=256K conv=notrunc' "$bytes"
row q2 'quantize -T 2, existing file' "$bytes"
row q1 'quantize -T 1, existing file' "$bytes"
row null2 'quantize -T 2, null:' "$bytes"
row null1 'quantize -T 1, null:' "$bytes"
row simd 'quantize -T 1, null:, small' "$small"
row plain '  the same, OCTAVO_CPU=c' "$small"
speedup=$(calc %.1f "$(cpu plain 3) / $(cpu simd 3)")
echo "user time, plain C to SIMD: $speedup"

r=$(calc %.2f "$(figure q2 2 min) / $(figure dd 2 min)")
goal 'quantize, 2 threads, warm, into an existing file' '<= 0.6 x `dd`' "$r x" "$r <= 0.6"
r=$(calc %.2f "$(figure q2 2 min) / $(figure cat 2 min)")
goal 'the same against reading alone' '<= 1.5 x `cat`' "$r x" "$r <= 1.5"
r=$(calc %.2f "$(figure q1 2 min) / $(figure dd 2 min)")
goal 'quantize, 1 thread' '<= 0.8 x `dd`' "$r x" "$r <= 0.8"
r=$(calc %.3f "$(cpu q1 3) / $bytes * 1e9")
goal 'user CPU of quantize' '<= 0.10 s/GB' "$r s/GB" "$r <= 0.10"
goal 'SIMD against plain C, user CPU' '-' "$speedup x" "$speedup >= 1"

# ---- other verbs ----------------------------------------------------------------
# All inputs and outputs exist and are warm.  GB/s and ratios count the larger side,
# moved once: `dd` reads and writes as many bytes.
qbytes=$(size "$q")
both=$(sum "$bytes" "$qbytes")
heading 'Other verbs, -T 2 (bytes: the larger of input and output; verify: both inputs)'
row dd 'dd bs=256K conv=notrunc' "$bytes"
# verb NAME LABEL BYTES OUTPUT VERB ARGUMENT...
verb() {
    name=$1 label=$2 n=$3 out=$4; shift 4
    quiet "$name-first" "$@"
    i=0
    while [ $i -lt "$runs" ]; do sync "$out"; quiet "$name" "$@"; i=$((i + 1)); done
    row "$name" "$label" "$n"
}
# The copy is as large as the output, and no longer needed as it is.
verb deq 'dequantize' "$bytes" "$copy" dequantize "$q" -o "$copy" -f --in-place --no-sync -T 2
verb verify 'verify' "$both" "$q" verify "$in" "$q" -T 2
verb verify1 'verify -T 1' "$both" "$q" verify "$in" "$q" -T 1
verb look 'verify --inspect' "$both" "$q" verify "$in" "$q" --inspect -T 2
verb audit 'audit --no-twins' "$qbytes" "$q" audit "$q" --no-twins -T 2
r=$(calc %.2f "$(figure verify1 2 min) / $(figure cat 2 min) * $bytes / $both")
goal 'verify, 1 thread, against reading as many bytes alone' '<= 2 x `cat`' "$r x" "$r <= 2"
g=$(calc %.1f "$both / 1e9 / $(figure verify1 3 min)")
goal 'verify, bytes compared in a second of user time' '>= 10 GB/s' "$g GB/s" "$g >= 10"
m=$(calc %.1f "$(figure verify1 5 max) / 1024")
goal 'memory of verify' '<= 32 MiB' "$m MiB" "$m <= 32"
verb digest 'digest' "$bytes" "$in" digest "$in" -T 2
rm -f "$copy"
for t in ascend-950 nvidia-sm90; do
    f=$dir/$([ $t = ascend-950 ] && echo mx || echo f32)
    quiet "make-$t" quantize "$in" --target $t -o "$f.src.safetensors" -f --no-sync -T 2
    quiet "mk-$t" pack "$f.src.safetensors" --target $t -o "$f.octp" -f --no-sync -T 2
    n=$(size "$f.octp")
    verb "quantize-$t" "quantize --target $t" "$bytes" "$f.src.safetensors" quantize "$in" --target $t -o "$f.src.safetensors" -f --in-place --no-sync -T 2
    verb "pack-$t" "pack --target $t" "$n" "$f.octp" pack "$f.src.safetensors" --target $t -o "$f.octp" -f --in-place --no-sync -T 2
    verb "unpack-$t" "unpack ($t)" "$n" "$f.src.safetensors" unpack "$f.octp" -o "$f.src.safetensors" -f --in-place --no-sync -T 2
    rm -f "$f.src.safetensors" "$f.octp"
done

# ---- pack and cp, in turns ---------------------------------------------------------
# The same bytes into an existing file, warm, nobody waits for the disk. pack also
# takes SHA-256 of all it reads, and of all that it lays out otherwise.
printf '\nSpeed of pack and unpack, 2 threads, as a share of that of cp of the same file\n%-20s %-22s %8s %8s\n' target layout pack unpack
for t in nvidia-sm90 ascend-950 ascend-910b nvidia-sm100 hygon-bw1000 nvidia-sm80-marlin; do
    f=$dir/pk
    quiet "pk-make-$t" quantize "$in" --target $t -o "$f.safetensors" -f --no-sync -T 2
    quiet "pk-mk-$t" pack "$f.safetensors" --target $t -o "$f.octp" -f --no-sync -T 2
    cp "$f.safetensors" "$copy"
    i=0
    while [ $i -lt "$runs" ]; do
        sync "$copy" "$f.octp"
        timed "pk-cp-$t" cp "$f.safetensors" "$copy"
        sync "$copy"
        quiet "pk-pack-$t" pack "$f.safetensors" --target $t -o "$f.octp" -f --in-place --no-sync -T 2
        sync "$f.octp"
        quiet "pk-unpack-$t" unpack "$f.octp" -o "$copy" -f --in-place --no-sync -T 2
        i=$((i + 1))
    done
    p=$(calc %.2f "$(figure "pk-cp-$t" 2 min) / $(figure "pk-pack-$t" 2 min)")
    u=$(calc %.2f "$(figure "pk-cp-$t" 2 min) / $(figure "pk-unpack-$t" 2 min)")
    printf '%-20s %-22s %8s %8s\n' $t "$("$OCTAVO" targets $t | awk '/weight/ { $1 = ""; print; exit }' | cut -c2-22)" "$p" "$u"
    goal "pack --target $t" '>= 0.5 of the speed of `cp`' "$p" "$p >= 0.5"
    rm -f "$f.safetensors" "$f.octp"
done
rm -f "$copy"

# ---- memory ---------------------------------------------------------------------
# The same peak for every size of model and tensor.  Without priority: then not all
# threads would get to work.
rt=
rm -f "$q"
third=$((mb * 3 / 10 > 96 ? mb * 3 / 10 : 96))
"${BENCH}mkmodel" "$dir/third.safetensors" $third
"${BENCH}mkmodel" --tensor $((third * 1000000 / 2 / 8192)) 8192 "$dir/tall.safetensors"
"${BENCH}mkmodel" --tensor 130 $((third * 1000000 / 2 / 130)) "$dir/wide.safetensors"
printf '\nPeak memory of quantize into a file, MiB (limit 16 MiB + 8 MiB per thread)\n'
printf '%-34s %8s %8s %8s %8s\n' '' -T1 -T2 -T4 -T8
worst=-100
for m in small third tall wide; do
    line=
    for t in 1 2 4 8; do
        quiet "rss-$m-$t" quantize "$dir/$m.safetensors" -o "$q" -f --no-sync -T $t
        x=$(calc %.1f "$(figure "rss-$m-$t" 5 max) / 1024")
        line="$line $x"
        worst=$(calc %.1f "($x - 16 - 8 * $t > $worst) ? $x - 16 - 8 * $t : $worst")
    done
    case $m in
    small) what="model of $((small / 1000000)) MB" ;;
    third) what="model of $third MB" ;;
    tall) what="one tensor of $third MB, 8192 wide" ;;
    wide) what="one tensor of $third MB, 130 rows" ;;
    esac
    # shellcheck disable=SC2086
    printf '%-34s %8.1f %8.1f %8.1f %8.1f\n' "$what" $line
    rm -f "$q"
done
printf '%-34s %8d %8d %8d %8d\n' limit 24 32 48 80
apart=$(calc %.1f "$(figure rss-third-2 5 max) / 1024 - $(figure rss-small-2 5 max) / 1024")
goal 'peak memory beyond 16 MiB + 8 MiB per thread, worst of all' '<= 0' "$(calc %+.1f "$worst") MiB" "$worst <= 0"
goal 'peak memory of models 3 x apart' 'within 2 MiB' "$apart MiB" "$apart <= 2 && $apart >= -2"
for m in third tall wide; do rm -f "$dir/$m.safetensors"; done

# ---- calibration: one layer of 2048 x 8192, against the product alone, in turns ----------
llama=$dir/llama
mkdir -p "$llama"
"${BENCH}mkmodel" --llama 1 "$llama/model.safetensors"
cat >"$llama/config.json" <<END
{"model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 1, "num_attention_heads": 16,
 "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 32000, "rms_norm_eps": 1e-5, "rope_theta": 10000}
END
awk 'BEGIN { for (i = 0; i < 16384; i++) { z = (i * i * 7 + i * 3) % 32000; printf "\\%03o\\%03o\\000\\000\n", z % 256, int(z / 256) } }' |
    while read -r x; do printf "$x"; done >"$llama/ids"
best=0 product=0
for i in 1 2 3; do
    x=$("$OCTAVO" calibrate "$llama" --tokens "$llama/ids" -T 2 -q -f -o null: --json | sed -n 's/.*"gflops":\([0-9.]*\).*/\1/p')
    best=$(calc '%.1f' "$x > $best ? $x : $best")
    x=$("${BENCH}linalg" 2)
    product=$(calc '%.1f' "$x > $product ? $x : $product")
done
x=$(calc %.2f "$best / $product")
printf '\nCalibration, 16384 tokens, 2 threads: %s GFLOP/s of forward pass and second moments, the product alone %s\n' "$best" "$product"
goal '`calibrate` against the product alone' '>= 0.70' "$x" "$x >= 0.7"

# ---- ls and the start -------------------------------------------------------------
rm -rf "$dir/headers"
"$MINI" inventory "$dir/headers"
i=-1
while [ $i -lt 10 ]; do
    n=$([ $i -lt 0 ] && echo first || echo ls)
    timed $n "$OCTAVO" ls "$dir/headers" > /dev/null 2>&1
    timed $n-tree "$OCTAVO" ls --tree "$dir/headers" > /dev/null 2>&1
    timed $n-version "$OCTAVO" --version > /dev/null
    i=$((i + 1))
done
printf '\nModel of 91991 tensors in 163 shards, 10 runs     min ms   median  RSS MiB\n'
for n in ls ls-tree ls-version; do
    case $n in ls) what='octavo ls' ;; ls-tree) what='octavo ls --tree' ;; *) what='octavo --version' ;; esac
    printf '%-48s %8.1f %8.1f %8.1f\n' "$what" "$(calc %f "$(figure $n 2 min) * 1e3")" "$(calc %f "$(figure $n 2 median) * 1e3")" "$(calc %f "$(figure $n 5 max) / 1024")"
done
x=$(calc %.0f "$(figure ls 2 min) * 1e3")
goal '`ls` of 91,991 tensors in 163 shards' '<= 100 ms' "$x ms" "$x <= 100"
x=$(calc %.1f "$(figure ls-version 2 min) * 1e3")
goal 'start (`octavo --version`)' '<= 3 ms' "$x ms" "$x <= 3"

# ---- kernels ----------------------------------------------------------------------
echo
"${BENCH}kernels" | tee "$dir/kernels"
x=$(awk '$1 == "error-bf16-128" { printf "%.1f", 3 / $3 }' "$dir/kernels")
rm -f "$dir/kernels"
goal 'BF16 compared with FP8 in memory (kernel; 3 bytes an element)' '>= 10 GB/s' "$x GB/s" "$x >= 10"
echo
"${BENCH}layout"
# Instructions per element: the figure without noise.  The gates are those of
# prototypes that counted no inexact, flushed and saturated elements.
if command -v valgrind > /dev/null 2>&1 && "$OCTAVO" --version | grep -q 'kernels: avx2'; then
    ir() { # SYMBOL COMMAND...: instructions
        symbol=$1; shift
        valgrind --tool=callgrind "--toggle-collect=$symbol" --callgrind-out-file=/dev/null "$@" 2>&1 |
            awk '/Collected/ { print $4 }'
    }
    printf '\nInstructions per element (callgrind, 256 x 8192)\n%-14s %8s %8s %6s\n' kernel c avx2 gate
    for k in $("${BENCH}kernels" --list); do
        gate=
        case $k in
        amax-bf16-128) gate=0.25 ;;
        int8-bf16-row) gate=0.9 ;; dec-e4m3-128) gate=1.1 ;; error) gate=2.2 ;;
        esac
        x=$(ir bench_entry "${BENCH}kernels" --ir "$k" avx2)
        y=$(ir bench_entry "${BENCH}kernels" --ir "$k" c)
        x=$(calc %.3f "$x / 256 / 8192")
        echo "$k $x" >> "$dir/ir"
        printf '%-14s %8.2f %8.3f %6s\n' "$k" "$(calc %f "$y / 256 / 8192")" "$x" "$gate"
        [ -z "$gate" ] || goal "instructions per element, $k" "<= $gate" "$x" "$x <= $gate * 1.03"
    done
    # A block scheme is its two passes.
    for k in 'bf16-128 1.15' 'f16-128 2.1' 'f32-128 2.05' 'bf16-32 1.75'; do
        x=$(awk -v k="${k% *}" '$1 == "amax-" k || $1 == "pow2-" k { s += $2 } END { printf "%.3f", s }' "$dir/ir")
        goal "instructions per element, amax and pow2, ${k% *}" "<= ${k#* }" "$x" "$x <= ${k#* } * 1.03"
    done
    rm -f "$dir/ir"
    # It packs twice, the first time to have something to unpack.
    x=$(ir layout_pack "${BENCH}layout" 'c1 r1 r0 c0 | r0=16 c0=32' 8 256 8192)
    x=$(calc %.3f "$x / 2 / 256 / 8192")
    goal 'instructions per byte, tiles of 16 x 32' '<= 0.11' "$x" "$x <= 0.11 * 1.03"
    x=$(ir layout_pack "${BENCH}layout" 'c0 r0' 8 256 8192)
    x=$(calc %.3f "$x / 2 / 256 / 8192")
    goal 'instructions per byte, transpose' '<= 0.6' "$x" "$x <= 0.6 * 1.03"
else
    echo 'no valgrind or no AVX2: instructions are not counted'
fi

printf '\nModel of %d MB, warm, ratios within one run (make bench):\n\n| what | target | measured | met |\n|---|---|---|---|\n' "$((bytes / 1000000))"
cat "$summary"
rm -f "$summary"
