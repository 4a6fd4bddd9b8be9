# Weights as blocks of a GGUF file: which, how, and what is carried without rounding.
. "$ROOT/tests/cli/lib.sh"
# Under the names of the source; names.sh has the others.
octavo() {
    _verb=$1
    shift
    case $_verb in
    quantize | convert) "$OCTAVO" $_verb --names hf "$@" ;;
    *) "$OCTAVO" $_verb "$@" ;;
    esac
}
types() { octavo ls -q --json "$1" | sed 's/^{"name":"\([^"]*\)","dtype":"\([^"]*\)".*/\2 \1/' | sort; }

# Q8_0 is the default; rows that 32 does not divide stay, with a note, vectors are F32.
octavo quantize "$MODEL" -o q8.gguf 2>err
expect_err "down_proj" "only whole blocks" "[q8_0, gguf]"
types q8.gguf >got
[ "$(grep -c '^Q8_0 .*_proj' got)" -eq 24 ] || { cat got; fail "24 weights in Q8_0"; }
[ "$(grep -c '^F32 .*norm' got)" -eq 9 ] || fail "9 norms in F32"
[ "$(grep -c '^BF16 ' got)" -eq 6 ] || fail "6 kept tensors in BF16"
expect_exit 0 "$OCTAVO" verify "$MODEL" q8.gguf --min-sqnr 44
octavo quantize -q "$MODEL" --scheme mxfp4 -o mx.gguf
types mx.gguf | grep -q '^MXFP4 ' || fail "MXFP4"
expect_exit 0 "$OCTAVO" verify "$MODEL" mx.gguf --min-sqnr 18
# What llama.cpp calls such files.
file_type() {
    _at=$(grep -abo general.file_type "$1" | head -n 1 | cut -d: -f1)
    tail -c +$((_at + 18)) "$1" | head -c 8 | od -An -tu4 | tr -s ' '
}
[ "$(file_type q8.gguf)" = " 4 7" ] || fail "file_type 7, a u32"
[ "$(file_type mx.gguf)" = " 4 38" ] || fail "file_type 38"
refused 3 quantize "$MODEL" --names hf -o x.gguf --include '*down_proj*'
expect_err "down_proj" "columns"
# Rules mix types; another rule for E8M0 is taken, and for Q8_0 there is one only.
echo '*.self_attn.* = mxfp4' >rules
octavo quantize -q "$MODEL" --rules rules -o mixed.gguf
[ "$(types mixed.gguf | grep -c '^MXFP4 .*self_attn')" -eq 16 ] || fail "attention in MXFP4"
[ "$(types mixed.gguf | grep -c '^Q8_0 .*mlp')" -eq 8 ] || fail "the rest in Q8_0"
octavo convert -q mixed.gguf --include '*self_attn*' -o a.safetensors
octavo convert -q mx.gguf --include '*self_attn*' -o b.safetensors
same_digest a.safetensors b.safetensors
octavo quantize -q "$MODEL" --scheme mxfp4 --scale-rule smallest -o smallest.gguf
[ "$(digest_of smallest.gguf)" != "$(digest_of mx.gguf)" ] || fail "another rule to give other blocks"
refused 2 quantize "$MODEL" -o x.gguf --scale-rule absmax
expect_err "absmax" "rule of ggml"
refused 1 quantize "$MODEL" -o x.gguf --require-exact
refused 2 quantize "$MODEL" -o x.gguf --scheme mxfp8
expect_err "gguf" "mxfp8"
refused 2 quantize "$MODEL" -o x.gguf --convention octavo
expect_err "octavo" "not for GGUF"
refused 2 quantize "$MODEL" -o x.safetensors --convention gguf
expect_err "gguf" "--container gguf"
refused 2 quantize "$MODEL" -o x.gguf --target ascend-950
absent x.gguf x.safetensors x

# Blocks of the type asked for stay, whatever made them.
octavo quantize -q mixed.gguf -o again.gguf --exclude '*self_attn*'
same_digest mixed.gguf again.gguf
octavo quantize -q q8.gguf -o again8.gguf
same q8.gguf again8.gguf
# A KV section is carried, with the new type.
octavo quantize -q again.gguf --scheme mxfp4 --include '*mlp.up*' --exclude '*' -o keys.gguf
types keys.gguf | grep -q '^Q8_0 .*gate' || fail "kept blocks to stay"
types keys.gguf | grep -q '^MXFP4 .*up' || fail "Q8_0 to become MXFP4 when asked"

# GPT-OSS: codes and scales are those of its blocks; attention is not touched by convert.
mini --reference ref gpt-oss m
octavo convert -q m -o g.gguf
[ "$(types g.gguf | grep -c '^MXFP4 .*experts')" -gt 1 ] || fail "experts in MXFP4"
types g.gguf | grep -q '^BF16 .*self_attn' || fail "attention in BF16"
for t in 1 4; do
    octavo convert -q m -o - --container gguf -T $t >piped
    same g.gguf piped
done
octavo convert -q m -o m.safetensors
octavo convert -q - -o - --container gguf <m.safetensors >piped
same_digest g.gguf piped
echo '*self_attn* = keep' >rules
octavo quantize -q m --scheme mxfp4 --rules rules -o g2.gguf
same_digest g.gguf g2.gguf
# The same from other conventions that hold these codes.
octavo quantize -q m --scheme mxfp4 --convention deepseek-v4 --rules rules -o v4
octavo quantize -q m --scheme mxfp4 --convention octavo --rules rules -o oct
for s in v4 oct; do
    octavo convert -q $s -o $s.gguf
    same_digest g.gguf $s.gguf
    octavo dequantize -q $s --dtype f32 -o $s.safetensors
done
# In blocks the inputs are last, as in the codes of GPT-OSS, and as in this convention without codes.
octavo dequantize -q g.gguf --dtype f32 -o g.safetensors
expect_exit 0 "$OCTAVO" verify --require-exact oct.safetensors g.safetensors
# INT8 in groups of 32 with F16 scales is Q8_0.
octavo quantize -q "$MODEL" --scheme q8_0 --convention octavo -o i8
octavo convert -q i8 -o i8.gguf
types i8.gguf | grep -q '^Q8_0 ' || fail "codes in groups of 32 as Q8_0"
expect_exit 0 "$OCTAVO" verify --require-exact i8 i8.gguf
# Its blocks can become another scheme, with a note.
octavo quantize q8.gguf -o - 2>err >from.safetensors || { cat err; fail "blocks to become FP8"; }
expect_err "24 tensors ('model.layers.0.mlp.gate_proj.weight' and others) are blocks of a GGUF, which are rounded a second time"
# What would be rounded twice is not, unless allowed.
octavo quantize -q "$MODEL" --scheme fp8-channel -o f8
refused 3 quantize f8 --names hf -o x.gguf
expect_err "down_proj" "PATTERN = bf16"
echo '*down_proj* = bf16' >rules
refused 3 quantize f8 --names hf --rules rules -o x.gguf
expect_err "second time"
octavo quantize -q f8 --rules rules --source "$MODEL" -o s.gguf
octavo convert -q s.gguf --exclude '*down_proj*' -o a.gguf
octavo convert -q q8.gguf --exclude '*down_proj*' -o b.gguf
same_digest a.gguf b.gguf
octavo quantize -q f8 --rules rules --allow-requantize -o twice.gguf
expect_exit 0 "$OCTAVO" verify "$MODEL" twice.gguf --min-sqnr 25

writer_manners quantize "$MODEL" n.gguf --container gguf
# The source of what would be rounded twice has the names of its kind, whatever those of the output are.
echo '*ffn_down* = bf16' >rules
"$OCTAVO" quantize -q f8 --source "$MODEL" --rules rules -o named.gguf || fail "a source with other names"
"$OCTAVO" quantize -q "$MODEL" -o all.gguf
"$OCTAVO" convert -q named.gguf --exclude '*ffn_down*' -o a2.gguf
"$OCTAVO" convert -q all.gguf --exclude '*ffn_down*' -o b2.gguf
same_digest a2.gguf b2.gguf
