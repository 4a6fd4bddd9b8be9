# Any layout with no code: --layout and --scale-layout, batches of experts, odd shapes.
. "$ROOT/tests/cli/lib.sh"
octavo quantize -q "$MODEL" -o q
n=0
while read -r sentence; do
    n=$((n + 1))
    expect_exit 0 "$OCTAVO" pack q --layout "$sentence" -o $n.octp
    expect_exit 0 "$OCTAVO" ls $n.octp
    expect_out "$sentence"
    expect_exit 0 "$OCTAVO" unpack $n.octp -o $n.back
    same_digest q $n.octp $n.back
done <<'END'
r0 c0
c0 r0
r1 c1 c0 r0 | r0=32 c0=16
c1 r1 r0 c0 | r0=16 c0=32
r2 c1 r0 r1 c0 | r0=32 r1=4 c0=4
r0 c1 c0 | c0=4
c3 r3 r0 c1 r2 r1 c0 c2 | c0=2 c1=4 c2=2 r0=8 r1=2 r2=4
r1 c4 r0 c3 c1 c0 c2 | c0=2 c1=4 c2=2 c3=4 r0=2
c2 r1 c1 r0 c0 | r0=16 c0=16 c1=4
r0 c1 -c0 | c0=2
c0 r1 r0 | r0=7
END
expect_exit 0 "$OCTAVO" pack q --scale-layout 'c1 r0 c0 | c0=2' -o s.octp
expect_exit 0 "$OCTAVO" unpack s.octp -o s.back
same_digest q s.octp s.back
# The bytes are where the sentence says: the transposed weight is the transpose.
safetensors w.safetensors '{"a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}'
# 1 2 4 / 8 16 32: E4M3 codes of powers of two are 38 40 48 50 58 60, here times a scale.
printf '\000\000\200\077\000\000\000\100\000\000\200\100\000\000\000\101\000\000\200\101\000\000\000\102' >>w.safetensors
octavo quantize -q w.safetensors -o wq.safetensors
for l in 'r0 c0' 'c0 r0' 'r1 c0 -r0 | r0=2' 'c1 r0 c0 | c0=2'; do
    octavo pack -q wq.safetensors --layout "$l" --align 64 -f -o w.octp
    octavo unpack -q w.octp -f -o wb.safetensors
    same wq.safetensors wb.safetensors
done
# Aligned as asked.
refused 2 pack q --layout 'r0 c0' --align 100 -o x.octp
refused 2 pack q --layout 'r0 c0' --align 8 -o x.octp
refused 2 pack q --layout 'r0 q0' -o x.octp
expect_err layout
refused 2 pack q --layout 'r0' -o x.octp
refused 2 pack q --layout 'r0 c0 c0' -o x.octp
refused 2 pack q --scale-layout 'r0 c1' -o x.octp
refused 2 pack q --layout 'r1 c0 r0 | r0=0' -o x.octp
refused 2 pack q -o x.octp
expect_err target
refused 2 pack q --target no-such-chip -o x.octp
expect_err no-such-chip
refused 2 pack q --target ascend-950 --form no-such-form -o x.octp
expect_err no-such-form
refused 2 pack q --target ascend-950 -o directory
refused 3 pack "$MODEL" --target ascend-950 -o x.octp
expect_err quantize
absent x.octp directory
