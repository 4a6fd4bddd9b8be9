#!/bin/sh
# Lists, man pages and folders agree: verbs, options, targets, conventions,
# schemes, rules, tests.  Prints what disagrees, and exits 1 when anything does.
set -eu
LC_ALL=C
export LC_ALL
OCTAVO=${OCTAVO:-build/release/octavo}
OCTAVO=$(cd "$(dirname "$OCTAVO")" && pwd)/${OCTAVO##*/}
cd "$(dirname "$0")/.."

bad=0
say() {
    echo "check-lists: $*"
    bad=1
}
has() { # has WORD WORDS...
    _w=$1
    shift
    for _x; do [ "$_w" = "$_x" ] && return 0; done
    return 1
}
need() { # need WHAT COUNT: an empty list would agree with anything
    [ "$2" -gt 0 ] || say "no $1 found; this check is blind"
}
# A manual page as plain words: mdoc joins what its source splits.  Where mandoc is
# absent the source must do, with its escapes of - undone.
page() {
    if command -v mandoc >/dev/null 2>&1; then
        mandoc -Tascii -Owidth=1000 "$1" | sed "s/.$(printf '\010')//g"
    else
        sed 's/\\-/-/g; s/\\&//g' "$1"
    fi
}
# word TEXT WORD: WORD stands alone in file TEXT.
word() {
    awk -v w="$2" '
        { s = $0
          while ((i = index(s, w)) > 0) {
              before = i > 1 ? substr(s, i - 1, 1) : " "
              after = substr(s, i + length(w), 1)
              if (before !~ /[A-Za-z0-9_-]/ && after !~ /[A-Za-z0-9_-]/) { found = 1; exit }
              s = substr(s, i + 1)
          } }
        END { exit !found }' "$1"
}
tmp=$(mktemp -d "${TMPDIR:-/tmp}/octavo-lists-XXXXXX")
trap 'rm -rf "$tmp"' EXIT

# ---- verbs -----------------------------------------------------------------------
verbs=$("$OCTAVO" --help | sed -n 's/^  \([a-z][a-z-]*\)  *.*/\1/p')
need "verb in octavo --help" $(echo $verbs | wc -w)
for v in $verbs; do
    [ -f "cli/verb_$v.c" ] || say "octavo --help has $v, but there is no cli/verb_$v.c"
    [ -f "man/octavo-$v.1" ] || say "octavo --help has $v, but there is no man/octavo-$v.1"
    [ -d "tests/cli/$v" ] || say "octavo --help has $v, but there is no folder tests/cli/$v"
done
for f in cli/verb_*.c; do
    v=${f#cli/verb_}
    has "${v%.c}" $verbs || say "$f is not in octavo --help"
done
for f in man/octavo-*.1; do
    [ -f "$f" ] || continue
    v=${f#man/octavo-}
    has "${v%.1}" $verbs || say "$f is no verb of octavo --help"
done
if [ -f man/octavo.1 ]; then
    page man/octavo.1 >"$tmp/octavo"
    for v in $verbs; do word "$tmp/octavo" "$v" || word "$tmp/octavo" "octavo-$v" || say "man/octavo.1 does not name $v"; done
else
    say "there is no man/octavo.1"
fi

# ---- options: help, manual page ------------------------------------------------------
for v in $verbs; do
    "$OCTAVO" "$v" --help >"$tmp/help" || say "octavo $v --help fails"
    [ -f "man/octavo-$v.1" ] || continue
    page "man/octavo-$v.1" >"$tmp/page"
    options=$(grep -o '^  [ -][a-zA-Z ][, ] --[a-z][a-z0-9-]*' "$tmp/help" | sed 's/.*--/--/')
    need "option in octavo $v --help" $(echo $options | wc -w)
    for o in $options $(grep -o '^  -[a-zA-Z],' "$tmp/help" | tr -d ' ,'); do
        word "$tmp/page" "$o" || say "man/octavo-$v.1 does not document $o"
    done
    # And the other way: the tags of the page are options of the verb.
    for o in $(sed -n 's/^\.It Fl \(.*\)/\1/p' "man/octavo-$v.1" | tr ' ,' '\n\n' | sed 's/\\-/-/g' | sed -n 's/^\(-[a-z][a-z-]*\).*/-\1/p' | sort -u); do
        word "$tmp/help" "$o" || say "man/octavo-$v.1 documents $o, which octavo $v --help does not have"
    done
done

# ---- targets ---------------------------------------------------------------------
targets=$("$OCTAVO" targets | awk '{ print $1 }')
need "target in octavo targets" $(echo $targets | wc -w)
for f in formats/targets/*.json; do
    t=${f##*/}
    has "${t%.json}" $targets || say "$f is not in octavo targets (was it embedded?)"
done
for t in $targets; do
    [ -f "formats/targets/$t.json" ] || say "octavo targets has $t, but there is no formats/targets/$t.json"
done
if [ -f man/octavo-targets.7 ]; then
    page man/octavo-targets.7 >"$tmp/targets"
    for t in $targets; do word "$tmp/targets" "$t" || say "man/octavo-targets.7 does not name $t"; done
else
    say "there is no man/octavo-targets.7"
fi
sh man/tables.sh --check || bad=1

# ---- schemes, conventions, scale rules ------------------------------------------------
# The program names what there is when asked for what there is not.
listed() { "$OCTAVO" quantize "$@" -n /dev/null 2>&1 | sed -n 's/.*there are: *//p'; }
schemes=$(listed --scheme ?)
conventions=$(listed --convention ?)
rules=
for s in fp8-ue8m0-128x128 fp8e5m2-ue8m0-1x32 mxfp4 fp8-f32-128x128 fp8e5m2-f32-1x32 fp8fnuz-channel fp4-f32-1x32 \
    int8-channel int4-g128 nvfp4; do
    r=$(listed --scheme $s --scale-rule ?)
    need "scale rule for $s" $(echo $r | wc -w)
    rules="$rules $r"
done
need scheme $(echo $schemes | wc -w)
need convention $(echo $conventions | wc -w)
need "scale rule" $(echo $rules | wc -w)
if [ -f man/octavo-schemes.7 ]; then
    page man/octavo-schemes.7 >"$tmp/schemes"
    for w in $schemes $conventions $rules; do
        word "$tmp/schemes" "$w" || say "man/octavo-schemes.7 does not name $w"
    done
    # Rules of the tables are rules of some scheme, and their projects and files are named.
    for w in $(sed -n 's/^    { "\([a-z0-9-]*\)", .*/\1/p' quantizers/scale.c quantizers/scale_f32.c quantizers/scale_e4m3.c); do
        has "$w" $rules || say "the rule $w is for no scheme that this check asks for"
    done
    sed -n 's/.*"\([A-Za-z-]*\/[A-Za-z-]* [A-Za-z0-9_/.-]*\)".*/\1/p' quantizers/scale*.c | sort -u >"$tmp/sources"
    need "source of scale rules" $(wc -l <"$tmp/sources")
    while read -r w; do
        grep -qF "$w" "$tmp/schemes" || say "man/octavo-schemes.7 does not name $w"
    done <"$tmp/sources"
else
    say "there is no man/octavo-schemes.7"
fi
for f in formats/conventions/*.c; do
    c=$(sed -n 's/^ *\.name = "\(.*\)",.*/\1/p' "$f")
    [ -z "$c" ] || has "$c" $conventions || say "$f: the convention $c is not in the table"
done
for c in $conventions; do
    grep -q "^ *\.name = \"$c\"" formats/conventions/*.c || say "no file of formats/conventions makes $c"
done
for p in octavo-packed.5 octavo-rules.5 octavo-layout.7; do
    [ -f "man/$p" ] || say "there is no man/$p"
done

# ---- presets ---------------------------------------------------------------------
presets=$(listed --preset ?)
need preset $(echo $presets | wc -w)
page man/octavo-rules.5 >"$tmp/rules"
for w in $presets; do
    word "$tmp/rules" "$w" || say "man/octavo-rules.5 does not name the preset $w"
done

# ---- tests -----------------------------------------------------------------------
if command -v make >/dev/null 2>&1; then
    built=$(make -s --no-print-directory --eval='octavo-print-tests:;@echo $(TEST_SRC) tests/prove.c $(wildcard tests/bench/*.c tests/validate/*.c tests/gpu/*.c tests/clients/*.c)' octavo-print-tests)
    for f in tests/gpu/*.c; do
        grep -qF "$f" tests/gpu/run.sh || say "tests/gpu/run.sh does not compile $f"
    done
    for f in $(find tests -name '*.c' | sort); do
        has "$f" $built || say "$f is built by nothing"
    done
fi
for f in $(find tests/formats tests/quantizers tests/calibrate -name 'test_*.c' | sort); do
    grep -Eq '^(Parameterized)?Test\(' "$f" || say "$f has no test"
done
for f in $(find tests/cli -name '*.sh' | sort); do
    case $f in
    tests/cli/lib.sh) ;;
    tests/cli/*/*/*) say "$f is run by nothing (tests/cli/FOLDER/*.sh)" ;;
    tests/cli/*/*.sh) ;;
    *) say "$f is run by nothing (tests/cli/FOLDER/*.sh)" ;;
    esac
done

# ---- sources ---------------------------------------------------------------------
find cli calibrate quantizers formats tests samples -name '*.[ch]' | sort >"$tmp/sources"
need source $(wc -l <"$tmp/sources")
while read -r f; do
    n=$(wc -l <"$f")
    [ "$n" -le 600 ] || say "$f has $n lines; 600 is the most"
done <"$tmp/sources"
mark='\b(TO''DO|FIX''ME|XX''X)\b'
grep -rnE "$mark" Makefile README.md cli calibrate quantizers formats man samples tests 2>/dev/null |
    grep -v '^Binary' >"$tmp/marks" || true
[ ! -s "$tmp/marks" ] || { cat "$tmp/marks"; say "unfinished work is marked above"; }

exit $bad
