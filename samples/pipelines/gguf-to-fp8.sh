#!/bin/sh
# A GGUF file to FP8 safetensors. Whatever types it holds are read as they are;
# samples/fetch.sh gets a real one.
#
#   sh samples/pipelines/gguf-to-fp8.sh [MODEL.gguf [OUT_DIR]]
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
octavo=${OCTAVO:-$here/../build/release/octavo}
model=${1-} out=${2:-gguf-fp8}

if [ -z "$model" ]; then
    model=tiny.gguf
    # The smallest GGUF that has something to quantize: one F32 matrix of 2 rows and
    # 32 columns. Numbers are little-endian; strings have their length before them.
    {
        printf 'GGUF\003\000\000\000'                                   # version 3
        printf '\001\000\000\000\000\000\000\000\001\000\000\000\000\000\000\000'  # 1 tensor, 1 key
        printf '\024\000\000\000\000\000\000\000general.architecture'
        printf '\010\000\000\000\005\000\000\000\000\000\000\000llama'  # a string
        printf '\023\000\000\000\000\000\000\000blk.0.attn_q.weight'
        printf '\002\000\000\000\040\000\000\000\000\000\000\000\002\000\000\000\000\000\000\000'
        printf '\000\000\000\000\000\000\000\000\000\000\000\000'       # F32, at offset 0
    } >"$model"
    size=$(wc -c <"$model")
    head -c $(((32 - size % 32) % 32)) /dev/zero >>"$model"
    i=0
    while [ $i -lt 16 ]; do
        printf '\000\000\200\077\000\000\000\300\315\314\114\076\000\000\100\100'  # 1, -2, 0.2, 3
        i=$((i + 1))
    done >>"$model"
fi

"$octavo" ls -q "$model"
"$octavo" quantize "$model" -o "$out"
"$octavo" verify "$model" "$out" --min-sqnr 20
"$octavo" ls -q "$out"
