#!/bin/sh
# A GGUF file to a directory in FP8 that serving software loads: Hugging Face's names and
# order of rows, config.json made of the file's keys. Whatever types it holds are read as
# they are; samples/fetch.sh gets a real one.
#
#   sh samples/pipelines/gguf-to-fp8.sh [MODEL.gguf [OUT_DIR]]
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
octavo=${OCTAVO:-$here/../build/release/octavo}
model=${1-} out=${2:-gguf-fp8}

if [ -z "$model" ]; then
    model=sample.gguf
    "$octavo" quantize "$here/model" --scheme q8_0 -o "$model"
fi

"$octavo" ls -q "$model"
"$octavo" quantize "$model" --names hf -o "$out"
"$octavo" verify --names hf "$model" "$out" --min-sqnr 20
"$octavo" ls -q "$out"
cat "$out/config.json"
