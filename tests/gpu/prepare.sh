#!/bin/sh
# The files of make check-gpu, into build/gpu: the sample model packed for nvidia-sm90 in three
# forms, and three of its weights as octavo dequantizes them (F32, row-major, nothing else).
# They may be made on one machine and carried to another. OCTAVO: the program.
set -eu
cd "$(dirname "$0")/../.."
: "${OCTAVO:=build/release/octavo}"
rm -rf build/gpu
mkdir -p build/gpu
for form in cublaslt channel tensor; do
    f=build/gpu/$form
    "$OCTAVO" quantize -q samples/model --target nvidia-sm90 --form $form -o $f.safetensors
    "$OCTAVO" pack -q $f.safetensors --target nvidia-sm90 --form $form -o $f.octp
    "$OCTAVO" dequantize -q $f.safetensors --dtype f32 -o $f.weights.safetensors
    w=$f.weights.safetensors
    n=$(od -An -tu8 -N8 $w | tr -d ' ')
    for name in self_attn.q_proj mlp.gate_proj mlp.down_proj; do
        at=$(head -c $((n + 8)) $w | tail -c +9 | tr '}' '\n' | grep -F "\"model.layers.0.$name.weight\":" |
            sed 's/.*"data_offsets":\[\([0-9]*\),\([0-9]*\)\].*/\1 \2/')
        tail -c +$((n + 9 + ${at% *})) $w | head -c $((${at#* } - ${at% *})) >$f.$name.f32
    done
    rm $f.safetensors $w
done
