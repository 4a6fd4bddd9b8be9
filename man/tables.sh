#!/bin/sh
# Puts the tables of chips where they belong, from what the program says:
#     sh man/tables.sh          rewrites man/octavo-targets.7 and README.md
#     sh man/tables.sh --check  says which of them differs, and exits 1
set -eu
OCTAVO=${OCTAVO:-build/release/octavo}
tmp=$(mktemp -d "${TMPDIR:-/tmp}/octavo-tables-XXXXXX")
trap 'rm -rf "$tmp"' EXIT
bad=0
# place FILE KIND BEGIN END: the lines between those that begin so.
place() {
    "$OCTAVO" targets --table="$2" >"$tmp/table"
    if [ "$2" = mdoc ]; then
        { echo '.Bl -tag -width Ds'; cat "$tmp/table"; echo .El; } >"$tmp/more" && mv "$tmp/more" "$tmp/table"
    fi
    awk -v table="$tmp/table" -v begin="$3" -v end="$4" '
        index($0, begin) == 1 { print; while ((getline line <table) > 0) print line; skip = 1; next }
        index($0, end) == 1 { skip = 0 }
        !skip' "$1" >"$tmp/page"
    cmp -s "$1" "$tmp/page" && return 0
    if [ "${check-}" ]; then
        echo "$1 is not what formats/targets/ says (make tables)"
        bad=1
    else
        cat "$tmp/page" >"$1"
    fi
}
[ "${1-}" = --check ] && check=1
place man/octavo-targets.7 mdoc '.\\" BEGIN TABLE' '.\\" END TABLE'
place README.md markdown '<!-- chips -->' '<!-- end of chips -->'
exit $bad
