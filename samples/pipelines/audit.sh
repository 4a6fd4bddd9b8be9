#!/bin/sh
# Is an FP8 checkpoint what it says it is? Lists its schemes, checks that every weight
# has its scale, that the codes are those of its source where there is one, and that
# its bytes are those that somebody published.
#
#   sh samples/pipelines/audit.sh [FP8_MODEL [BF16_SOURCE [SHA256]]]
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
octavo=${OCTAVO:-$here/../build/release/octavo}
model=${1-} source=${2-} published=${3-}

if [ -z "$model" ]; then
    model=audited source=$here/model
    "$octavo" quantize -q "$source" -f -o "$model"
fi

# One line per kind of tensor, with the scheme that was found in it.
"$octavo" ls --tree "$model"

# Reading all of it strictly finds a weight without a scale, a scale without a weight,
# and shapes that do not fit: exit 3 and a sentence.
"$octavo" dequantize -q "$model" -o null:
echo "every quantized weight has a scale that fits"

if [ -n "$source" ]; then
    "$octavo" verify "$source" "$model" --min-sqnr 25
fi

sum=$("$octavo" digest "$model" | cut -d' ' -f1)
if [ -n "$published" ] && [ "$sum" != "$published" ]; then
    echo "the digest is $sum and not $published" >&2
    exit 1
fi
echo "digest $sum"
