#!/bin/sh
# A walk with the bundled model from BF16 to the memory layout of two chips: by
# files, by a shell pipe, and by a sharded directory.  `make demo` runs it; what it
# writes lies in build/demo.  Exit 1 when anything is not as it should be.
set -eu
LC_ALL=C
export LC_ALL
cd "$(dirname "$0")/.."
OCTAVO=${OCTAVO:-build/release/octavo}
model=samples/model
out=build/demo
chips="ascend-950 nvidia-sm100"
least=30                        # dB; below this the quantized model counts as damaged

octavo() { "$OCTAVO" "$@"; }
bold= plain= red=
if [ -t 1 ] && [ "${TERM:-dumb}" != dumb ] && [ -z "${NO_COLOR-}" ]; then
    bold=$(printf '\033[1m') plain=$(printf '\033[0m') red=$(printf '\033[31;1m')
fi
title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
note() { printf '  %s\n' "$*"; }
# run LINE: shows a command line, then runs it; its words about itself are indented.
run() {
    printf '  %s$ %s%s\n' "$bold" "$1" "$plain"
    if ! eval "$1" >"$out/.said" 2>&1; then
        sed 's/^/    /' "$out/.said"
        printf '\n%sdemo: the last command failed.%s\n' "$red" "$plain"
        exit 1
    fi
    sed 's/^/    /' "$out/.said"
}
wrong=0
# check WHAT COMMAND...: a line of the last table.
check() {
    what=$1
    shift
    if "$@" >/dev/null 2>&1; then
        answer=yes
    else
        answer=${red}NO$plain wrong=1
    fi
    printf '  %-58s %s\n' "$what" "$answer"
}
bytes() { find "$@" -type f -name '*.safetensors' -o -type f -name '*.octp' | xargs cat | wc -c; }
digest() { octavo digest "$1" | cut -d' ' -f1; }
same_digest() { [ "$(digest "$1")" = "$(digest "$2")" ]; }

rm -rf "$out"
mkdir -p "$out"

title "1. What is in the model?"
note "A small Llama that was trained on one book; README.md beside it tells how."
run "octavo ls --tree $model"

title "2. To FP8 with power-of-two scales"
note "A directory in gives a directory out that serving software loads as it is:"
note "config.json declares the scheme. Norms, embeddings and lm_head are kept."
run "octavo quantize $model -o $out/fp8"
run "octavo ls -q --tree $out/fp8 | grep layers | head -n 6"

title "3. What did that cost?"
note "Exit 0 only if every tensor keeps $least dB of signal over rounding noise."
run "octavo verify $model $out/fp8 --min-sqnr $least --json >$out/verify.json"
# The file has a line per tensor.
awk '
    function field(key,   s) {
        s = $0
        if (!match(s, "\"" key "\":")) return ""
        s = substr(s, RSTART + RLENGTH)
        gsub(/^"/, "", s)
        sub(/[",}].*/, "", s)
        return s
    }
    /^\{"name"/ {
        all++; name = field("name"); n = field("elements"); db = field("sqnr_db")
        weights += n; saturated += field("saturated"); flushed += field("flushed")
        if (field("exact") == n) { equal++; next }
        noise = field("mse") * n
        if (field("rel") > 0) signal += noise / (field("rel") ^ 2)
        sum += noise; rounded += n
        if (worst == "" || db + 0 < low) { low = db + 0; worst = name }
    }
    END {
        printf "tensors=%d equal=%d weights=%d rounded=%d saturated=%d flushed=%d low=%.1f worst=%s sqnr=%.1f\n",
            all, equal, weights, rounded, saturated, flushed, low, worst,
            (sum > 0 ? 10 * log(signal / sum) / log(10) : 999)
    }' "$out/verify.json" >"$out/.figures"
eval "$(cat "$out/.figures")"
note "  $equal of $tensors tensors equal bit for bit; the others have $sqnr dB, the worst $low dB."

title "4. To a chip's own memory layout"
for chip in $chips; do
    run "octavo pack -q $out/fp8 --target $chip -o $out/$chip.octp"
done

title "5. And back, byte for byte"
for chip in $chips; do
    run "octavo unpack -q $out/$chip.octp -o $out/back-$chip"
done
note "The digest of a model is the same in every container it lies in:"
run "octavo digest $out/fp8$(for c in $chips; do printf ' %s' "$out/$c.octp" "$out/back-$c"; done)"

title "6. The same by a shell pipe, with no file in between"
chip=${chips%% *}
run "octavo convert -q $model -o - | octavo quantize -q - -o - | octavo pack -q - --target $chip -o $out/pipe.octp"

title "7. The same by a sharded directory"
run "octavo convert -q $model --shard-size 1MB -o $out/shards"
run "octavo quantize -q $out/shards -o $out/shards-fp8"
run "octavo digest $out/shards-fp8"

# ---- what it comes to --------------------------------------------------------------
title "Result"
before=$(bytes "$model")
line() {
    awk -v what="$1" -v n="$2" -v whole="$before" -v where="$3" 'BEGIN {
        printf "  %-26s %8.2f MB %5.0f %%   %s\n", what, n / 1e6, 100 * n / whole, where }'
}
line "BF16, the original" "$before" "$model"
line "FP8 with UE8M0 scales" "$(bytes "$out/fp8")" "$out/fp8"
for chip in $chips; do
    line "packed for $chip" "$(bytes "$out/$chip.octp")" "$out/$chip.octp"
done
echo
printf '  %-26s %s\n' \
    "kept bit for bit" "$equal of $tensors tensors (norms, embedding, lm_head)" \
    "rounded once to FP8" "$((tensors - equal)) tensors, $rounded of $weights weights" \
    "SQNR of what was rounded" "$sqnr dB" \
    "worst tensor" "$low dB, $worst" \
    "values saturated" "$saturated" \
    "values flushed to zero" "$flushed" \
    "packing and unpacking" "exact: no value changes"
echo
check "every tensor keeps $least dB" octavo verify -q $model "$out/fp8" --min-sqnr $least
for chip in $chips; do
    check "packed for $chip, digest as before" same_digest "$out/fp8" "$out/$chip.octp"
    check "unpacked from $chip, file as before" \
        cmp "$out/fp8/model.safetensors" "$out/back-$chip/model.safetensors"
done
check "by the pipe, the same bytes as by files" cmp "$out/pipe.octp" "$out/${chips%% *}.octp"
check "by shards, digest as by one file" same_digest "$out/fp8" "$out/shards-fp8"
rm -f "$out/.said" "$out/.figures"

if [ $wrong -ne 0 ]; then
    printf '\n%sSomething above is not as it should be.%s\n' "$red" "$plain"
    exit 1
fi
cat <<END

  Next: octavo targets; octavo quantize --help; the scripts in samples/pipelines.
END
