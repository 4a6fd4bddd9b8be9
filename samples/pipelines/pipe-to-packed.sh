#!/bin/sh
# From a checkpoint, or a compressed one, to a chip's memory layout in one pipe:
# no file in between, and constant memory whatever the size of the model.
#
#   sh samples/pipelines/pipe-to-packed.sh [MODEL [OUT.octp [CHIP]]]
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
octavo=${OCTAVO:-$here/../build/release/octavo}
model=${1:-$here/model} out=${2:-model.octp} chip=${3:-ascend-950}

# A pipe's exit status is that of its last command; a stage that fails before makes
# the last one fail too, because its input ends early. No half file stays behind.
"$octavo" convert -q "$model" -o - |
    "$octavo" quantize -q - --target "$chip" -o - |
    "$octavo" pack - --target "$chip" -o "$out"

# The packed file is a model like any other: list it, compare it, undo it.
"$octavo" ls -q --tree "$out"
"$octavo" verify "$model" "$out" --min-sqnr 25
"$octavo" unpack -q "$out" -o "${out%.octp}-unpacked"
[ "$("$octavo" digest "$out" | cut -d' ' -f1)" = "$("$octavo" digest "${out%.octp}-unpacked" | cut -d' ' -f1)" ]
echo "unpacked again: the same digest"
