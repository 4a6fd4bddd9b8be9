#!/bin/sh
# An FP8 checkpoint for a server or a chip that has no FP8: back to BF16, which is
# exact when scales are powers of two, or on to INT8 by way of it.
#
#   sh samples/pipelines/for-a-server-without-fp8.sh [FP8_MODEL [OUT_PREFIX]]
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
octavo=${OCTAVO:-$here/../build/release/octavo}
model=${1-} out=${2:-server}

if [ -z "$model" ]; then
    model=$out-fp8
    "$octavo" quantize -q "$here/model" -f -o "$model"
fi

# E4M3 times a power of two fits into BF16: not one value changes.
"$octavo" dequantize "$model" -o "$out-bf16"
"$octavo" verify -q "$model" "$out-bf16" --require-exact && echo "BF16: exact"

# INT8 rounds once more, so it is checked by a figure. From the original BF16 weights
# it would be rounded only once: prefer them where they are to be had.
"$octavo" quantize "$out-bf16" --scheme int8-channel -o "$out-int8"
"$octavo" verify "$model" "$out-int8" --min-sqnr 30
