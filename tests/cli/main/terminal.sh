# Binary data is not written to a terminal; a terminal gets progress, a file does not.
. "$ROOT/tests/cli/lib.sh"
command -v script >/dev/null 2>&1 || skip "script(1) is not installed"
got=0
script -qec "'$OCTAVO' convert '$MODEL' -o -" /dev/null >screen 2>&1 </dev/null || got=$?
[ $got -eq 2 ] || { head -c 300 screen; fail "exit 2 on a terminal, not $got"; }
grep -q terminal screen || fail "a sentence about the terminal"
[ "$(size_of screen)" -lt 500 ] || fail "no binary data on a terminal"
expect_exit 0 "$OCTAVO" convert "$MODEL" -o m.safetensors
! grep -q "$(printf '\r')" err || fail "no progress line in a file"
