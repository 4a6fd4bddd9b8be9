# unpack(pack(m)) == m for every form of every target, from what quantize --target
# --form writes of the real sample and of the DeepSeek miniature (MLA, MoE, partial
# blocks); alignment and padding; and from the default scheme where that is exact.
. "$ROOT/tests/cli/lib.sh"
mini bf16 deepseek
mini modelopt-fp8 scales      # has an input_scale for each weight
cp -r "$MODEL" sample
octavo quantize -q sample -o default
targets=$(octavo targets | awk '{ print $1 }')
[ "$(echo $targets | wc -w)" -ge 30 ] || fail "thirty targets"
forms_of() { octavo targets "$1" --json | sed -n '/"forms"/,/^  \]/s/^ *"name": "\([^"]*\)".*/\1/p'; }
form_says() { # form_says TARGET FORM KEY: its value, when it is a string
    octavo targets "$1" --json | awk -v f="\"$2\"" -v k="\"$3\":" '
        /^  "forms"/ { in_forms = 1 }  /^  \]/ { in_forms = 0 }
        in_forms && /^      "name":/ { on = index($0, f) }
        in_forms && on && index($0, k) == 7 { split($0, p, "\""); print p[4]; exit }'
}
# Where each tensor begins is a multiple of what the target asks, and nothing but zeros is between them.
aligned() { # aligned FILE TARGET
    align=$(octavo targets "$2" --json | sed -n 's/^  "align": \([0-9]*\).*/\1/p')
    payload=$(od -An -tu8 -j24 -N8 "$1" | tr -d ' ')
    [ $((payload % align)) -eq 0 ] || fail "$1: the payload at $payload"
    head -c "$payload" "$1" | tail -c +65 | tr '{' '\n' | sed -n 's/.*"offset":\([0-9]*\).*/\1/p' >offsets
    [ -s offsets ] || fail "offsets in $1"
    awk -v a="$align" '$1 % a { exit 1 }' offsets || fail "$1: tensors at multiples of $align"
}
round_trip() { # round_trip MODEL NAME OPTION...
    d=$1 name=$2 back=$2.back
    case $d in *.gguf) back=$2.back.gguf ;; esac
    shift 2
    expect_exit 0 "$OCTAVO" pack "$d" -o "$name.octp" "$@"
    same_digest "$d" "$name.octp"
    expect_exit 0 "$OCTAVO" unpack "$name.octp" -o "$back"
    same_digest "$d" "$back"
    [ -f "$d" ] || same "$d/config.json" "$back/config.json"
    expect_exit 0 "$OCTAVO" verify "$d" "$name.octp" --require-exact
}
printf '%-20s %-18s %-18s %10s %10s  %s\n' target form scheme sample deepseek 'evidence' >table
total=0
for t in $targets; do
    forms=$(forms_of "$t")
    [ "$forms" ] || fail "forms of $t"
    for f in $forms; do
        row=
        for m in sample deepseek; do
            q=$m.$t.$f
            case $(form_says "$t" "$f" convention) in gguf) q=$q.gguf ;; esac
            case $(form_says "$t" "$f" activations) in
            static)
                refused 2 quantize "$m" --target "$t" --form "$f" -o "$q"
                expect_err "--activation-scales"
                if [ $m = sample ]; then
                    row="$row          -"
                    continue
                fi
                expect_exit 0 "$OCTAVO" quantize "$m" --target "$t" --form "$f" --activation-scales scales -o "$q"
                ;;
            *) expect_exit 0 "$OCTAVO" quantize "$m" --target "$t" --form "$f" -o "$q" ;;
            esac
            round_trip "$q" "$q.p" --target "$t" --form "$f"
            aligned "$q.p.octp" "$t"
            # The form is found without being named, or an earlier one that fits as well.
            case $f in *static | w8a8) ;; *) expect_exit 0 "$OCTAVO" pack "$q" --target "$t" -n ;; esac
            expect_exit 0 "$OCTAVO" ls "$q.p.octp"
            row="$row $(size_of "$q.p.octp" | awk '{ printf "%10d", $1 }')"
            rm -rf "$q" "$q.p.octp" "$q.p.back" "$q.p.back.gguf"
        done
        printf '%-20s %-18s %-18s%s  %s\n' "$t" "$f" "$(form_says "$t" "$f" scheme)" "$row" \
            "$(octavo targets "$t" --json | sed -n 's/^  "evidence": "\(.*\)",/\1/p')" >>table
        total=$((total + 1))
    done
    # Without --form: what the first form that needs no calibration makes; from the default: exactly, or a refusal
    # that leaves nothing.
    got=0
    "$OCTAVO" pack default --target "$t" -o "$t.octp" >out 2>err || got=$?
    case $got in
    0)
        octavo unpack -q "$t.octp" -o "$t.back"
        same_digest default "$t.octp" "$t.back"
        ;;
    3)
        grep -q 'no exact way\|in multiples of' err || { cat err; fail "the reason"; }
        absent "$t.octp"
        ;;
    *) cat err; fail "exit 0 or 3, not $got" ;;
    esac
    eval "default_$(echo "$t" | tr - _)=$got"
    rm -rf "$t.octp" "$t.back"
done
[ $total -ge 60 ] || fail "at least sixty forms, not $total"
# These take 128 x 128 power-of-two scales exactly; INT8 does not.  (biren-br288 would,
# but for the 464 columns of one matrix.)
[ "$default_ascend_950$default_nvidia_sm100$default_nvidia_sm90" = 000 ] || fail "the default scheme on the FP8 chips"
[ "$default_ascend_910b" = 3 ] || fail "the default scheme refused for INT8"
sed 's/^/REPORT /' table
