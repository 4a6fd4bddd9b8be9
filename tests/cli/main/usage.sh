# The command itself: version, help, completion, verbs that are none.
. "$ROOT/tests/cli/lib.sh"
expect_exit 0 "$OCTAVO" --version
case $(head -n 1 out) in "octavo "[0-9]*.[0-9]*) ;; *) fail "a version" ;; esac
[ ! -s err ] || fail "nothing on standard error"
expect_exit 0 "$OCTAVO" --help
for t in $(octavo targets | awk '{ print $1 }'); do octavo --version | grep -qw -e "$t" || fail "$t in --version"; done
verbs=$(sed -n 's/^  \([a-z][a-z-]*\)  *.*/\1/p' out)
[ "$(echo $verbs | wc -w)" -ge 9 ] || fail "nine verbs, not: $verbs"

expect_exit 2 "$OCTAVO"
[ -s err ] && [ ! -s out ] || fail "usage on standard error"
expect_exit 2 "$OCTAVO" frobnicate
expect_err "'frobnicate'" "--help"
[ "$(wc -l <err)" -eq 1 ] || fail "one line"
expect_exit 2 "$OCTAVO" --frobnicate

for v in $verbs; do
    expect_exit 0 "$OCTAVO" "$v" --help
    [ ! -s err ] || fail "octavo $v --help on standard output only"
    case $(head -n 1 out) in "octavo $v "*) ;; *) fail "a usage line of $v" ;; esac
    cp out help
    # Every option that is parsed is listed, and every listed one is known.
    octavo "$v" --list-options >options
    [ -s options ] || fail "options of $v"
    while read -r o; do grep -q -e "$o\b" help || fail "$o in octavo $v --help"; done <options
    grep -o '^  [ -][a-zA-Z ][, ] --[a-z][a-z0-9-]*' help | sed 's/.*--/--/' | grep -vx -e --help | sort >listed
    sort options >parsed
    same parsed listed
    # An unknown option and its closeness to a known one.
    refused 2 "$v" --no-such-option
    refused 2 "$v" -Z
    # octavo-VERB is octavo VERB.
    ln -s "$OCTAVO" "octavo-$v"
    expect_exit 0 "./octavo-$v" --help
    same out help
done
expect_exit 0 "$OCTAVO" completion bash
sh -n out 2>/dev/null || ! command -v bash >/dev/null || bash -n out || fail "a completion script that bash reads"
expect_out "complete "
expect_exit 2 "$OCTAVO" completion
expect_exit 2 "$OCTAVO" completion csh

# Options may be shortened while they are unambiguous, follow operands, end at --.
expect_exit 0 "$OCTAVO" quantize "$MODEL" --dry --sch mxfp8 --json
expect_exit 0 "$OCTAVO" ls --qui -- "$MODEL"
expect_exit 3 "$OCTAVO" ls -- "$MODEL" --quiet
refused 2 quantize "$MODEL" --in=x -n
expect_err ambiguous
refused 2 quantize "$MODEL" --force=yes -n
