# Each scheme in each convention that takes it: config.json says so, the round trip
# through dequantize and verify works, and the bytes do not depend on the convention.
. "$ROOT/tests/cli/lib.sh"
words() { "$OCTAVO" quantize "$@" -n "$MODEL" 2>&1 | sed -n 's/.*there are: *//p'; }
schemes=$(words --scheme ?)
conventions=$(words --convention ? | sed "s/ gguf//") # a container of its own: gguf.sh
[ "$(echo $schemes | wc -w)" -ge 6 ] || fail "six schemes, not: $schemes"
[ "$(echo $conventions | wc -w)" -ge 4 ] || fail "four conventions, not: $conventions"

method() { # method CONVENTION SCHEME: what config.json or the description says
    case $1.$2 in
    deepseek.mxfp8) echo '"quant_method": "mxfp8"'; return ;;
    esac
    case $1 in
    deepseek | deepseek-v4) echo '"quant_method": "fp8"' ;;
    compressed-tensors) echo '"quant_method": "compressed-tensors"' ;;
    ascend-v1 | mlu-smoothquant | tim-vx) echo '' ;;
    octavo) echo '' ;;
    *) echo '"quant_method"' ;;
    esac
}
pairs=0
for s in $schemes; do
    taken=0
    for c in $conventions; do
        got=0
        "$OCTAVO" quantize "$MODEL" --scheme "$s" --convention "$c" -n >out 2>err || got=$?
        if [ $got -eq 2 ]; then
            expect_err "$c" "$s"
            continue
        fi
        [ $got -eq 0 ] || { cat err; fail "exit 0 or 2, not $got"; }
        taken=$((taken + 1)) pairs=$((pairs + 1))
        d=$s.$c
        expect_exit 0 "$OCTAVO" quantize "$MODEL" --scheme "$s" --convention "$c" -o "$d"
        valid_json "$d/config.json"
        grep -q LlamaForCausalLM "$d/config.json" || fail "the rest of config.json in $d"
        m=$(method "$c" "$s")
        if [ -n "$m" ]; then
            grep -qF -e "$m" "$d/config.json" || { cat "$d/config.json"; fail "$m in $d/config.json"; }
        else
            description=$(ls "$d" | grep -E '^(quant_model_description|octavo_schemes|quantize_config|tim_vx_quant).*json$') || fail "a description file in $d"
            valid_json "$d/$description"
            grep -qE "W[48]A(8|16)|WFP8AFP8|\"$s\"|\"(INT8|int8|FLOAT8_E4M3)\"" "$d/$description" || fail "types in $d/$description"
        fi
        case $c.$s in
        deepseek.fp8-ue8m0*) grep -q '"scale_fmt": "ue8m0"' "$d/config.json" || fail "scale_fmt in $d" ;;
        deepseek.fp8-f32*) ! grep -q '"scale_fmt"' "$d/config.json" || fail "no scale_fmt in $d" ;;
        esac
        # What was written is found again.
        expect_exit 0 "$OCTAVO" ls --json "$d"
        # down_proj has 464 columns, which groups of 32 or 128 do not divide: readers refuse that.
        case $s in mx* | *-g* | q8_0) weights=24 ;; *) weights=28 ;; esac
        [ "$(grep -c "\"scheme\":\"$s\",\"part\":\"weight\"" out)" -eq $weights ] || { head -n 3 out; fail "$weights weights in $s found in $d"; }
        case $s in
        *fp4 | int4*) least=13 ;;
        hif8) least=20 ;;
        *) least=28 ;;
        esac
        expect_exit 0 "$OCTAVO" verify "$MODEL" "$d" --min-sqnr $least
        # The inverse: BF16 is exact where scales are powers of two.
        expect_exit 0 "$OCTAVO" dequantize "$d" -o "$d.bf16"
        ! grep -q quant "$d.bf16/config.json" || fail "no quantization in $d.bf16/config.json"
        case $s in
        *ue8m0* | mx*)
            expect_exit 0 "$OCTAVO" verify "$MODEL" "$d" --max-saturated 0 -q
            expect_exit 0 "$OCTAVO" verify "$d" "$d.bf16" --require-exact ;;
        *) expect_exit 0 "$OCTAVO" verify "$d" "$d.bf16" --min-sqnr 45 ;;
        esac
        octavo dequantize -q "$d" --dtype f32 -o "$d.f32"
        expect_exit 0 "$OCTAVO" verify "$d" "$d.f32" --require-exact
        # And again: quantizing what was quantized loses nothing more.
        case $s in *ue8m0* | mx*)
            octavo quantize -q "$d.f32" --scheme "$s" --convention "$c" -o "$d.again"
            expect_exit 0 "$OCTAVO" verify "$d" "$d.again" --require-exact ;;
        esac
        # The same values in every convention.
        if [ $taken -eq 1 ]; then
            first=$d
        elif [ "$s" = nvfp4 ]; then # a second-level scale that multiplies is not the inverse of one that divides
            expect_exit 0 "$OCTAVO" verify "$first" "$d" --min-sqnr 30
        else
            expect_exit 0 "$OCTAVO" verify "$first" "$d" --require-exact
        fi
    done
    [ $taken -gt 0 ] || fail "a convention for $s"
done
[ $pairs -ge 9 ] || fail "at least nine pairs, not $pairs"
refused 2 quantize "$MODEL" --scheme fp7 -n
expect_err fp7 fp8-ue8m0-128x128
refused 2 quantize "$MODEL" --convention none -n
refused 2 quantize "$MODEL" --scale-rule none -n
refused 2 quantize "$MODEL" --target none -n
refused 2 quantize "$MODEL" --target ascend-910b --scheme mxfp8 -n
expect_err ascend-910b mxfp8
