# What the scripts of tests/cli share; each begins with
#     . "$ROOT/tests/cli/lib.sh"
# and ends at the first thing that is not as expected.
set -eu
: "${ROOT:?run by tests/run.sh}" "${OCTAVO:?run by tests/run.sh}"
DATA=${DATA-}
MODEL=$ROOT/samples/model      # a real one: 39 BF16 tensors, three of ragged shape per layer

fail() {
    printf 'expected otherwise: %s\n' "$*"
    exit 1
}
skip() {
    echo "$*"
    exit 77
}
octavo() { "$OCTAVO" "$@"; }

# ---- running ---------------------------------------------------------------------

# expect_exit CODE COMMAND...: standard output lands in ./out, standard error in ./err.
expect_exit() {
    _want=$1
    shift
    _got=0
    "$@" >out 2>err </dev/null || _got=$?
    [ "$_got" -eq "$_want" ] && return 0
    printf 'exit %s and not %s: %s\n' "$_got" "$_want" "$*"
    head -n 5 out | cut -c1-300
    tail -n 15 err | cut -c1-300
    exit 1
}
# The same for octavo, where standard error is one sentence that names the verb
# and starts no second line.
refused() {
    _code=$1
    shift
    expect_exit "$_code" "$OCTAVO" "$@"
    [ "$(wc -l <err)" -eq 1 ] || { cat err; fail "one line on standard error: octavo $*"; }
    case $(cat err) in "octavo $1: "*) ;; *) cat err; fail "a sentence that begins 'octavo $1: '" ;; esac
}
expect_err() {
    for _text; do
        grep -qF -e "$_text" err || { cat err; fail "'$_text' on standard error"; }
    done
}
expect_out() {
    for _text; do
        grep -qF -e "$_text" out || { head -n 20 out; fail "'$_text' on standard output"; }
    done
}
refute_out() {
    for _text; do
        ! grep -qF -e "$_text" out || { grep -F -e "$_text" out; fail "no '$_text' on standard output"; }
    done
}

# ---- files -----------------------------------------------------------------------

# absent PATH...: neither these nor a temporary file of theirs is there.
absent() {
    for _p; do
        [ ! -e "$_p" ] || { ls -la "$_p"; fail "no $_p"; }
        for _t in "$_p".octavo-*; do
            [ ! -e "$_t" ] || fail "no temporary file $_t"
        done
    done
}
# no_temporary DIR: nothing unfinished anywhere below.
no_temporary() {
    _t=$(find "$1" -name '*.octavo-*' 2>/dev/null)
    [ -z "$_t" ] || fail "no temporary file: $_t"
}
same() {
    cmp "$1" "$2" || fail "$1 and $2 have the same bytes"
}
# same_tree A B: the same names with the same bytes.
same_tree() {
    (cd "$1" && find . -type f | sort) >tree.a
    (cd "$2" && find . -type f | sort) >tree.b
    same tree.a tree.b
    while read -r _f; do same "$1/$_f" "$2/$_f"; done <tree.a
}
digest_of() { octavo digest "$1" | cut -d' ' -f1; }
same_digest() {
    _a=$(digest_of "$1")
    shift
    [ ${#_a} -eq 64 ] || fail "a digest of 64 digits, not '$_a'"
    for _m; do
        _b=$(digest_of "$_m")
        [ "$_a" = "$_b" ] || fail "the digest of $_m to be $_a, not $_b"
    done
}
size_of() { wc -c <"$1" | tr -d ' '; }

# valid_json FILE: one JSON text; without python3 only braces are counted.
valid_json() {
    [ -s "$1" ] || fail "JSON in $1, which is empty"
    if command -v python3 >/dev/null 2>&1; then
        python3 -m json.tool "$1" >/dev/null 2>json.err || { cat json.err; head -c 300 "$1"; fail "JSON in $1"; }
    else
        _open=$(tr -cd '{[' <"$1" | wc -c) _close=$(tr -cd '}]' <"$1" | wc -c)
        [ "$_open" -eq "$_close" ] && [ "$_open" -gt 0 ] || fail "balanced JSON in $1"
    fi
}
# valid_json_lines FILE: a JSON text per line.
valid_json_lines() {
    _n=0
    while IFS= read -r _line; do
        printf '%s\n' "$_line" >json.line
        # python3 starts slowly: the first and the last few lines stand for all.
        _n=$((_n + 1))
        [ $_n -gt 3 ] || valid_json json.line
        case $_line in '{'*'}') ;; *) fail "an object per line in $1: $_line" ;; esac
    done <"$1"
    valid_json json.line
}

# ---- making models ---------------------------------------------------------------

# le64 N, le32 N: little-endian bytes.
le() {
    _v=$1 _i=$2
    while [ "$_i" -gt 0 ]; do
        printf "\\$(printf %03o $((_v & 255)))"
        _v=$((_v >> 8)) _i=$((_i - 1))
    done
}
le32() { le "$1" 4; }
le64() { le "$1" 8; }

# safetensors FILE HEADER: the header with its length; the caller appends the data.
safetensors() {
    { le64 ${#2}; printf %s "$2"; } >"$1"
}
zeros() { head -c "$1" /dev/zero; }
# repeat N 'ESCAPES': the bytes of printf ESCAPES, N times.
repeat() {
    _n=$1
    while [ "$_n" -gt 0 ]; do
        printf "$2"
        _n=$((_n - 1))
    done
}

# ---- miniatures ------------------------------------------------------------------

# mini ARGUMENT...: the generator of samples/mini.
mini() {
    _mini=${OCTAVO%/*}/mini
    [ -x "$_mini" ] || skip "there is no $_mini"
    "$_mini" "$@"
}
# inventory MODEL: "name dtype d0,d1" per tensor, sorted.
inventory() {
    octavo ls -q --json "$1" |
        sed 's/^{"name":"\([^"]*\)","dtype":"\([^"]*\)","shape":\[\([0-9,]*\)\].*/\1 \2 \3/' | sort
}
# crc32 <FILE: in capitals; what gzip writes at the end, for want of a program for it.
crc32() { gzip | tail -c 8 | od -An -tx1 | awk '{ print toupper($4 $3 $2 $1) }'; }

# ---- manners ---------------------------------------------------------------------

# writer_manners VERB INPUT NAME OPTION...: what every verb that writes a model does
# with -o NAME, whatever it writes.
writer_manners() {
    _verb=$1 _in=$2 _name=$3
    shift 3

    # -n prints the plan and writes nothing.
    mkdir plan
    expect_exit 0 "$OCTAVO" "$_verb" "$_in" -n -o "plan/$_name" "$@"
    [ -s out ] || fail "a plan on standard output"
    expect_exit 0 "$OCTAVO" "$_verb" "$_in" -n -o "plan/$_name" --json "$@"
    valid_json out
    rmdir plan || fail "$_verb -n to write nothing"

    # A file; the account is on standard error, or as JSON on standard output.
    expect_exit 0 "$OCTAVO" "$_verb" "$_in" -o "$_name" "$@"
    [ ! -s out ] || fail "$_verb -o FILE to leave standard output empty"
    [ -s err ] || fail "an account on standard error"
    [ -s "$_name" ] || fail "a file $_name"
    no_temporary .
    expect_exit 0 "$OCTAVO" "$_verb" "$_in" -o "json-$_name" --json -q "$@"
    [ ! -s err ] || fail "$_verb -q to say nothing"
    valid_json out
    same "$_name" "json-$_name"

    # An existing output is refused, and is what it was; -f replaces it.
    echo mine >"kept-$_name"
    refused 2 "$_verb" "$_in" -o "kept-$_name" "$@"
    expect_err "kept-$_name exists"
    [ "$(cat "kept-$_name")" = mine ] || fail "kept-$_name to be untouched"
    expect_exit 0 "$OCTAVO" "$_verb" "$_in" -o "kept-$_name" -f "$@"
    same "$_name" "kept-$_name"
    expect_exit 0 "$OCTAVO" "$_verb" "$_in" -o "kept-$_name" -f --in-place --no-sync "$@"
    same "$_name" "kept-$_name"

    # A pipe, and null: for nothing.
    "$OCTAVO" "$_verb" "$_in" -o - -q "$@" >"pipe-$_name" || fail "$_verb -o - to succeed"
    same_digest "$_name" "pipe-$_name"
    expect_exit 0 "$OCTAVO" "$_verb" "$_in" -o null: "$@"

    # Threads and instruction sets change nothing.
    for _t in 1 8; do
        expect_exit 0 "$OCTAVO" "$_verb" "$_in" -o "t$_t-$_name" -T $_t "$@"
        same "$_name" "t$_t-$_name"
    done
    expect_exit 0 env OCTAVO_CPU=c "$OCTAVO" "$_verb" "$_in" -o "c-$_name" "$@"
    same "$_name" "c-$_name"

    # A full disk.
    _got=0
    "$OCTAVO" "$_verb" "$_in" -o - -q "$@" >/dev/full 2>err || _got=$?
    [ $_got -eq 4 ] || fail "exit 4 on a full disk, not $_got"
    expect_err "No space left on device"
    refused 4 "$_verb" "$_in" -o /dev/full "$@"
    expect_err "/dev/full" "No space left on device"
    refused 4 "$_verb" "$_in" -o "no/such/folder/$_name" "$@"

    # Usage.
    refused 2 "$_verb" "$_in" "$@"
    expect_err "-o"
    refused 2 "$_verb" -o "x-$_name" "$@"
    case $_verb in
    unpack) refused 3 "$_verb" "$_in" "$_in" -o "x-$_name" "$@" ;; # takes the parts of all ranks
    *) refused 2 "$_verb" "$_in" "$_in" -o "x-$_name" "$@" ;;
    esac
    refused 2 "$_verb" "$_in" -o "x-$_name" "$@" --no-such-option
    expect_err "--no-such-option"
    refused 2 "$_verb" "$_in" -o "x-$_name" "$@" -T many
    refused 2 "$_verb" "$_in" -o "x-$_name" "$@" -M some
    refused 2 "$_verb" "$_in" -o "x-$_name" "$@" --output
    refused 2 "$_verb" "$_in" -o - --json "$@"
    refused 3 "$_verb" "$_in" -o "x-$_name" "$@" -M 1
    expect_err "memory"
    refused 3 "$_verb" no-such-file -o "x-$_name" "$@"
    expect_err "no-such-file"
    : >empty
    refused 3 "$_verb" empty -o "x-$_name" "$@"
    echo "these are no weights at all" >text
    refused 3 "$_verb" text -o "x-$_name" "$@"
    absent "x-$_name"
    no_temporary .

    # A reader that goes away: one sentence, no file.
    { _got=0; "$OCTAVO" "$_verb" "$_in" -o - -q "$@" 2>err || _got=$?; echo $_got >code; } | head -c 1 >/dev/null
    if [ "$(size_of "pipe-$_name")" -gt 200000 ]; then
        [ "$(cat code)" -eq 4 ] || fail "exit 4 when the reader is gone, not $(cat code)"
        grep -q "the reader closed the pipe" err && [ "$(wc -l <err)" -eq 1 ] ||
            { cat err; fail "one sentence about a reader that is gone"; }
    fi
}

# bytes_of FILE.safetensors NAME, packed_of FILE.octp NAME: the raw bytes of a tensor.
bytes_of() {
    n=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    at=$(head -c $((n + 8)) "$1" | tail -c +9 | tr '{' '\n' | tr -d '\n' | sed 's/"__metadata__"[^}]*}//' |
        tr '}' '\n' | grep -F "\"$2\":" | sed 's/.*"data_offsets":\[\([0-9]*\),\([0-9]*\)\].*/\1 \2/')
    [ "$at" ] || fail "$2 in $1"
    set -- "$1" $at
    tail -c +$((n + 9 + $2)) "$1" | head -c $(($3 - $2))
}
packed_of() {
    payload=$(od -An -tu8 -j24 -N8 "$1" | tr -d ' ')
    at=$(head -c "$payload" "$1" | tail -c +65 | grep -aF "\"name\":\"$2\"" | sed 's/.*"offset":\([0-9]*\),"size":\([0-9]*\).*/\1 \2/')
    [ "$at" ] || fail "$2 in $1"
    set -- "$1" $at
    tail -c +$((payload + 1 + $2)) "$1" | head -c "$3"
}
numbers() { od -An -v -t"$1" -w"$2" | tr -d ' '; }  # one per line
