#!/bin/sh
# Includes flow one way: cli -> calibrate -> quantizers -> formats.  An include
# that points back, or out of the four, fails with its file and line.
set -eu
LC_ALL=C
export LC_ALL
cd "$(dirname "$0")/.."

find cli calibrate quantizers formats -name '*.[ch]' -o -name '*.def' | sort | xargs awk '
    BEGIN { level["formats"] = 1; level["quantizers"] = 2; level["calibrate"] = 3; level["cli"] = 4 }
    /^[ \t]*#[ \t]*include[ \t]*"/ {
        split($0, part, "\"")
        n++
        from = FILENAME; sub(/\/.*/, "", from)
        to = part[2]
        if (to !~ /\//) {
            printf "%s:%d: \"%s\" does not name its folder\n", FILENAME, FNR, to; bad = 1
            next
        }
        sub(/\/.*/, "", to)
        if (!(to in level)) {
            printf "%s:%d: \"%s\" is in none of the four folders\n", FILENAME, FNR, part[2]; bad = 1
        } else if (level[to] > level[from]) {
            printf "%s:%d: %s must not include \"%s\"\n", FILENAME, FNR, from, part[2]; bad = 1
        }
    }
    END {
        if (!n) { print "check-deps: no include was found, so nothing was checked"; bad = 1 }
        exit bad
    }'
