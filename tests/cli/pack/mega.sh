# DeepGEMM's mega-MoE: 8 rows of gate and 8 of up in turns, in one tensor, weights and scales, and
# the scales of 128 rows permuted. Byte by byte against the formulas, and back.
. "$ROOT/tests/cli/lib.sh"
mini bf16 m
octavo quantize -q m --target nvidia-sm100 --form mega-moe -o d
octavo convert -q d -o d.safetensors
octavo pack d.safetensors --target nvidia-sm100 -o d.octp 2>err || fail "the form that fits is found"
grep -q 'form mega-moe' err || fail "mega-moe is the form for FP4 experts"
same_digest d d.octp
p=model.layers.1.mlp.experts.5
rows() { od -An -v -tx1 -w"$2" | tr -d ' ' >"$1"; }                  # a row per line
bytes_of d.safetensors $p.gate_proj.weight | rows gate 128            # [128,256] codes of 4 bits
bytes_of d.safetensors $p.up_proj.weight | rows up 128
packed_of d.octp $p.gate_up_proj.weight | rows both 128
[ "$(wc -l <both)" -eq 256 ] && [ "$(sort -u both | wc -l)" -gt 200 ] || fail "256 rows that differ"
awk 'FILENAME == "gate" { g[n++] = $0; next } { u[k++] = $0 }
    END { for (r = 0; r < 256; r++) { i = int(r / 16) * 8 + r % 8; print r % 16 < 8 ? g[i] : u[i] } }' gate up >want
same want both
# Scales: 4 * ((g/4) * N + (r/128) * 128 + (r%32) * 4 + (r%128)/32) + g%4, of the rows in turns.
scales() { # scales NAME [FILE...]: 8 groups in a row
    packed_of d.octp "$1" | numbers u1 1 >got
    shift
    awk -v files=$# '
        FNR == 1 { f++ }
        { x[f, n[f]++] = $1 }
        END { rows = n[1] * files / S
            for (r = 0; r < rows; r++) for (g = 0; g < S; g++) {
                own = files == 2 ? int(r / 16) * 8 + r % 8 : r
                from = files == 2 && r % 16 >= 8 ? 2 : 1
                out[4 * (int(g / 4) * rows + int(r / 128) * 128 + r % 32 * 4 + int(r % 128 / 32)) + g % 4] = x[from, own * S + g] }
            for (i = 0; i < rows * S; i++) print out[i] }' S=$S "$@" >want
    same want got
}
bytes_of d.safetensors $p.gate_proj.scale | numbers u1 1 >gate
bytes_of d.safetensors $p.up_proj.scale | numbers u1 1 >up
bytes_of d.safetensors $p.down_proj.scale | numbers u1 1 >down
[ "$(sort -u gate up | wc -l)" -gt 2 ] || fail "scales that differ"
S=8 scales $p.gate_up_proj.scale gate up
S=4 scales $p.down_proj.scale down
bytes_of d.safetensors $p.down_proj.weight >want
packed_of d.octp $p.down_proj.weight >got
same want got
# Back, bit for bit; a pipe has no rows to pick, unless it is spooled.
octavo unpack -q d.octp -o back.safetensors
same d.safetensors back.safetensors
expect_exit 3 sh -c 'cat d.octp | "$OCTAVO" unpack - -o never.safetensors'
expect_err 'in turns' --spool
absent never.safetensors
cat d.octp | octavo unpack -q - --spool -o spooled.safetensors
same d.safetensors spooled.safetensors
expect_exit 0 "$OCTAVO" verify d d.octp --require-exact
# Experts are dealt whole; the parts of two groups make the model again.
octavo pack -q d --target nvidia-sm100 --ep 2 -o ranks
octavo unpack -q ranks/*.octp -o joined
same_digest d joined
# A changed byte in both is found, and named.
payload=$(od -An -tu8 -j24 -N8 d.octp | tr -d ' ')
at=$(head -c "$payload" d.octp | grep -aF "\"name\":\"$p.gate_up_proj.weight\"" | sed 's/.*"offset":\([0-9]*\),.*/\1/')
cp d.octp bad.octp
printf '\377' | dd of=bad.octp bs=1 seek=$((payload + at + 77)) conv=notrunc 2>/dev/null
refused 3 unpack bad.octp -o never.safetensors
expect_err "$p.gate_up_proj.weight"
# One without the other, and rows that do not divide.
refused 3 pack d --target nvidia-sm100 --form mega-moe --exclude "$p.up_proj.weight" -o never.octp
expect_err "$p.gate_proj"
absent never.octp
octavo convert -q d --exclude "$p.up_proj.*" -o lone.safetensors
refused 3 pack lone.safetensors --target nvidia-sm100 --form mega-moe -o never.octp
expect_err "$p.gate_proj"
octavo targets nvidia-sm100 --json | sed 's/"interleave": 8/"interleave": 24/' >mine.json
refused 3 pack d --target-file mine.json --form mega-moe -o never.octp
expect_err 'by 24'
expect_exit 0 "$OCTAVO" pack d --target nvidia-sm100 --exclude '*.experts.*' -o without.octp
! octavo ls without.octp | grep -q '\.experts\.' || fail "what a rule drops is not there"
absent never.octp
