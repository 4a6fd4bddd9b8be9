# What chips want otherwise than the checkpoint has it, against the definition
# worked out here with od and awk: scales times a power of two in Marlin's order,
# unsigned codes, codes of 4 bits from words and bytes, and the tensors that are
# computed from scales.
. "$ROOT/tests/cli/lib.sh"
w=model.layers.0.self_attn.q_proj.weight
up=model.layers.0.mlp.up_proj.weight

# ---- scales of Marlin kernels: [groups, N], inside every 64 rows new[8i + j] = old[i + 8j], times 2^120 or 2^8 ----
# The sample's N of 464 is no multiple of 64; the miniature's are.
mini bf16 m
octavo quantize -q m --target nvidia-sm80-marlin -o q.safetensors
w=model.layers.0.self_attn.o_proj.weight                    # [256,128]
bytes_of q.safetensors "${w}_scale_inv" | numbers u4 4 >f32
[ "$(wc -l <f32)" -eq 2 ] || fail "two blocks of $w"
for form in bf16 f16; do
    octavo pack -q q.safetensors --target nvidia-sm80-marlin --form $form -o $form.octp
    packed_of $form.octp "${w}_scale_inv" | numbers u2 2 >got
    awk -v form=$form '{ e[NR - 1] = int($1 / 8388608) - 127 }
        END { for (p = 0; p < 256; p++) {
            inner = p % 64; i = int(inner / 8); j = inner % 8; old = int(p / 64) * 64 + i + 8 * j
            x = e[int(old / 128)]
            y = x + 8 + 15 > 0 ? (x + 8 + 15) * 1024 : 2 ^ (x + 8 + 24)
            if (form == "bf16") y = (x + 120 + 127) * 128
            print y } }' f32 >want
    same want got
done

# Powers of two up to the largest that the type holds after the product, and down to the smallest; not one step more.
n=$(od -An -tu8 -N8 q.safetensors | tr -d ' ')
begin=$(head -c $((n + 8)) q.safetensors | sed "s/.*\"${w}_scale_inv\":{[^}]*\"data_offsets\":\[\([0-9]*\),.*/\1/;q" | tr -d '\0' | tail -n 1)
# with_scale EXPONENT: the first scale of $w is 2^EXPONENT, in s.safetensors
with_scale() {
    bits=$((($1 + 127) * 8388608))
    cp q.safetensors s.safetensors
    printf "$(printf '\\%03o\\%03o\\%03o\\%03o' $((bits & 255)) $((bits >> 8 & 255)) $((bits >> 16 & 255)) $((bits >> 24)))" |
        dd of=s.safetensors bs=1 seek=$((n + 8 + begin)) conv=notrunc 2>/dev/null
    [ "$(bytes_of s.safetensors "${w}_scale_inv" | numbers u4 4 | head -n 1)" = $bits ] || fail "2^$1 is not in its place"
}
for row in "bf16 7 $((254 * 128))" "f16 7 $((30 * 1024))" "f16 -32 1"; do
    set -- $row
    with_scale "$2"
    octavo pack -q -f s.safetensors --target nvidia-sm80-marlin --form "$1" -o s.octp
    [ "$(packed_of s.octp "${w}_scale_inv" | numbers u2 2 | head -n 1)" = "$3" ] || fail "$1: 2^$2"
    octavo unpack -q -f s.octp -o back.safetensors
    same_digest s.safetensors back.safetensors
done
for row in 'bf16 8' 'f16 8' 'f16 -33'; do
    set -- $row
    with_scale "$2"
    refused 3 pack -q s.safetensors --target nvidia-sm80-marlin --form "$1" -o never.octp
    expect_err "$w"
    absent never.octp
done

# ---- unsigned codes of 4 bits: halves of 128 columns in the halves of bytes ----------
# compressed-tensors keeps code + 8, eight in a word, the first in the lowest bits.
octavo quantize -q m --target enflame-gcu300 --form int4 -o e.safetensors
octavo pack -q e.safetensors --target enflame-gcu300 --form int4 -o e.octp
w=model.layers.0.mlp.down_proj.weight                       # [256,512]
bytes_of e.safetensors "${w}_packed" | numbers u1 1 >plain
awk -v N=256 -v K=512 '{ x[2 * NR - 2] = $1 % 16; x[2 * NR - 1] = int($1 / 16) }
    END { for (row = 0; row < K / 2; row++) for (n = 0; n < N; n++) {
        k = int(row / 64) * 128 + row % 64
        print x[n * K + k] + 16 * x[n * K + k + 64] } }' plain >want
packed_of e.octp "${w}_packed" | numbers u1 1 >got
[ "$(sort -u got | wc -l)" -gt 16 ] || fail "codes of $w are all alike"
same want got
octavo unpack -q e.octp -o back4.safetensors
same_digest e.safetensors back4.safetensors

# ---- signed codes of 4 bits from words of code + 8: 16 columns and the next 16 in the halves of bytes ----
octavo quantize -q m --target iluvatar-bi --form w4a8-tn -o i.safetensors
octavo pack -q i.safetensors --target iluvatar-bi --form w4a8-tn -o i.octp
bytes_of i.safetensors "${w}_packed" | numbers u1 1 >plain
awk -v N=256 -v K=512 '{ x[2 * NR - 2] = ($1 + 8) % 16; x[2 * NR - 1] = (int($1 / 16) + 8) % 16 }
    END { for (n = 0; n < N; n++) for (b = 0; b < K / 2; b++) {
        k = int(b / 16) * 32 + b % 16
        print x[n * K + k] + 16 * x[n * K + k + 16] } }' plain >want
packed_of i.octp "${w}_packed" | numbers u1 1 >got
[ "$(sort -u got | wc -l)" -gt 16 ] || fail "codes of $w are all alike"
same want got
octavo unpack -q i.octp -o back5.safetensors
same_digest i.safetensors back5.safetensors

# ---- signed codes of 4 bits from bytes with the even column in the upper half, to words of eight ----
octavo quantize -q m --target hygon-bw1000 --form w4a8 -o h.safetensors
octavo pack -q h.safetensors --target hygon-bw1000 --form w4a8 -o h.octp
w=model.layers.1.mlp.experts.0.gate_proj.weight             # [128,256]
bytes_of h.safetensors "$w" | numbers u1 1 >plain
awk -v N=128 -v K=256 '{ x[2 * NR - 2] = int($1 / 16); x[2 * NR - 1] = $1 % 16 }
    END { for (n = 0; n < N; n++) for (k = 0; k < K; k++) {
            word = int(k / 32) * 4 * N + int(n / 64) * 256 + int(k % 32 / 8) * 64 + n % 64
            r = k % 8; slot = r < 4 ? 2 * r + 1 : 2 * (r - 4)
            y[4 * word + int(slot / 2)] += x[n * K + k] * (slot % 2 ? 16 : 1) }
        for (i = 0; i < N * K / 2; i++) print y[i] }' plain >want
packed_of h.octp "$w" | numbers u1 1 >got
[ "$(sort -u got | wc -l)" -gt 16 ] || fail "codes of $w are all alike"
same want got
octavo unpack -q h.octp -o back6.safetensors
same_digest h.safetensors back6.safetensors

# ---- two rows in a byte (Ascend W4A8), to FRACTAL_NZ of the transposed weight ----
# Bytes are made from the same codes, which Hygon's checkpoint has by columns; and the sums of codes beside them.
octavo quantize -q m --target ascend-910b --form w4a8 -o a.safetensors
octavo pack -q a.safetensors --target ascend-910b --form w4a8 -o a.octp
awk -v N=128 -v K=256 '{ x[2 * NR - 2] = int($1 / 16); x[2 * NR - 1] = $1 % 16 }
    END { for (n = 0; n < N; n += 2) for (k = 0; k < K; k++) print x[n * K + k] + 16 * x[(n + 1) * K + k] }' plain >want
bytes_of a.safetensors "$w" | numbers u1 1 >pairs
same want pairs
awk -v N=128 -v K=256 '{ n = 2 * int((NR - 1) / K); k = (NR - 1) % K
        y[int(n / 64) * K * 32 + k * 32 + n % 64 / 2] = $1 }
    END { for (i = 0; i < N * K / 2; i++) print y[i] }' pairs >want
packed_of a.octp "$w" | numbers u1 1 >got
[ "$(sort -u got | wc -l)" -gt 16 ] || fail "codes of $w are all alike"
same want got
for row in gate_proj:128:256:1 down_proj:256:128:16; do
    IFS=: read -r part rows cols parts <<-.
	$row
	.
    w=model.layers.1.mlp.experts.0.$part
    bytes_of a.safetensors "$w.weight_scale" | od -An -v -tf4 -w4 >scale
    bytes_of a.safetensors "$w.scale_bias" | od -An -v -tf4 -w4 >bias
    bytes_of a.safetensors "$w.weight" | numbers u1 1 | awk -v N=$rows -v K=$cols -v P=$parts '
        function code(x) { return x < 8 ? x : x - 16 }
        { n = 2 * int((NR - 1) / K); p = int((NR - 1) % K / (K / P))
          sum[n * P + p] += code($1 % 16); sum[(n + 1) * P + p] += code(int($1 / 16)) }
        END { for (i = 0; i < N * P; i++) print sum[i] + 0 }' >sums
    [ "$(wc -l <bias)" -eq $((rows * parts)) ] || fail "$w.scale_bias: $parts for each of $rows rows"
    awk -v P=$parts -v i=0 'FILENAME == "scale" { s[n++] = $1; next } FILENAME == "sums" { c[m++] = $1; next }
        { want = 8 * s[int(i / P)] * c[i]; d = want - $1; i++; t = (want < 0 ? -want : want) * 2e-6
          if (d > t || -d > t) exit 1 }' scale sums bias || fail "$w.scale_bias is 8 * scale * sum"
done
octavo unpack -q a.octp -o back7.safetensors
same_digest a.safetensors back7.safetensors
# From codes that are there already: the same bytes.
echo 'model.layers.*.experts.* ?= int4-channel' >experts
octavo quantize -q h.safetensors --scheme int8-channel --rules experts --convention ascend-v1 -o again.safetensors
for part in weight weight_scale weight_offset scale_bias; do
    bytes_of a.safetensors "$w.$part" >want
    bytes_of again.safetensors "$w.$part" >got
    same want got
done
octavo quantize -q m --target ascend-910b --form w4a8 -o adir
octavo pack -q adir --target ascend-910b --form w4a8 --tp 2 --rank all -o ranks
octavo unpack -q ranks -o whole
same_digest adir whole
[ "$(octavo ls ranks/rank-01-of-2.octp | awk '/layers.1.mlp.experts.0.down_proj.scale_bias/ { print $3 }')" = "[256,8]" ] || fail "half of the sums"

# ---- static activations of Ascend: the scale of the weight times that of the inputs, nothing stands for zero ----
mini modelopt-fp8 scales
octavo quantize -q m --target ascend-910b --form int8-static --activation-scales scales -o static.safetensors
octavo quantize -q m --target ascend-910b -o dynamic.safetensors
w=model.layers.0.mlp.down_proj
octavo convert -q scales -o scale.safetensors
bytes_of scale.safetensors $w.input_scale | od -An -v -tf4 -w4 >in
bytes_of static.safetensors $w.input_scale | od -An -v -tf4 -w4 >stored
paste in stored | awk '{ d = $1 / $2 - 1; if (d > 0.004 || -d > 0.004) exit 1 }' || fail "the scale of the inputs, in BF16"
bytes_of static.safetensors $w.weight >want
bytes_of dynamic.safetensors $w.weight >got
same want got
bytes_of static.safetensors $w.deq_scale | od -An -v -tf4 -w4 >got
bytes_of dynamic.safetensors $w.weight_scale | od -An -v -tf4 -w4 | awk -v s="$(cat stored)" '{ print $1 * s }' >want
[ "$(wc -l <got)" -eq 256 ] || fail "a scale for each row"
paste want got | awk '{ d = $1 / $2 - 1; if (d > 1e-5 || -d > 1e-5) exit 1 }' || fail "deq_scale = input_scale * weight_scale"
[ "$(bytes_of static.safetensors $w.quant_bias | od -An -v -td4 -w4 | sort -u | tr -d ' ')" = 0 ] || fail "quant_bias"
octavo verify -q dynamic.safetensors static.safetensors --min-sqnr 120
octavo convert -q static.safetensors -o carried.safetensors
same_digest static.safetensors carried.safetensors
octavo quantize -q static.safetensors --scheme int8-channel --convention ascend-v1 --activations static --exclude '*kv_b_proj*' -o again.safetensors -f
same_digest static.safetensors again.safetensors

# ---- computed beside the scales ----------------------------------------------------
octavo quantize -q "$MODEL" --target kunlunxin-p800 -o int8
octavo quantize -q "$MODEL" --target ascend-910b -o ascend
octavo pack -q int8 --target kunlunxin-p800 -o k.octp
octavo pack -q int8 --target nvidia-trtllm-w8a16 -o none.octp 2>/dev/null && fail "8-bit activations are another form"
bytes_of int8/model.safetensors "${up}_scale" >scale
od -An -v -tf4 -w4 scale >want
packed_of k.octp "$up.absmax" | od -An -v -tf4 -w4 >got
[ "$(wc -l <got)" -eq "$(wc -l <want)" ] && [ -s got ] || fail "a value per row"
# od prints eight digits of the nine that tell F32 numbers apart.
paste want got | awk '{ d = $1 * 127 - $2; if (d > $2 * 2e-7 || -d > $2 * 2e-7) exit 1 }' || fail "127 times the scale"
# It is in no list of tensors and in no digest.
octavo ls k.octp >listing
! grep -q absmax listing || fail "absmax in the listing"
same_digest int8 k.octp

# ---- unsigned codes, F16 scales ------------------------------------------------------
octavo quantize -q "$MODEL" --target nvidia-trtllm-w8a16 -o words
octavo pack -q words --target nvidia-trtllm-w8a16 -o t.octp
# compressed-tensors keeps 8-bit codes as code + 128 in words: the same bytes, in another order.
bytes_of words/model.safetensors "${up}_packed" | numbers u1 1 >plain
k=$(octavo ls --json words | sed -n "s/.*\"name\":\"${up}_packed\",\"dtype\":\"I32\",\"shape\":\[[0-9]*,\([0-9]*\)\].*/\1/p")
awk -v K=$((k * 4)) 'BEGIN { split("0 2 1 3", b, " ") } { x[NR - 1] = $1 }
    END { N = NR / K
        for (n = 0; n < N; n++) for (k = 0; k < K; k++) {
            h = int(k % 16 / 8); q = int(k % 8 / 2); e = k % 2; kp = int(k / 16) * 16 + 4 * q + 2 * h + e; v = int(kp / 4)
            y[4 * (int(n / 2) * (K / 4) * 2 + 32 * int(v / 16) + 16 * (n % 2) + v % 16) + b[kp % 4 + 1]] = x[n * K + k] }
        for (i = 0; i < N * K; i++) print y[i] }' plain >want
packed_of t.octp "${up}_packed" | numbers u1 1 >got
same want got

# ---- damage to what was computed is noticed, though nothing reads it ----------------
payload=$(od -An -tu8 -j24 -N8 k.octp | tr -d ' ')
at=$(head -c "$payload" k.octp | tail -c +65 | grep -aF "\"name\":\"$up.absmax\"" | sed 's/.*"offset":\([0-9]*\).*/\1/')
cp k.octp broken.octp
printf '\001' | dd of=broken.octp bs=1 seek=$((payload + at)) conv=notrunc 2>/dev/null
refused 3 unpack broken.octp -o back
expect_err "$up.absmax" SHA-256
absent back
