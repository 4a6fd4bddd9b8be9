#!/bin/sh
# A large sharded checkpoint, shard by shard, on a machine that may be taken away:
# run it again after an interruption and it goes on with the first shard that is
# not finished.
#
#   sh samples/pipelines/shards-with-resume.sh [MODEL_DIR [OUT_DIR]]
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
octavo=${OCTAVO:-$here/../build/release/octavo}
model=${1-} out=${2:-shards-fp8}

if [ -z "$model" ]; then
    # The bundled model is small; this cuts it into six shards to have something to show.
    model=shards-bf16
    [ -d "$model" ] || "$octavo" convert -q "$here/model" --shard-size 1MB -o "$model"
fi

# Each finished shard is recorded with its SHA-256 in a journal beside it. A second
# run trusts that digest, not the name of the file.
"$octavo" quantize "$model" -o "$out" --resume

"$octavo" verify -q "$model" "$out" --min-sqnr 25
ls "$out"
