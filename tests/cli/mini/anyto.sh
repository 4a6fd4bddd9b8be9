# Any style to any scheme: bit for bit where the codes or powers of two can stay, and
# elsewhere refused, until it is said that a second rounding is wanted; then its error
# is small, and the same in every convention that takes the scheme.
. "$ROOT/tests/cli/lib.sh"
schemes=$("$OCTAVO" quantize --scheme '?' -n /dev/null 2>&1 | sed -n 's/.*there are: *//p')
[ "$(echo $schemes | wc -w)" -ge 15 ] || fail "the list of schemes, not: $schemes"

# way STYLE SCHEME: exact, or the least SQNR of a tensor after a second rounding
way() {
    case $1:$2 in
    v3.1-pure:fp8-ue8m0-128x128 | v3.1-pure:fp8-f32-128x128 | v3.1-pure:fp8-bf16-128x128 | v3.1-pure:mxfp8) echo exact ;;
    v3.1-pure:fp8fnuz-*-128x128) echo exact ;;
    v3:fp8-f32-128x128 | v3:fp8fnuz-f32-128x128) echo exact ;;
    qwen:fp8-bf16-128x128 | qwen:fp8-f32-128x128 | qwen:fp8fnuz-f32-128x128) echo exact ;;
    ct-channel:fp8-channel | ct-channel:fp8fnuz-channel) echo exact ;;
    ct-tensor:fp8-tensor | ct-tensor:fp8fnuz-tensor) echo exact ;;
    ct-int8:int8-channel) echo exact ;;
    ct-mxfp8:mxfp8) echo exact ;;
    ct-mxfp4:mxfp4 | ct-mxfp4:mxfp8 | ct-mxfp4:fp8-ue8m0-128x128 | ct-mxfp4:fp8-f32-128x128) echo exact ;;
    ct-nvfp4:nvfp4) echo exact ;;
    ct-int4:int4-g32) echo exact ;;
    *:int4* | *:*fp4) echo 10 ;;
    *:int8-tensor) echo 8 ;;
    *:hif8 | *:int8*) echo 18 ;;
    *) echo 27 ;;
    esac
}
ways=0 exact=0
for style in v3 v3.1-pure qwen ct-channel ct-tensor ct-int8 ct-mxfp8 ct-mxfp4 ct-nvfp4 ct-int4; do
    mini --reference ref $style m
    for s in $schemes; do
        case $s in *-g128) continue ;; esac # kv_b_proj has 64 columns
        w=$(way $style $s)
        rm -rf q
        if [ $w = exact ]; then
            octavo quantize -q m --scheme $s --require-exact -o q || fail "$style to $s to be exact"
            octavo verify -q --require-exact ref q || fail "$style to $s to change no value"
            exact=$((exact + 1))
        else
            octavo quantize -q m --scheme $s --allow-requantize -o q || fail "$style to $s"
            octavo verify -q --min-sqnr $w ref q >out || { tail -n 1 out; fail "$style to $s to lose less"; }
        fi
        ways=$((ways + 1))
    done
    rm -rf m ref
done
[ $ways -ge 150 ] && [ $exact -ge 20 ] || fail "150 ways, not $ways, and 20 exact ones, not $exact"
