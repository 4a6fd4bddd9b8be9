#!/bin/sh
# Multiplies on an NVIDIA GPU with the bytes of packed files. Exit 0 when all agrees or there is
# nothing to try it on, 1 when something disagrees.
set -eu
cd "$(dirname "$0")/../.."
nvcc=${NVCC:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
[ -x "$nvcc" ] || { echo "check-gpu: skipped, no nvcc here"; exit 0; }
nvidia-smi -L >/dev/null 2>&1 || { echo "check-gpu: skipped, no NVIDIA GPU here"; exit 0; }
[ -e build/gpu/tensor.mlp.down_proj.f32 ] || sh tests/gpu/prepare.sh
mkdir -p build/gpu
"$nvcc" -O2 -arch=native -o build/gpu/check tests/gpu/check.cu tests/gpu/packed.c -lcublasLt
build/gpu/check build/gpu

# The check itself: with two scales exchanged, every product must be found wrong.
r=0
build/gpu/check build/gpu exchanged >build/gpu/exchanged || r=$?
if [ $r -ne 1 ] || grep -q ' agrees' build/gpu/exchanged || ! grep -q ' DISAGREES' build/gpu/exchanged; then
    cat build/gpu/exchanged
    echo "check-gpu: two scales exchanged, and not every product was found wrong (exit $r)"
    exit 1
fi
echo "check-gpu: two scales exchanged: found in all $(grep -c ' DISAGREES' build/gpu/exchanged) products"
