#!/bin/sh
# A BF16 checkpoint to FP8 with power-of-two scales, and the proof that it is good.
#
#   sh samples/pipelines/bf16-to-fp8.sh [MODEL_DIR [OUT_DIR [CHIP]]]
#
# CHIP (octavo targets lists them) chooses scheme and names for one chip; without it
# the result is in the convention of DeepSeek-V3, which vLLM and SGLang load.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
octavo=${OCTAVO:-$here/../build/release/octavo}
model=${1:-$here/model} out=${2:-model-fp8} chip=${3-}

# What will happen, tensor by tensor: nothing is written yet.
"$octavo" quantize "$model" ${chip:+--target "$chip"} -o "$out" -n | tail -n 1

# The directory is complete: config.json, index and companions as a server wants them.
"$octavo" quantize "$model" ${chip:+--target "$chip"} -o "$out"

# Exit 1 when any tensor has less than 25 dB of signal over noise.
"$octavo" verify "$model" "$out" --min-sqnr 25
